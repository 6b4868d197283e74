#include "report/standing.h"

#include <cmath>

#include "sae/base/text.h"

namespace sae::report {
namespace {

std::string pair_of(const SeedStatistic& a, const SeedStatistic& b) {
  return "(" + fixed(a.mean, 3) + " against " + fixed(b.mean, 3) + ")";
}

std::string variance_clause(const Standing& a, const Standing& b, Order absorption) {
  if (!a.variance || !b.variance) return "";
  const std::string numbers = pair_of(*a.variance, *b.variance);
  switch (compare(*a.variance, *b.variance)) {
    case Order::kSame:
      return " and explains about as much variance " + numbers;
    case Order::kHigher:
      return (absorption == Order::kHigher ? " but explains more variance "
                                           : " and explains more variance ") +
             numbers;
    default:
      break;
  }
  if (absorption != Order::kLower) return " and explains less variance " + numbers;
  return " at a cost of " + fixed(b.variance->mean - a.variance->mean, 3) +
         " in explained variance " + numbers;
}

}  // namespace

Order compare(const SeedStatistic& a, const SeedStatistic& b) {
  const bool told_apart =
      a.seeds > 1 && b.seeds > 1 ? beyond_spread(a, b) : std::abs(a.mean - b.mean) >= 0.0005;
  if (!told_apart) return Order::kSame;
  return a.mean < b.mean ? Order::kLower : Order::kHigher;
}

std::string against_spread(const SeedStatistic& a, const SeedStatistic& b) {
  if (a.seeds < 2 || b.seeds < 2) return "";
  const double difference = std::abs(a.mean - b.mean);
  const double spread = std::hypot(a.sd, b.sd);
  if (spread < 1e-9) return difference < 1e-9 ? " The two are equal." : "";
  const std::string times = fixed(difference / spread, 1) + " times the spread over seeds";
  return beyond_spread(a, b) ? " The difference is " + times + "."
                             : " The difference is only " + times + ", too little to call.";
}

std::string contrast(const Standing& a, const Standing& b) {
  if (a.absorption && b.absorption) {
    const Order order = compare(*a.absorption, *b.absorption);
    const char* verb = order == Order::kLower    ? "absorbs less "
                       : order == Order::kHigher ? "absorbs more "
                                                 : "absorbs about as much ";
    return verb + pair_of(*a.absorption, *b.absorption) + variance_clause(a, b, order);
  }
  if (!a.variance || !b.variance) return "";
  const Order order = compare(*a.variance, *b.variance);
  std::string text = std::string(order == Order::kLower    ? "explains less variance "
                                 : order == Order::kHigher ? "explains more variance "
                                                           : "explains about as much variance ") +
                     pair_of(*a.variance, *b.variance);
  if (a.never_fired && b.never_fired && compare(*a.never_fired, *b.never_fired) != Order::kSame) {
    text += ", with " + fixed(100 * a.never_fired->mean, 1) +
            " % of its latents never firing against " + fixed(100 * b.never_fired->mean, 1) + " %";
  }
  return text;
}

}  // namespace sae::report

#include "sae/tools/ranks.h"

#include <torch/types.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "sae/base/interrupt.h"
#include "sae/metrics/statistics.h"

namespace sae {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kSizes[] = {4 << 10, 64 << 10, 1 << 20, 16 << 20};
constexpr std::size_t kLeast = 3;  // of each, however long they take

double since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

/// Calls until `seconds` have passed on rank 0, by whose clock all go.
template <class Call>
double measure(const Group& group, double seconds, Call&& call) {
  std::vector<double> times;
  const auto began = Clock::now();
  for (;;) {
    check_interrupt();
    const auto start = Clock::now();
    call();
    times.push_back(since(start));
    at::Tensor over = at::full({1}, since(began) > seconds ? 1 : 0, at::kInt);
    group.broadcast(over);
    if (over.item<int>() == 1 && times.size() >= kLeast) return median(times);
  }
}

void require_sum(const at::Tensor& sum, int ranks) {
  const double expected = ranks * (ranks + 1) / 2.0;  // of 1, 2, ..., R
  if (!(sum == expected).all().item<bool>()) {
    throw std::runtime_error("a sum over " + std::to_string(ranks) + " ranks is not " +
                             std::to_string(expected) + ": something changes what is sent");
  }
}

std::string size_of(std::int64_t bytes) {
  return bytes >= 1 << 20 ? std::to_string(bytes >> 20) + " MiB"
                          : std::to_string(bytes >> 10) + " KiB";
}

}  // namespace

RanksResult measure_ranks(const Group& group, const Membership& member, double seconds) {
  RanksResult result{group.size(), member.address + ":" + std::to_string(member.port), {}, {}};
  const double each = seconds / (2.0 * static_cast<double>(std::size(kSizes)));
  for (const std::int64_t bytes : kSizes) {
    const at::Tensor own = at::full({bytes / 4}, group.rank() + 1.0);
    at::Tensor x;
    RanksRow row{bytes, 0, 0};
    row.sum_s = measure(group, each, [&] {
      x = own.clone();
      group.sum(x);
    });
    require_sum(x, group.size());
    row.gather_s = measure(group, each, [&] { x = group.gather(own); });
    require_sum(x.sum(0), group.size());
    result.rows.push_back(row);
  }
  result.traffic = group.traffic();
  return result;
}

nlohmann::ordered_json to_json(const RanksResult& result) {
  nlohmann::ordered_json json{{"ranks", result.ranks}, {"address", result.address}};
  for (const RanksRow& row : result.rows) {
    json["rows"].push_back(
        {{"bytes", row.bytes}, {"sum_s", row.sum_s}, {"gather_s", row.gather_s}});
  }
  json["sent"] = {{"calls", result.traffic.calls},
                  {"bytes", result.traffic.bytes},
                  {"seconds", result.traffic.seconds}};
  return json;
}

std::string to_text(const RanksResult& result) {
  std::string text = "   a rank      sum  GB/s a rank   gather  GB/s a rank\n";
  const double others = result.ranks - 1;
  for (const RanksRow& row : result.rows) {
    const auto bytes = static_cast<double>(row.bytes);
    char line[120];
    std::snprintf(line, sizeof(line), "%9s %6.2f ms %11.2f %6.2f ms %12.2f\n",
                  size_of(row.bytes).c_str(), 1e3 * row.sum_s,
                  2 * bytes * others / result.ranks / row.sum_s / 1e9, 1e3 * row.gather_s,
                  bytes * others / row.gather_s / 1e9);
    text += line;
  }
  return text;
}

}  // namespace sae

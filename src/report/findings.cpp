// What a comparison found, in words.
#include <algorithm>
#include <cmath>

#include "report/groups.h"
#include "sae/base/text.h"
#include "sae/report/report.h"
#include "sae/results/significance.h"

namespace sae {
namespace {

using report::with_sd;

constexpr std::size_t kNamedPairs = 3;

/// One member at the level that the paragraph speaks of.
struct Standing {
  const Member* member = nullptr;
  std::optional<SeedStatistic> absorption, variance, dead;
};

enum class Order { kLower, kSame, kHigher };

/// With several seeds a difference within the spread is none; with one, only equality is.
Order compare(const SeedStatistic& a, const SeedStatistic& b) {
  const bool told_apart =
      a.seeds > 1 && b.seeds > 1 ? beyond_spread(a, b) : std::abs(a.mean - b.mean) >= 0.0005;
  if (!told_apart) return Order::kSame;
  return a.mean < b.mean ? Order::kLower : Order::kHigher;
}

std::string pair_of(const SeedStatistic& a, const SeedStatistic& b) {
  return "(" + fixed(a.mean, 3) + " against " + fixed(b.mean, 3) + ")";
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == names.size() ? " and " : ", ") + names[i];
  }
  return text;
}

std::string seeds(const SeedStatistic& value) {
  return value.seeds > 1 ? " over " + std::to_string(value.seeds) + " seeds" : "";
}

/// How a difference compares with the spread over seeds; nothing to say for a single seed.
std::string against_spread(const SeedStatistic& a, const SeedStatistic& b) {
  if (a.seeds < 2 || b.seeds < 2) return "";
  const double difference = std::abs(a.mean - b.mean);
  const double spread = std::hypot(a.sd, b.sd);
  if (spread < 1e-9) return difference < 1e-9 ? " The two are equal." : "";
  const std::string times = fixed(difference / spread, 1) + " times the spread over seeds";
  return beyond_spread(a, b) ? " The difference is " + times + "."
                             : " The difference is only " + times + ", too little to call.";
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

/// "absorbs less (0.031 against 0.251) at a cost of 0.012 in explained variance (...)".
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
  if (a.dead && b.dead && compare(*a.dead, *b.dead) != Order::kSame) {
    text += ", with " + fixed(100 * a.dead->mean, 1) + " % of its latents dead against " +
            fixed(100 * b.dead->mean, 1) + " %";
  }
  return text;
}

class Paragraph {
 public:
  explicit Paragraph(const ComparisonResult& result)
      : result_(result),
        level_(report::middle_level(result)),
        absorption_(report::absorption_metric(result)) {
    const auto inside = [&](const std::string& member, const std::string& metric) {
      auto value = metric_at(result, member, metric, level_);
      if (value && value->outside) value.reset();
      return value;
    };
    for (const Member& member : result.members) {
      Standing standing{&member, std::nullopt, inside(member.label, "explained_variance"),
                        inside(member.label, "dead")};
      if (absorption_) standing.absorption = inside(member.label, absorption_->name);
      if (absorption_ ? standing.absorption.has_value() : standing.variance.has_value()) {
        standings_.push_back(standing);
      } else {
        left_out_.push_back(member.label);
      }
    }
  }

  std::string text() const {
    const std::string failed = failures();
    if (level_ == 0) return "No run finished, so there is nothing to compare." + failed;
    if (standings_.empty()) {
      return "No level of L0 lies within the range of any member, so nothing is compared." + failed;
    }
    std::string text = absorption_ ? least_absorbing() : most_explaining();
    for (const Standing& standing : standings_) text += masked(standing);
    text += differences("absorption.full", "full absorption");
    text += differences("absorption.fraction", "absorption fraction");
    if (!left_out_.empty()) {
      text += " Not ranked, for want of runs around this L0: " + listed(left_out_) + ".";
    }
    return text + failed;
  }

 private:
  std::string at_level() const { return "At L0 " + trimmed(level_, 3) + ", "; }

  std::string one_seed(const Standing& best) const {
    const auto& value = absorption_ ? best.absorption : best.variance;
    return value->seeds > 1 ? "" : " With one seed a member, no difference here has an error bar.";
  }

  std::vector<Standing> ranked(std::optional<SeedStatistic> Standing::*by, double sign) const {
    std::vector<Standing> order;
    for (const Standing& standing : standings_) {
      if (standing.*by) order.push_back(standing);
    }
    std::stable_sort(order.begin(), order.end(), [&](const Standing& a, const Standing& b) {
      return sign * (a.*by)->mean < sign * (b.*by)->mean;
    });
    return order;
  }

  std::string least_absorbing() const {
    const auto order = ranked(&Standing::absorption, 1);
    const Standing& best = order[0];
    const std::string kind =
        absorption_->name == "absorption_fraction" ? "an absorption fraction" : "full absorption";
    if (order.size() == 1) {
      return at_level() + best.member->label + " has " + kind + " of " + with_sd(*best.absorption) +
             seeds(*best.absorption) +
             (best.variance ? " and explained variance of " + with_sd(*best.variance) : "") + ".";
    }
    const Standing& next = order[1];
    std::string text = at_level() + best.member->label + " absorbs least: " + kind + " of " +
                       with_sd(*best.absorption) + seeds(*best.absorption) + ", against " +
                       with_sd(*next.absorption) + " for " + next.member->label + ", the next." +
                       against_spread(*best.absorption, *next.absorption) + one_seed(best);
    const auto by_variance = ranked(&Standing::variance, -1);
    if (by_variance.empty() || !best.variance) return text;
    const Standing& top = by_variance[0];
    if (top.member == best.member) {
      return text + " It also has the highest explained variance, " + fixed(top.variance->mean, 3) +
             ".";
    }
    const std::string highest =
        top.member->label + ", the highest (" + fixed(top.variance->mean, 3) + ")";
    if (compare(*best.variance, *top.variance) == Order::kSame) {
      return text + " Its explained variance, " + fixed(best.variance->mean, 3) +
             ", cannot be told from that of " + highest + ".";
    }
    return text + " Its explained variance, " + fixed(best.variance->mean, 3) + ", is " +
           fixed(top.variance->mean - best.variance->mean, 3) + " below that of " + highest + ".";
  }

  std::string most_explaining() const {
    const auto order = ranked(&Standing::variance, -1);
    const Standing& best = order[0];
    std::string text =
        std::string("There is no ground truth here, so absorption ") +
        (has_words() ? "was measured on classes of words. " : "was not measured. ") + at_level() +
        best.member->label +
        (order.size() == 1 ? " has explained variance of " : " explains most variance: ") +
        with_sd(*best.variance) + seeds(*best.variance);
    if (order.size() > 1) {
      text += ", against " + with_sd(*order[1].variance) + " for " + order[1].member->label +
              ", the next." + against_spread(*best.variance, *order[1].variance) + one_seed(best);
    } else {
      text += ".";
    }
    const auto by_dead = ranked(&Standing::dead, -1);
    if (by_dead.empty()) return text;
    if (by_dead[0].dead->mean < 0.0005) return text + " No member has dead latents.";
    return text + " Dead latents are at most " + fixed(100 * by_dead[0].dead->mean, 1) + " % (" +
           by_dead[0].member->label + ").";
  }

  bool has_words() const {
    return std::any_of(result_.runs.begin(), result_.runs.end(), [](const RunResult& run) {
      return run.by_class.contains("absorption.full");
    });
  }

  /// Which members differ on classes of words by more than the noise.
  std::string differences(const std::string& metric, const std::string& label) const {
    const DifferenceTable table = differences_at(result_, metric, level_);
    const std::size_t compared = table.compared(), found = table.told_apart();
    if (compared == 0) return "";
    const std::string what = " In " + label + " on classes of words ";
    if (found == 0) {
      return what + "no two members differ by more than the noise of seeds and classes" +
             (one_seed_only(table) ? ", which one seed does not tell." : ".");
    }
    std::vector<std::string> named;
    for (std::size_t i = 0; i < table.members.size(); ++i) {
      for (std::size_t j = 0; j < table.members.size(); ++j) {
        const auto& pair = table.pairs[i][j];
        if (!pair || !pair->told_apart || pair->mean > 0 || named.size() == kNamedPairs) continue;
        named.push_back(table.members[i] + " below " + table.members[j] + " by " +
                        fixed(-pair->mean, 3));
      }
    }
    return what + std::to_string(found) + " of " + std::to_string(compared) +
           (compared == 1 ? " pair" : " pairs") + (found == 1 ? " differs" : " differ") +
           " by more than the noise of seeds and classes" +
           (found > named.size() ? ", among them " : ": ") + listed(named) + ".";
  }

  static bool one_seed_only(const DifferenceTable& table) {
    for (const auto& row : table.pairs) {
      for (const auto& pair : row) {
        if (pair && pair->seeds > 1) return false;
      }
    }
    return true;
  }

  const Standing* find(const std::string& label) const {
    for (const Standing& standing : standings_) {
      if (standing.member->label == label) return &standing;
    }
    return nullptr;
  }

  std::string masked(const Standing& standing) const {
    if (!standing.member->masked) return "";
    const Standing* base = find(standing.member->base);
    const Standing* nested = nullptr;
    for (const Standing& other : standings_) {
      if (other.member->architecture == "matryoshka" && !other.member->masked) nested = &other;
    }
    std::string text;
    if (base != nullptr) {
      text += " Compared with " + base->member->label + ", its base without the mask, " +
              standing.member->label + " " + contrast(standing, *base) + ".";
    }
    if (nested != nullptr && nested != base) {
      text += base != nullptr
                  ? " Compared with " + nested->member->label + ", it "
                  : " Compared with " + nested->member->label + ", " + standing.member->label + " ";
      text += contrast(standing, *nested) + ".";
    }
    return text;
  }

  std::string failures() const {
    const auto failed = std::count_if(result_.runs.begin(), result_.runs.end(),
                                      [](const RunResult& run) { return !run.done; });
    if (failed == 0) return "";
    return " " + std::to_string(failed) + " of " + std::to_string(result_.runs.size()) +
           (result_.runs.size() == 1 ? " run failed." : " runs failed.");
  }

  const ComparisonResult& result_;
  double level_;
  std::optional<MetricInfo> absorption_;
  std::vector<Standing> standings_;
  std::vector<std::string> left_out_;
};

}  // namespace

std::string findings(const ComparisonResult& result) { return Paragraph(result).text(); }

}  // namespace sae

// What a comparison found, in words.
#include <algorithm>
#include <cmath>

#include "report/groups.h"
#include "report/standing.h"
#include "sae/base/text.h"
#include "sae/report/report.h"
#include "sae/results/significance.h"
#include "sae/results/word_marks.h"

namespace sae {
namespace {

using report::against_spread;
using report::contrast;
using report::Order;
using report::Standing;
using report::with_sd;

constexpr std::size_t kNamedPairs = 3;

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
      Standing standing{&member, std::nullopt, inside(member.label, metric::kExplainedVariance),
                        inside(member.label, metric::kNeverFired)};
      if (absorption_) standing.absorption = inside(member.label, absorption_->name);
      if (absorption_ ? standing.absorption.has_value() : standing.variance.has_value()) {
        standings_.push_back(standing);
      } else if (absorption_ && !why_unranked(member.label).empty()) {
        unranked_.push_back(member.label + " (" + why_unranked(member.label) + ")");
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
    for (const Standing& standing : standings_) {
      if (speaks_for_family(standing)) text += masked(standing);
    }
    text += differences(metric::kFullOfClass, "full absorption", level_, metric::kL0);
    text += differences(metric::kFractionOfClass, "absorption fraction", level_, metric::kL0);
    text += differences_on_words();
    text += word_marks_in_words();
    if (!unranked_.empty()) text += " Not ranked: " + listed(unranked_) + ".";
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
    const std::string& kind = absorption_->label;
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
    if (report::compare(*best.variance, *top.variance) == Order::kSame) {
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
        without_absorption() + at_level() + best.member->label +
        (order.size() == 1 ? " has explained variance of " : " explains most variance: ") +
        with_sd(*best.variance) + seeds(*best.variance);
    if (order.size() > 1) {
      text += ", against " + with_sd(*order[1].variance) + " for " + order[1].member->label +
              ", the next." + against_spread(*best.variance, *order[1].variance) + one_seed(best);
    } else {
      text += ".";
    }
    const auto silent = ranked(&Standing::never_fired, -1);
    if (silent.empty()) return text;
    const double most = silent[0].never_fired->mean;
    if (most < 0.0005) return text + " No member has latents that never fired.";
    return text + " Latents that never fired are at most " + fixed(100 * most, 1) + " % (" +
           silent[0].member->label + ").";
  }

  /// Why the paragraph speaks of explained variance.
  std::string without_absorption() const {
    const bool measured = std::any_of(
        result_.runs.begin(), result_.runs.end(),
        [](const RunResult& run) { return run.metrics.contains(metric::kAbsorptionFullMicro); });
    if (measured) return "No run can be ranked by absorption; the table says why. ";
    return std::string("There is no ground truth here, so absorption ") +
           (has_words() ? "was measured on classes of words. " : "was not measured. ");
  }

  /// Of a member whose runs are all left out of the absorption: the reason of the first.
  std::string why_unranked(const std::string& member) const {
    std::string why;
    for (const RunResult& run : result_.runs) {
      if (!run.done || run.member != member) continue;
      if (ranked_value(run, absorption_->name)) return "";
      const auto found = run.unranked.find(suite_of(absorption_->name));
      if (why.empty()) why = found != run.unranked.end() ? found->second : why_no_absorption(run);
    }
    return why;
  }

  bool has_words() const {
    return std::any_of(result_.runs.begin(), result_.runs.end(), [](const RunResult& run) {
      return run.by_class.contains(metric::kFullOfClass);
    });
  }

  /// Which members differ on classes of words by more than the noise.
  std::string differences(const std::string& metric, const std::string& label, double level,
                          const std::string& axis) const {
    const DifferenceTable table = differences_at(result_, metric, level, axis);
    const std::size_t compared = table.compared(), found = table.told_apart();
    if (compared == 0) return "";
    const std::string what =
        " In " + label + " on classes of words" +
        (axis == metric::kL0 ? std::string(" ")
                             : ", matched at L0 " + trimmed(level, 3) + " on the words instead, ");
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

  std::string differences_on_words() const {
    const double level = report::middle_level(result_, metric::kWordsL0);
    return differences(metric::kFullOfClass, "full absorption", level, metric::kWordsL0);
  }

  /// Whose full absorption on words must not be taken for absorption.
  std::string word_marks_in_words() const {
    std::vector<std::string> chance, missing;
    for (const Member& member : result_.members) {
      const WordMarks marks = word_marks(result_, member.label, metric::kWordsFull, level_);
      if (marks.random) chance.push_back(member.label);
      if (marks.no_latent) missing.push_back(member.label);
    }
    std::string text;
    if (!chance.empty()) {
      text += " A random dictionary at about this L0 has as much full absorption on words as " +
              listed(chance) + ", which is not told from chance.";
    }
    if (!missing.empty()) {
      text += " The main latents' F1 is below " + trimmed(kLeastMainF1, 3) + " for " +
              listed(missing) +
              ": absorption on words measures there whether a latent for a class exists at all.";
    }
    return text;
  }

  static bool one_seed_only(const DifferenceTable& table) {
    for (const auto& row : table.pairs) {
      for (const auto& pair : row) {
        if (pair && pair->seeds > 1) return false;
      }
    }
    return true;
  }

  /// Of the members that axes made of one, only the best at what the paragraph is about.
  bool speaks_for_family(const Standing& standing) const {
    if (standing.member->axes.empty()) return true;
    const auto order =
        absorption_ ? ranked(&Standing::absorption, 1) : ranked(&Standing::variance, -1);
    for (const Standing& other : order) {
      if (other.member->family == standing.member->family) return other.member == standing.member;
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
  std::vector<std::string> unranked_;
};

}  // namespace

std::string findings(const ComparisonResult& result) { return Paragraph(result).text(); }

}  // namespace sae

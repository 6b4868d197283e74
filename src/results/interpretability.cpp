// Standardised means, their differences, and what may be claimed of them.
#include "sae/results/interpretability.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "sae/base/text.h"

namespace sae {
namespace {

constexpr double kNear = 1.5;     // factor of L0 within which a run stands for a level
constexpr double kErrors = 0.05;  // of all pairs of a metric and level together
constexpr double kManyDegrees = 1e9;
constexpr const char* kShuffled = "shuffled";
constexpr const char* kRandom = "random";

constexpr std::array kStandardised = {"intruder",
                                      "intruder_matched",
                                      "coherence",
                                      "auroc",
                                      "r_precision",
                                      "token_r2",
                                      "effective_tokens",
                                      "top_token",
                                      "token_judge_intruder",
                                      "token_judge_coherence"};
/// Those of which more is better.
constexpr std::array kCompared = {"intruder", "intruder_matched", "coherence", "auroc",
                                  "r_precision"};

using Runs = std::vector<const RunResult*>;
using Weights = std::map<std::string, double>;  // bin -> weight, sum 1

const MetricValues& binned(const RunResult& run, const std::string& name) {
  static const MetricValues none;
  const auto found = run.by_class.find("interp." + name);
  return found == run.by_class.end() ? none : found->second;
}

double in_bin(const RunResult& run, const std::string& name, const std::string& bin) {
  const MetricValues& values = binned(run, name);
  const auto found = values.find(bin);
  return found == values.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

double metric_of(const RunResult& run, const std::string& name) {
  const auto found = run.metrics.find(name);
  return found == run.metrics.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

bool was_judged(const RunResult& run) {
  return run.done && !binned(run, "latents_of_bin").empty() &&
         std::isfinite(metric_of(run, metric::kL0));
}

/// The runs of one grid point, seed by seed, whose L0 is nearest to the level.
Runs nearest_runs(const std::vector<RunResult>& all, const std::string& member, double level) {
  std::map<std::string, Runs> points;
  for (const RunResult& run : all) {
    if (run.member != member || !was_judged(run)) continue;
    std::string point;
    for (const auto& [path, value] : run.point) point += path + "=" + value.text() + " ";
    points[point].push_back(&run);
  }
  Runs nearest;
  double least = std::log(kNear);
  for (const auto& [point, runs] : points) {
    double l0 = 0;
    for (const RunResult* run : runs) l0 += metric_of(*run, metric::kL0);
    const double distance = std::abs(std::log(l0 / static_cast<double>(runs.size()) / level));
    if (!(distance <= least)) continue;
    least = distance;
    nearest = runs;
  }
  return nearest;
}

/// One run's mean over the bins that it has, weights scaled to them.
double of_run(const RunResult& run, const std::string& metric, const Weights& weights) {
  double sum = 0, weight = 0;
  for (const auto& [bin, w] : weights) {
    const double mean = in_bin(run, metric + "_of_bin", bin);
    if (std::isnan(mean)) continue;
    sum += w * mean;
    weight += w;
  }
  return sum / weight;
}

/// Mean of bin b over all latents of the runs, and its error.
struct PooledBin {
  double mean = 0, error = 0;
};
std::optional<PooledBin> pooled(const Runs& runs, const std::string& metric,
                                const std::string& bin) {
  double sum = 0, square = 0, count = 0;
  for (const RunResult* run : runs) {
    const double mean = in_bin(*run, metric + "_of_bin", bin);
    if (std::isnan(mean)) continue;
    const double own = in_bin(*run, "latents_of_bin", bin);
    const double error = in_bin(*run, metric + "_error_of_bin", bin);
    sum += own * mean;
    square += std::isnan(error) ? 0 : own * own * error * error;
    count += own;
  }
  if (count == 0) return std::nullopt;
  return PooledBin{sum / count, std::sqrt(square) / count};
}

std::optional<StandardisedMean> standardised(const Runs& runs, const std::string& metric,
                                             const Weights& weights) {
  StandardisedMean out;
  double weight = 0, square = 0;
  for (const auto& [bin, w] : weights) {
    const auto own = pooled(runs, metric, bin);
    if (!own) continue;
    out.mean += w * own->mean;
    square += w * w * own->error * own->error;
    weight += w;
  }
  if (weight == 0) return std::nullopt;
  out.mean /= weight;
  out.error = std::sqrt(square) / weight;
  out.partial = weight < 1 - 1e-9;
  std::vector<double> by_seed;
  for (const RunResult* run : runs) {
    const double own = of_run(*run, metric, weights);
    if (std::isfinite(own)) by_seed.push_back(own);
  }
  const SeedStatistic seeds = over_seeds(by_seed);
  out.seeds_sd = seeds.sd;
  out.seeds = seeds.seeds;
  return out;
}

double mean_metric(const Runs& runs, const std::string& name) {
  double sum = 0;
  for (const RunResult* run : runs) sum += metric_of(*run, name);
  return sum / static_cast<double>(runs.size());
}

std::vector<MetricValues> quantiles_of(const Runs& runs) {
  std::vector<MetricValues> out;
  for (const char* metric : {"intruder", "intruder_matched", "coherence", "auroc"}) {
    const std::string name = std::string(metric) + "_of_quantile";
    for (std::size_t g = 0; g < binned(*runs.front(), name).size(); ++g) {
      if (out.size() == g) out.emplace_back();
      double sum = 0;
      for (const RunResult* run : runs) sum += in_bin(*run, name, std::to_string(g + 1));
      out[g][metric] = sum / static_cast<double>(runs.size());
    }
  }
  return out;
}

InterpSubject subject_of(const std::string& name, const Runs& runs,
                         const std::map<std::string, Weights>& weights,
                         const std::string& prefix = "") {
  InterpSubject out;
  out.name = name;
  out.l0 = mean_metric(runs, metric::kL0);
  out.eligible = mean_metric(runs, metric::kEligible);
  out.coverage = mean_metric(runs, metric::kCoverage);
  for (const auto& [metric, of_bins] : weights) {
    if (const auto mean = standardised(runs, prefix + metric, of_bins)) out.means[metric] = *mean;
  }
  if (prefix.empty()) out.by_quantile = quantiles_of(runs);
  return out;
}

/// Shares of bins among all members' eligible latents, of those bins in which all of them have the
/// metric; `dropped`: what is left.
Weights weights_of(const std::vector<Runs>& members, const std::string& metric, double& dropped) {
  std::map<std::string, double> counts;
  for (const Runs& runs : members) {
    for (const RunResult* run : runs) {
      for (const auto& [bin, count] : binned(*run, "latents_of_bin")) counts[bin] += count;
    }
  }
  double all = 0, kept = 0;
  Weights weights;
  for (const auto& [bin, count] : counts) {
    all += count;
    const bool everywhere = std::all_of(
        members.begin(), members.end(),
        [&, &name = bin](const Runs& runs) { return pooled(runs, metric, name).has_value(); });
    if (!everywhere) continue;
    weights[bin] = count;
    kept += count;
  }
  for (auto& [bin, weight] : weights) weight /= kept;
  dropped = all > 0 ? 1 - kept / all : 0;
  return weights;
}

/// Half of the interval of the difference: of latents, or of seeds if that is wider.
double half_width(const StandardisedMean& a, const StandardisedMean& b, double share) {
  const double latents = student_t(share, kManyDegrees) * std::hypot(a.error, b.error);
  if (a.seeds < 2 || b.seeds < 2) return latents;
  const double part_a = a.seeds_sd * a.seeds_sd / a.seeds;
  const double part_b = b.seeds_sd * b.seeds_sd / b.seeds;
  const double variance = part_a + part_b;
  if (variance == 0) return latents;
  const double df =
      variance * variance / (part_a * part_a / (a.seeds - 1) + part_b * part_b / (b.seeds - 1));
  return std::max(latents, student_t(share, df) * std::sqrt(variance));
}

std::vector<InterpDifference> differences_of(const std::vector<InterpSubject>& members,
                                             const std::string& metric) {
  std::vector<InterpDifference> out;
  const auto has = [&](const InterpSubject& one) { return one.means.contains(metric); };
  const auto count = std::count_if(members.begin(), members.end(), has);
  const double pairs = static_cast<double>(count * (count - 1)) / 2;
  for (std::size_t i = 0; i < members.size(); ++i) {
    for (std::size_t j = i + 1; j < members.size(); ++j) {
      if (!has(members[i]) || !has(members[j])) continue;
      const StandardisedMean& a = members[i].means.at(metric);
      const StandardisedMean& b = members[j].means.at(metric);
      const double half = half_width(a, b, kErrors / pairs);
      InterpDifference one{members[i].name, members[j].name, metric, a.mean - b.mean};
      one.low = one.mean - half;
      one.high = one.mean + half;
      one.told_apart = one.low > 0 || one.high < 0;
      out.push_back(std::move(one));
    }
  }
  return out;
}

std::string claim_of(const InterpDifference& one) {
  const bool above = one.mean > 0;
  const double low = above ? one.low : -one.high, high = above ? one.high : -one.low;
  return (above ? one.a + " above " + one.b : one.b + " above " + one.a) + " in " +
         interp_label(one.metric) + " by " + fixed(std::abs(one.mean), 3) + " (" + fixed(low, 3) +
         " to " + fixed(high, 3) + ")";
}

/// JudgedLevels, members and controls of a comparison.
class JudgedLevels {
 public:
  explicit JudgedLevels(const ComparisonResult& result) : result_(result) {}

  std::optional<InterpLevel> at(double l0) const {
    InterpLevel level;
    level.l0 = l0;
    std::vector<Runs> runs;
    std::vector<const Member*> members;
    for (const Member& member : result_.members) {
      Runs own = nearest_runs(result_.runs, member.label, l0);
      if (own.empty()) continue;
      runs.push_back(std::move(own));
      members.push_back(&member);
    }
    if (runs.empty()) return std::nullopt;
    std::map<std::string, Weights> weights;
    bool any = false;
    for (const char* metric : kStandardised) {
      double dropped = 0;
      weights[metric] = weights_of(runs, metric, dropped);
      // A metric that no bin has, such as intruders among too few rows, says nothing of the others.
      if (weights[metric].empty()) continue;
      level.dropped = std::max(level.dropped, dropped);
      any = true;
    }
    if (!any) level.dropped = 1;
    Runs all;
    for (std::size_t i = 0; i < runs.size(); ++i) {
      level.members.push_back(subject_of(members[i]->label, runs[i], weights));
      level.members.back().frozen = members[i]->frozen;
      all.insert(all.end(), runs[i].begin(), runs[i].end());
    }
    level.controls.push_back(subject_of(kShuffled, all, weights, "shuffled_"));
    add_controls(level, weights);
    for (InterpSubject& one : level.controls) one.control = true;
    for (const char* metric : kCompared) {
      const auto found = differences_of(level.members, metric);
      level.differences.insert(level.differences.end(), found.begin(), found.end());
    }
    judge_claims(level);
    return level;
  }

 private:
  void add_controls(InterpLevel& level, const std::map<std::string, Weights>& weights) const {
    std::set<std::string> seen;
    for (const RunResult& control : result_.controls) {
      if (!seen.insert(control.member).second) continue;
      const Runs own = nearest_runs(result_.controls, control.member, level.l0);
      if (!own.empty()) level.controls.push_back(subject_of(control.member, own, weights));
    }
  }

  void judge_claims(InterpLevel& level) const {
    const auto control = [&](const char* name) {
      return std::any_of(level.controls.begin(), level.controls.end(),
                         [&](const InterpSubject& one) { return one.name == name; });
    };
    if (level.members.size() < 2) {
      level.missing.emplace_back("a second member with eligible latents at this L0");
    }
    if (!control(kRandom)) {
      level.missing.emplace_back("the control `random` with eligible latents at this L0");
    }
    if (std::none_of(level.members.begin(), level.members.end(),
                     [](const InterpSubject& one) { return one.frozen; })) {
      level.missing.emplace_back("a frozen member (model.freeze) at this L0");
    }
    if (!level.missing.empty()) return;
    for (const InterpDifference& one : level.differences) {
      if (one.told_apart) level.claims.push_back(claim_of(one));
    }
  }

  const ComparisonResult& result_;
};

}  // namespace

std::vector<InterpLevel> interpretability_levels(const ComparisonResult& result) {
  std::vector<InterpLevel> levels;
  const JudgedLevels all(result);
  for (const double l0 : matched_levels(result)) {
    if (auto level = all.at(l0)) levels.push_back(*std::move(level));
  }
  return levels;
}

std::string interp_label(const std::string& metric) {
  if (metric == "token_judge_intruder") return "intruder accuracy by the judge `token`";
  if (metric == "token_judge_coherence") return "coherence by the judge `token`";
  for (const MetricInfo& info : known_metrics()) {
    if (info.name == "interp." + metric) return info.label;
  }
  return metric;
}

}  // namespace sae

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "sae/base/text.h"
#include "sae/results/results.h"

namespace sae {
namespace {

constexpr double kTolerance = 0.02;    // an L0 this close to a range's end is inside it
constexpr double kAboutTheSame = 1.5;  // a control further off by this factor is another's control

using Curve = std::vector<std::pair<double, double>>;  // (L0, metric), ascending in L0

/// One curve a seed, of the finished runs that have both numbers; `value_of` gives a pointer to a
/// run's, or none.
template <class ValueOf>
std::map<std::int64_t, Curve> curves_of(const ComparisonResult& result, const std::string& member,
                                        const std::string& metric, const std::string& axis,
                                        ValueOf&& value_of) {
  std::map<std::int64_t, Curve> by_seed;
  for (const RunResult& run : result.runs) {
    if (!run.done || run.member != member) continue;
    if (!is_ranked(run, metric)) continue;
    const std::optional<double> l0 = ranked_value(run, axis);
    const double* value = value_of(run);
    if (!l0 || value == nullptr || !std::isfinite(*value)) continue;
    by_seed[run.seed].emplace_back(*l0, *value);
  }
  for (auto& [seed, curve] : by_seed) std::sort(curve.begin(), curve.end());
  return by_seed;
}

const double* value_in(const MetricValues& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? nullptr : &found->second;
}

std::map<std::int64_t, Curve> curves(const ComparisonResult& result, const std::string& member,
                                     const std::string& metric, const std::string& axis) {
  return curves_of(result, member, metric, axis,
                   [&](const RunResult& run) { return value_in(run.metrics, metric); });
}

double interpolate(const Curve& curve, double x) {
  if (x <= curve.front().first) return curve.front().second;
  if (x >= curve.back().first) return curve.back().second;
  const auto right = std::upper_bound(
      curve.begin(), curve.end(), x, [](double at, const auto& point) { return at < point.first; });
  const auto left = right - 1;
  const double share = (x - left->first) / (right->first - left->first);
  return left->second + share * (right->second - left->second);
}

bool is_outside(const Curve& curve, double l0) {
  return l0 < curve.front().first * (1 - kTolerance) || l0 > curve.back().first * (1 + kTolerance);
}

/// The smallest of the values that at least three quarters of them do not exceed, extended to
/// further values that are within 10 % of it: leaving a member out should buy something.
double covering(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  double bound = values[(3 * values.size() + 3) / 4 - 1];
  for (const double value : values) {
    if (value > bound && value <= 1.1 * bound) bound = value;
  }
  return bound;
}

/// To two digits, or to three, whichever first stays within [low, high] give or take half the
/// tolerance; unrounded if neither does.
double rounded(double value, double low, double high) {
  for (const int digits : {2, 3}) {
    const double unit = std::pow(10.0, std::floor(std::log10(value)) - (digits - 1));
    for (const double near :
         {std::round(value / unit), std::floor(value / unit) + 1, std::ceil(value / unit) - 1}) {
      const double candidate = near * unit;
      if (candidate >= low * (1 - kTolerance / 2) && candidate <= high * (1 + kTolerance / 2)) {
        return candidate;
      }
    }
  }
  return value;
}

/// A member's L0 levels, each the mean over seeds of one grid point, and the range that all of its
/// seeds cover.
struct Levels {
  std::vector<double> values;
  double low = 0;
  double high = 0;
};

Levels levels_of(const ComparisonResult& result, const std::string& member,
                 const std::string& axis) {
  Levels levels;
  const auto by_seed = curves(result, member, axis, axis);
  bool first = true;
  for (const auto& [seed, curve] : by_seed) {
    levels.low = first ? curve.front().first : std::max(levels.low, curve.front().first);
    levels.high = first ? curve.back().first : std::min(levels.high, curve.back().first);
    first = false;
  }
  std::map<std::map<std::string, SharedJson>, std::vector<double>> by_point;
  for (const RunResult& run : result.runs) {
    const std::optional<double> l0 = ranked_value(run, axis);
    if (run.member == member && l0) by_point[run.point].push_back(*l0);
  }
  for (const auto& [point, values] : by_point) levels.values.push_back(over_seeds(values).mean);
  std::sort(levels.values.begin(), levels.values.end());
  return levels;
}

}  // namespace

std::vector<MetricsRow> thinned(const std::vector<MetricsRow>& history, std::size_t most) {
  const auto drawn = [](const std::string& name) {
    const std::string plain = name.rfind("eval.", 0) == 0 ? name.substr(5) : name;
    return plain == metric::kL0 || plain == metric::kExplainedVariance ||
           name.rfind("mask.", 0) == 0;
  };
  const std::size_t size = std::min(history.size(), std::max<std::size_t>(most, 2));
  std::vector<MetricsRow> rows;
  for (std::size_t i = 0; i < size; ++i) {
    rows.push_back(history[size == 1 ? 0 : i * (history.size() - 1) / (size - 1)]);
    std::erase_if(rows.back().values, [&](const auto& entry) { return !drawn(entry.first); });
  }
  return rows;
}

bool is_ranked(const RunResult& run, const std::string& name) {
  const std::string suite = suite_of(name);
  if (run.unranked.contains(suite)) return false;
  const double* ranked = value_in(run.metrics, suite + ".ranked");
  return ranked == nullptr || *ranked == 1;
}

std::optional<double> ranked_value(const RunResult& run, const std::string& name) {
  const double* value = value_in(run.metrics, name);
  if (!run.done || value == nullptr || !std::isfinite(*value) || !is_ranked(run, name)) return {};
  return *value;
}

std::string why_no_absorption(const RunResult& run) {
  const double* parents = value_in(run.metrics, metric::kAbsorptionParents);
  if (!run.done || parents == nullptr || *parents > 0) return "";
  return "no parent feature counts: none has a latent that is near enough, fires with it and was "
         "seen often enough";
}

std::vector<std::string> not_ranked(const ComparisonResult& result) {
  std::vector<std::string> lines;
  for (const RunResult& run : result.runs) {
    std::vector<std::pair<std::string, std::string>> reasons;  // why, suites
    for (const auto& [suite, why] : run.unranked) {
      const auto same = std::find_if(reasons.begin(), reasons.end(),
                                     [&](const auto& reason) { return reason.first == why; });
      if (same == reasons.end()) {
        reasons.emplace_back(why, suite);
      } else {
        same->second += ", " + suite;
      }
    }
    for (const auto& [why, suites] : reasons)
      lines.push_back(run.name + ": " + suites + ": " + why);
    const std::string none = run.unranked.contains("truth") ? "" : why_no_absorption(run);
    if (!none.empty()) lines.push_back(run.name + ": absorption: " + none);
  }
  return lines;
}

std::vector<MetricInfo> measured_metrics(const ComparisonResult& result) {
  std::set<std::string> names;
  for (const RunResult& run : result.runs) {
    for (const auto& [name, value] : run.metrics) {
      if (ranked_value(run, name)) names.insert(name);
    }
  }
  std::vector<MetricInfo> measured;
  for (const MetricInfo& metric : known_metrics()) {
    if (metric.name != metric::kL0 && names.count(metric.name) != 0) measured.push_back(metric);
  }
  return measured;
}

std::optional<SeedStatistic> metric_at(const ComparisonResult& result, const std::string& member,
                                       const std::string& metric, double l0,
                                       const std::string& axis) {
  const auto by_seed = curves(result, member, metric, axis);
  if (by_seed.empty()) return std::nullopt;
  std::vector<double> values;
  bool outside = false;
  for (const auto& [seed, curve] : by_seed) {
    values.push_back(interpolate(curve, l0));
    outside = outside || is_outside(curve, l0);
  }
  SeedStatistic statistic = over_seeds(values);
  statistic.outside = outside;
  return statistic;
}

std::map<std::int64_t, double> class_at(const ComparisonResult& result, const std::string& member,
                                        const std::string& metric, const std::string& name,
                                        double l0, const std::string& axis) {
  const auto by_seed =
      curves_of(result, member, metric, axis, [&](const RunResult& run) -> const double* {
        const auto classes = run.by_class.find(metric);
        return classes == run.by_class.end() ? nullptr : value_in(classes->second, name);
      });
  std::map<std::int64_t, double> out;
  for (const auto& [seed, curve] : by_seed) {
    if (is_outside(curve, l0)) return {};
    out[seed] = interpolate(curve, l0);
  }
  return out;
}

std::optional<double> control_at(const ComparisonResult& result, const std::string& control,
                                 const std::string& metric, double l0, const std::string& axis) {
  Curve curve;
  for (const RunResult& run : result.controls) {
    const double* at = value_in(run.metrics, axis);
    const double* value = value_in(run.metrics, metric);
    if (run.member != control || at == nullptr || value == nullptr) continue;
    if (std::isfinite(*at) && std::isfinite(*value)) curve.emplace_back(*at, *value);
  }
  std::sort(curve.begin(), curve.end());
  if (curve.empty() || l0 * kAboutTheSame < curve.front().first ||
      l0 > curve.back().first * kAboutTheSame) {
    return std::nullopt;
  }
  return interpolate(curve, l0);
}

bool beyond_spread(const SeedStatistic& a, const SeedStatistic& b) {
  if (a.seeds < 2 || b.seeds < 2) return false;
  return std::abs(a.mean - b.mean) > 2 * std::hypot(a.sd, b.sd);
}

std::vector<double> matched_levels(const ComparisonResult& result, std::size_t most,
                                   const std::string& axis) {
  std::vector<Levels> members;
  std::size_t count = 0;
  for (const Member& member : result.members) {
    Levels levels = levels_of(result, member.label, axis);
    // An L0 of 0 (everything dead) matches nobody.
    if (levels.values.empty() || levels.values.back() <= 0) continue;
    count = std::max(count, levels.values.size());
    members.push_back(std::move(levels));
  }
  if (members.empty() || most == 0) return {};
  count = std::min(count, most);

  std::vector<double> lows, negated_highs;
  for (const Levels& member : members) {
    lows.push_back(member.low);
    negated_highs.push_back(1 / std::max(member.high, 1e-9));
  }
  double low = covering(lows);
  double high = 1 / covering(negated_highs);
  if (low > high) low = 0, high = 1e12;  // no common range: the marks in the table will say so

  std::vector<double> chosen;
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<double> candidates;
    const double share = count == 1 ? 0.5 : static_cast<double>(i) / static_cast<double>(count - 1);
    for (const Levels& member : members) {
      const double place = share * static_cast<double>(member.values.size() - 1);
      candidates.push_back(member.values[static_cast<std::size_t>(std::lround(place))]);
    }
    const double level = std::clamp(median(candidates), low, high);
    if (level <= 0) continue;
    const double near = rounded(level, low, high);
    if (chosen.empty() || near > 1.05 * chosen.back()) chosen.push_back(near);
  }
  return chosen;
}

}  // namespace sae

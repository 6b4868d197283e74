#include "report/groups.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "sae/base/text.h"

namespace sae::report {
namespace {

std::optional<double> finite(const MetricValues& values, const std::string& name) {
  const auto found = values.find(name);
  if (found == values.end() || !std::isfinite(found->second)) return std::nullopt;
  return found->second;
}

}  // namespace

std::vector<GridPoint> grid_points(const ComparisonResult& result, const std::string& member) {
  std::map<std::map<std::string, SharedJson>, GridPoint> by_point;
  for (const RunResult& run : result.runs) {
    if (run.done && run.member == member && finite(run.metrics, metric::kL0)) {
      by_point[run.point].runs.push_back(&run);
    }
  }
  std::vector<GridPoint> points;
  for (auto& [key, point] : by_point) {
    point.l0 = *over_runs(point, metric::kL0);
    points.push_back(std::move(point));
  }
  std::stable_sort(points.begin(), points.end(),
                   [](const GridPoint& a, const GridPoint& b) { return a.l0.mean < b.l0.mean; });
  return points;
}

std::optional<GridPoint> nearest_point(const ComparisonResult& result, const std::string& member,
                                       double l0) {
  const auto distance = [&](const GridPoint& point) {
    return std::abs(std::log(std::max(point.l0.mean, 1e-9) / std::max(l0, 1e-9)));
  };
  const std::vector<GridPoint> points = grid_points(result, member);
  const auto nearest = std::min_element(
      points.begin(), points.end(),
      [&](const GridPoint& a, const GridPoint& b) { return distance(a) < distance(b); });
  if (nearest == points.end()) return std::nullopt;
  return *nearest;
}

std::optional<SeedStatistic> over_runs(const GridPoint& point, const std::string& metric) {
  std::vector<double> values;
  for (const RunResult* run : point.runs) {
    if (const auto value = ranked_value(*run, metric)) values.push_back(*value);
  }
  if (values.empty()) return std::nullopt;
  return over_seeds(values);
}

Curve training_curve(const GridPoint& point, const std::string& metric) {
  for (const std::string& name : {"eval." + metric, metric}) {
    std::map<std::int64_t, std::vector<double>> by_step;
    for (const RunResult* run : point.runs) {
      for (const MetricsRow& row : run->history) {
        if (const auto value = finite(row.values, name)) by_step[row.step].push_back(*value);
      }
    }
    Curve curve;
    for (const auto& [step, values] : by_step) {
      if (values.size() != point.runs.size()) continue;
      curve.steps.push_back(static_cast<double>(step));
      curve.values.push_back(over_seeds(values).mean);
    }
    if (curve.steps.size() > 1) return curve;
  }
  return {};
}

Look look_of(const ComparisonResult& result, std::size_t index) {
  for (const Panel& panel : panels_of(result)) {
    const auto found = std::find(panel.members.begin(), panel.members.end(), index);
    const auto place = static_cast<std::size_t>(found - panel.members.begin());
    if (found != panel.members.end()) return panel.looks[place];
  }
  return {};
}

std::optional<MetricInfo> absorption_metric(const ComparisonResult& result) {
  for (const MetricInfo& metric : measured_metrics(result)) {
    if (metric.name.rfind("absorption_", 0) == 0) return metric;
  }
  return std::nullopt;
}

double middle_level(const ComparisonResult& result, const std::string& axis) {
  const std::vector<double> levels = matched_levels(result, 3, axis);
  return levels.empty() ? 0 : levels[levels.size() / 2];
}

std::string with_sd(const SeedStatistic& value, int decimals) {
  return fixed(value.mean, decimals) +
         (value.seeds > 1 ? " ± " + fixed(value.sd, decimals) : std::string());
}

}  // namespace sae::report

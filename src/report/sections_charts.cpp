// Charts of what the members reached.
#include <algorithm>
#include <cmath>
#include <utility>

#include "html/svg.h"
#include "report/groups.h"
#include "report/sections.h"
#include "sae/base/text.h"

namespace sae::report {
namespace {

constexpr int kControlColour = 1;  // grey
constexpr double kNear = 1.1;      // an L0 this factor beyond the members' is still among them

int most_seeds(const ComparisonResult& result) {
  int most = 0;
  for (const Member& member : result.members) {
    for (const GridPoint& point : grid_points(result, member.label)) {
      most = std::max(most, point.l0.seeds);
    }
  }
  return most;
}

std::string spread_note(const ComparisonResult& result) {
  return most_seeds(result) > 1
             ? "Means over seeds; whiskers are one standard deviation over seeds either way."
             : "One seed a member: no spread is known.";
}

std::string seeds_text(int seeds) {
  return seeds == 1 ? " (1 seed)" : " (" + std::to_string(seeds) + " seeds)";
}

const char* direction(Better better) {
  return better == Better::kHigher  ? " Higher is better."
         : better == Better::kLower ? " Lower is better."
                                    : "";
}

/// A control made at several L0: its points where they lie among the members', else a level line.
Series control_series(const ComparisonResult& result, const std::string& name,
                      const MetricInfo& metric, double low, double high) {
  Series series{name, {kControlColour, 0, false}, {}};
  series.markers = false;
  series.dashed = true;
  double sum = 0;
  std::vector<Point> all;
  for (const RunResult& run : result.controls) {
    const auto value = run.metrics.find(metric.name);
    const auto at = run.metrics.find(metric::kL0);
    if (run.member != name || value == run.metrics.end() || at == run.metrics.end()) continue;
    if (!std::isfinite(value->second) || !std::isfinite(at->second)) continue;
    all.push_back({at->second, value->second, 0, name});
    sum += value->second;
  }
  std::sort(all.begin(), all.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
  for (const Point& point : all) {
    if (point.x >= low / kNear && point.x <= high * kNear) series.points.push_back(point);
  }
  if (series.points.size() < 2 && !all.empty()) {
    const double mean = sum / static_cast<double>(all.size());
    series.points = {{low, mean, 0, ""}, {high, mean, 0, ""}};
  }
  return series;
}

std::optional<MetricInfo> measured(const ComparisonResult& result, const std::string& name) {
  for (const MetricInfo& metric : measured_metrics(result)) {
    if (metric.name == name) return metric;
  }
  return std::nullopt;
}

/// The trade-off at one level; empty unless two members can be placed.
std::string trade_off(const ComparisonResult& result, const Panel& panel,
                      const MetricInfo& absorption, double level, const std::string& id) {
  Chart chart;
  for (std::size_t i = 0; i < panel.members.size(); ++i) {
    const std::string& label = result.members[panel.members[i]].label;
    const auto x = metric_at(result, label, metric::kExplainedVariance, level);
    const auto y = metric_at(result, label, absorption.name, level);
    if (!x || !y || x->outside || y->outside) continue;
    chart.series.push_back({panel.labels[i],
                            panel.looks[i],
                            {{x->mean, y->mean, y->sd,
                              label + ": " + absorption.label + " " + with_sd(*y) +
                                  ", explained variance " + with_sd(*x)}}});
  }
  if (chart.series.size() < 2) return "";
  chart.scatter = true;
  chart.small = true;
  chart.title = (panel.title.empty() ? "At" : panel.title + ", at") + (" L0 " + trimmed(level, 3));
  chart.description = "Scatter of " + absorption.label + " over explained variance at L0 " +
                      trimmed(level, 3) + ", one point for each of " + members_of(chart.series) +
                      ".";
  chart.x_title = "Explained variance";
  chart.y_title = capital(absorption.label);
  chart.y_low = 0;
  return draw(chart, "trade-" + trimmed(level, 3) + id);
}

void add_controls(const ComparisonResult& result, const MetricInfo& metric, Chart& chart) {
  double low = HUGE_VAL, high = 0;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      low = std::min(low, point.x);
      high = std::max(high, point.x);
    }
  }
  std::vector<std::string> names;  // in the order of the comparison
  for (const RunResult& control : result.controls) {
    if (std::find(names.begin(), names.end(), control.member) == names.end()) {
      names.push_back(control.member);
    }
  }
  for (const std::string& name : names) {
    Series series = control_series(result, name, metric, low, high);
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
}

}  // namespace

std::string against_l0(const ComparisonResult& result, const Panel& panel, const MetricInfo& metric,
                       const std::string& id) {
  Chart chart;
  for (std::size_t i = 0; i < panel.members.size(); ++i) {
    const std::string& member = result.members[panel.members[i]].label;
    Series series{panel.labels[i], panel.looks[i], {}};
    for (const GridPoint& point : grid_points(result, member)) {
      const auto value = over_runs(point, metric.name);
      if (!value) continue;
      series.points.push_back({point.l0.mean, value->mean, value->sd,
                               member + ", L0 " + brief(point.l0.mean) + ": " + metric.label + " " +
                                   with_sd(*value) + seeds_text(value->seeds)});
    }
    if (!series.points.empty()) chart.series.push_back(series);
  }
  if (chart.series.empty()) return "";
  const std::string members = members_of(chart.series);
  add_controls(result, metric, chart);
  chart.title = capital(metric.label) + " against L0." + direction(metric.better);
  chart.description = "Line chart of " + metric.label + " over L0, one line for each of " +
                      members + ". The numbers are in the table below.";
  chart.x_title = "L0, active latents per token";
  chart.y_title = capital(metric.label);
  chart.log_x = wide(chart.series, &Point::x);
  if (metric.better == Better::kLower) chart.y_low = 0;
  return draw(chart, "l0-" + metric.name + id);
}

std::string sparsity_section(const ComparisonResult& result) {
  const auto absorption = absorption_metric(result);
  const auto variance = measured(result, metric::kExplainedVariance);
  const auto cosine = measured(result, metric::kCosine);
  const std::string figures = in_panels(result, [&](const Panel& panel, const std::string& id) {
    std::string html;
    if (absorption) html += against_l0(result, panel, *absorption, id);
    if (variance) html += against_l0(result, panel, *variance, id);
    if (cosine && !absorption) html += against_l0(result, panel, *cosine, id);
    return html;
  });
  if (figures.empty()) return "";
  // Several panels label their lines themselves.
  const std::vector<Panel> panels = panels_of(result);
  std::vector<std::pair<Look, std::string>> entries;
  for (std::size_t i = 0; i < panels.front().members.size(); ++i) {
    entries.emplace_back(panels.front().looks[i], panels.front().labels[i]);
  }
  const std::string legend = panels.size() == 1 ? legend_of(entries) : "";
  return section("Against sparsity", spread_note(result), legend + figures);
}

std::string trade_off_section(const ComparisonResult& result) {
  const auto absorption = absorption_metric(result);
  if (!absorption || !measured(result, metric::kExplainedVariance)) return "";
  const std::vector<Panel> panels = panels_of(result);
  std::vector<double> levels = matched_levels(result);
  if (panels.size() > 1) levels = {middle_level(result)};
  std::string figures;
  for (std::size_t i = 0; i < panels.size(); ++i) {
    const std::string id = panels.size() == 1 ? "" : "-" + std::to_string(i);
    for (const double level : levels) {
      figures += trade_off(result, panels[i], *absorption, level, id);
    }
  }
  if (figures.empty()) return "";
  return section("Absorption against explained variance",
                 "Interpolated to the same L0; down and to the right is better.", figures);
}

}  // namespace sae::report

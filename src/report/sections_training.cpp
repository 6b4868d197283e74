// Charts of what happened inside the runs: training curves, firing frequencies, masks.
#include <algorithm>
#include <cmath>

#include "html/svg.h"
#include "report/groups.h"
#include "report/sections.h"
#include "sae/base/text.h"

namespace sae::report {
namespace {

/// The climb from nothing in the first steps would flatten the differences that come after it.
void leave_out_start(Chart& chart) {
  double low = 1;
  for (const Series& series : chart.series) {
    low = std::min(low, series.points[series.points.size() / 8].y);
  }
  for (Series& series : chart.series) {
    const auto first = std::find_if(series.points.begin(), series.points.end(),
                                    [&](const Point& point) { return point.y >= low; });
    series.points.erase(series.points.begin(), first);
  }
}

std::string training_chart(const ComparisonResult& result, const Panel& panel,
                           const std::string& metric, const std::string& name,
                           const std::string& id) {
  Chart chart;
  for (std::size_t i = 0; i < panel.members.size(); ++i) {
    const std::string& label = result.members[panel.members[i]].label;
    const auto point = nearest_point(result, label, middle_level(result));
    if (!point) continue;
    const Curve curve = training_curve(*point, metric);
    Series series{panel.labels[i], panel.looks[i], {}};
    series.markers = false;
    for (std::size_t k = 0; k < curve.steps.size(); ++k) {
      series.points.push_back({curve.steps[k], curve.values[k], 0, ""});
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  if (chart.series.empty()) return "";
  chart.title = name + " over training";
  chart.description = "Line chart of " + name + " over training steps, one line for each of " +
                      members_of(chart.series) + ".";
  chart.x_title = "Step";
  chart.y_title = name;
  chart.log_y = wide(chart.series, &Point::y) && metric != metric::kExplainedVariance;
  if (metric == metric::kExplainedVariance) leave_out_start(chart);
  return draw(chart, "train-" + metric + id);
}

std::string histogram(const std::string& label, const Look& look, const GridPoint& point,
                      double y_high, const std::string& id) {
  const FiringHistogram& first = point.runs[0]->firing;
  std::vector<double> counts(first.counts.size(), 0);
  double never = 0, total = 0;
  for (const RunResult* run : point.runs) {
    if (run->firing.edges != first.edges) continue;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      counts[i] += static_cast<double>(run->firing.counts[i]);
      total += static_cast<double>(run->firing.counts[i]);
    }
    never += static_cast<double>(run->firing.never);
  }
  total += never;
  Bars bars;
  bars.title = label;
  bars.description = "Histogram of how often the latents of " + label + " fire; " +
                     fixed(100 * never / total, 1) + " % never fired.";
  bars.x_title = "Firing frequency, per token";
  bars.y_title = "Latents, %";
  bars.look = look;
  bars.edges = first.edges;
  bars.y_high = y_high;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    bars.heights.push_back(100 * counts[i] / total);
    bars.titles.push_back("frequency " + brief(std::pow(10.0, first.edges[i])) + " to " +
                          brief(std::pow(10.0, first.edges[i + 1])) + ": " +
                          fixed(bars.heights.back(), 1) + " % of latents");
  }
  if (never > 0) bars.note = fixed(100 * never / total, 1) + " % never fired";
  return draw(bars, id);
}

double highest_bar(const GridPoint& point) {
  double highest = 0;
  for (const RunResult* run : point.runs) {
    const auto total = static_cast<double>(latents_of(run->firing));
    for (const auto count : run->firing.counts) {
      highest = std::max(highest, 100 * static_cast<double>(count) / total);
    }
  }
  return highest;
}

bool has_firing(const GridPoint& point) {
  const FiringHistogram& firing = point.runs[0]->firing;
  return !firing.counts.empty() && latents_of(firing) > 0;
}

Series mask_series(const std::string& label, int colour, const Curve& curve) {
  Series series{label, {colour, 0, false}, {}};
  series.markers = false;
  for (std::size_t k = 0; k < curve.steps.size(); ++k) {
    series.points.push_back({curve.steps[k], curve.values[k], 0, ""});
  }
  return series;
}

bool positive(const Curve& curve) {
  return !curve.values.empty() && *std::max_element(curve.values.begin(), curve.values.end()) > 0;
}

/// Importance quantiles as nested bands around their median, with theta across them.
std::string importance_chart(const std::string& label, int colour, const GridPoint& point,
                             const std::string& id) {
  Chart chart;
  chart.small = true;
  for (const auto& [low_name, high_name] :
       {std::pair{"mask.importance_q05", "mask.importance_q95"},
        std::pair{"mask.importance_q25", "mask.importance_q75"}}) {
    const Curve low = training_curve(point, low_name), high = training_curve(point, high_name);
    if (low.steps.empty() || low.steps != high.steps || !positive(high)) continue;
    chart.bands.push_back({colour, low.steps, low.values, high.values});
  }
  const Curve median = training_curve(point, "mask.importance_q50");
  if (positive(median)) chart.series.push_back(mask_series("median", colour, median));
  const Curve theta = training_curve(point, "mask.theta");
  if (positive(theta)) {
    chart.series.push_back(mask_series("θ", colour, theta));
    chart.series.back().dashed = true;
  }
  if (chart.series.empty() && chart.bands.empty()) return "";
  chart.title = label + ": importance of the latents";
  chart.description = "Quantiles of importance over training steps for " + label +
                      ": bands from 5 to 95 % and from 25 to 75 %, the median, and the threshold "
                      "theta where it has one.";
  chart.x_title = "Step";
  chart.y_title = "Importance";
  chart.log_y = true;
  return draw(chart, id + "-importance");
}

std::string mask_line(const std::string& label, const std::string& name, int colour,
                      const GridPoint& point, const std::string& metric, const std::string& id,
                      const std::string& y_title) {
  const Curve curve = training_curve(point, metric);
  if (curve.steps.empty()) return "";
  Chart chart;
  chart.small = true;
  chart.series.push_back(mask_series("", colour, curve));
  chart.title = label + ": " + name;
  chart.description = "Line chart of the " + name + " over training steps for " + label + ".";
  chart.x_title = "Step";
  chart.y_title = y_title;
  chart.y_low = 0;
  return draw(chart, id);
}

/// What takes a row or more a member is opened by who wants it, where axes made many members.
std::string folded_when_many(const ComparisonResult& result, const std::string& html) {
  if (panels_of(result).size() == 1) return html;
  return details(std::to_string(result.members.size()) + " members", html);
}

}  // namespace

std::string training_section(const ComparisonResult& result) {
  const std::string figures = in_panels(result, [&](const Panel& panel, const std::string& id) {
    return training_chart(result, panel, metric::kExplainedVariance, "Explained variance", id) +
           training_chart(result, panel, metric::kL0, "L0", id);
  });
  if (figures.empty()) return "";
  return section("Training",
                 "Each member at its setting nearest to L0 " + trimmed(middle_level(result), 3) +
                     ", mean over seeds.",
                 figures);
}

std::string firing_section(const ComparisonResult& result) {
  std::string figures;
  double y_high = 0;
  std::vector<std::optional<GridPoint>> points;
  for (const Member& member : result.members) {
    points.push_back(nearest_point(result, member.label, middle_level(result)));
    if (points.back() && !has_firing(*points.back())) points.back().reset();
    if (points.back()) y_high = std::max(y_high, highest_bar(*points.back()));
  }
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (!points[i] || y_high <= 0) continue;
    figures += histogram(result.members[i].label, look_of(result, i), *points[i], y_high,
                         "firing-" + std::to_string(i));
  }
  if (figures.empty()) return "";
  return section("How often latents fire",
                 "Share of latents by firing frequency on held-out data, near L0 " +
                     trimmed(middle_level(result), 3) + ".",
                 folded_when_many(result, grid(figures, "figures bars")));
}

std::string mask_section(const ComparisonResult& result) {
  std::string panels;
  for (std::size_t i = 0; i < result.members.size(); ++i) {
    const Member& member = result.members[i];
    const auto point = nearest_point(result, member.label, middle_level(result));
    if (!member.masked || !point) continue;
    const int colour = look_of(result, i).colour;
    const std::string id = "mask-" + std::to_string(i);
    const std::string figures = importance_chart(member.label, colour, *point, id) +
                                mask_line(member.label, "share of latents masked", colour, *point,
                                          "mask.masked", id + "-masked", "Share") +
                                mask_line(member.label, "drift of importance", colour, *point,
                                          "mask.drift", id + "-drift", "Drift");
    if (!figures.empty()) panels += grid(figures, "figures many");
  }
  if (panels.empty()) return "";
  return section("The mask over time",
                 "Importance decides what is masked. Bands hold the middle 90 % and 50 % of the "
                 "latents; θ is the threshold below which a latent may be masked.",
                 folded_when_many(result, panels));
}

}  // namespace sae::report

// Metrics along one axis of a comparison: a line for each place on its other axes.
#include <algorithm>
#include <iterator>
#include <utility>

#include "report/axes.h"
#include "report/groups.h"
#include "report/sections.h"
#include "sae/base/text.h"

namespace sae::report {
namespace {

constexpr std::size_t kMostLines = 8;
constexpr int kLineColours[] = {0, 5, 2, 6, 3, 7, 4};  // grey is left to what has no axis

/// Members that differ in their value on one axis only.
struct AxisLine {
  std::string family;
  std::vector<AxisValue> others;  ///< where they stand on other axes
  std::vector<const Member*> members;
};

AxisLine line_of(const Member& member, const std::string& axis) {
  AxisLine line{member.family, {}, {&member}};
  for (const AxisValue& one : member.axes) {
    if (one.axis != axis) line.others.push_back(one);
  }
  return line;
}

std::vector<AxisLine> lines_along(const ComparisonResult& result, const std::string& axis) {
  std::vector<AxisLine> lines;
  for (const Member& member : result.members) {
    if (value_on(member, axis) == nullptr) continue;
    AxisLine line = line_of(member, axis);
    const auto same = std::find_if(lines.begin(), lines.end(), [&](const AxisLine& other) {
      return other.family == line.family && other.others == line.others;
    });
    if (same == lines.end()) {
      lines.push_back(std::move(line));
    } else {
      same->members.push_back(&member);
    }
  }
  return lines;
}

/// Too many lines cross each other: one more axis is shown, the rest held. Says so, or nothing.
std::string hold_rest(const ComparisonResult& result, std::vector<AxisLine>& lines) {
  if (lines.size() <= kMostLines) return "";
  std::string note;
  std::vector<AxisLine> kept;
  for (AxisLine& line : lines) {
    const bool two_more = line.others.size() > 1;
    if (two_more && !at_first(result, line.family, line.others, {line.others.front().axis})) {
      continue;
    }
    if (two_more && note.empty()) {
      note = " Held: " + values_text({line.others.begin() + 1, line.others.end()}) + ".";
    }
    kept.push_back(std::move(line));
  }
  lines = std::move(kept);
  return note;
}

std::size_t families_in(const std::vector<AxisLine>& lines) {
  std::vector<std::string> names;
  for (const AxisLine& line : lines) names.push_back(line.family);
  std::sort(names.begin(), names.end());
  return static_cast<std::size_t>(std::unique(names.begin(), names.end()) - names.begin());
}

Look line_look(std::size_t index) {
  return {kLineColours[index % std::size(kLineColours)], static_cast<int>(index % 8), false};
}

/// Members without any axis, as level lines from end to end.
void add_level_lines(const ComparisonResult& result, const AxisView& axis, const MetricInfo& metric,
                     double level, Chart& chart) {
  const double low = axis.place(axis.values.front()), high = axis.place(axis.values.back());
  for (const Member& member : result.members) {
    const auto value = metric_at(result, member.label, metric.name, level);
    if (!member.axes.empty() || !value || value->outside) continue;
    Series series{
        member.label, {1, 0, false}, {{low, value->mean, 0, ""}, {high, value->mean, 0, ""}}};
    series.markers = false;
    series.dashed = true;
    chart.series.push_back(std::move(series));
  }
}

std::optional<Drawing> along_axis(const ComparisonResult& result, const AxisView& axis,
                                  const std::vector<AxisLine>& lines, const MetricInfo& metric,
                                  double level) {
  Chart chart;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    Series series{"", line_look(i), {}};
    for (const Member* member : lines[i].members) {
      const auto value = metric_at(result, member->label, metric.name, level);
      if (!value || value->outside) continue;
      series.points.push_back(
          {axis.place(*value_on(*member, axis.name)), value->mean, value->sd,
           member->label + ": " + metric.label + " " + over_seeds_text(*value)});
    }
    std::sort(series.points.begin(), series.points.end(),
              [](const Point& a, const Point& b) { return a.x < b.x; });
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  if (chart.series.empty()) return std::nullopt;
  add_level_lines(result, axis, metric, level, chart);
  chart.title = caption_of(metric);
  chart.description = "Chart of " + metric.label + " over " + axis.label + " at L0 " +
                      trimmed(level, 3) + ". The numbers are in the table at matched L0.";
  chart.x_title = axis.label;
  chart.x_ticks = axis.ticks();
  chart.log_x = axis.by_factors;
  chart.names = !axis.numeric;
  chart.small = true;
  if (metric.better == Better::kLower) chart.y_low = 0;
  return drawing(chart);
}

}  // namespace

AxesPicture lines_picture(const ComparisonResult& result, const AxisView& axis,
                          const std::vector<MetricInfo>& metrics, double level) {
  std::vector<AxisLine> lines = lines_along(result, axis.name);
  const std::string held = hold_rest(result, lines);
  AxesPicture picture{"Over " + axis.label, at_level(level) + held, "axes-" + axis.label, {}, {}};
  const bool one_family = families_in(lines) == 1;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string values = values_text(lines[i].others);
    picture.legend.push_back({line_look(i), values.empty() ? lines[i].family
                                            : one_family   ? values
                                                           : lines[i].family + ", " + values});
  }
  for (const MetricInfo& metric : metrics) {
    auto one = along_axis(result, axis, lines, metric, level);
    if (one) picture.drawings.push_back(std::move(*one));
  }
  return picture;
}

}  // namespace sae::report

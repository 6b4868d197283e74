// Metrics along the axes of a comparison's grid: lines for one axis, heat maps for two.
#include <algorithm>
#include <iterator>
#include <utility>

#include "html/heat_map.h"
#include "html/sheet.h"
#include "report/axes.h"
#include "report/groups.h"
#include "report/sections.h"
#include "sae/base/text.h"
#include "sae/report/report.h"

namespace sae::report {
namespace {

constexpr std::size_t kMostLines = 8;
constexpr int kLineColours[] = {0, 5, 2, 6, 3, 7, 4};  // grey is left to what has no axis

/// What is drawn along axes: few enough to be seen side by side.
std::vector<MetricInfo> axes_metrics(const ComparisonResult& result) {
  constexpr const char* kDrawn[] = {
      metric::kExplainedVariance, metric::kMcc,           metric::kF1,         metric::kNeverFired,
      metric::kWordsFull,         metric::kWordsFraction, metric::kWordsMainF1};
  std::vector<MetricInfo> metrics;
  for (const MetricInfo& metric : measured_metrics(result)) {
    const bool named = std::any_of(std::begin(kDrawn), std::end(kDrawn),
                                   [&](const char* name) { return metric.name == name; });
    if (named || metric.name.starts_with("absorption_")) metrics.push_back(metric);
  }
  return metrics;
}

std::string caption_of(const MetricInfo& metric) {
  return capital(metric.label) + (metric.better == Better::kHigher  ? ": higher is better"
                                  : metric.better == Better::kLower ? ": lower is better"
                                                                    : "");
}

std::string at_level(double level) { return "At L0 " + trimmed(level, 3) + "."; }

std::string over_seeds_text(const SeedStatistic& value) {
  return with_sd(value) + " (" + std::to_string(value.seeds) +
         (value.seeds == 1 ? " seed)" : " seeds)") +
         (value.outside ? ", outside its range of L0" : "");
}

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

/// "rate 0.5, cycle 100": values on axes.
std::string values_text(const std::vector<AxisValue>& values) {
  std::string text;
  for (const AxisValue& one : values) {
    text += (text.empty() ? "" : ", ") + short_axis(one.axis) + " " + value_text(one.value);
  }
  return text;
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

/// The first member of a family stands at the first value of each of its axes.
const Member& first_of(const ComparisonResult& result, const std::string& family) {
  return *std::find_if(result.members.begin(), result.members.end(),
                       [&](const Member& member) { return member.family == family; });
}

/// Whether all of `values`, but for those on the axes named, are the first of the family.
bool at_first(const ComparisonResult& result, const std::string& family,
              const std::vector<AxisValue>& values, const std::vector<std::string>& free) {
  const Member& first = first_of(result, family);
  return std::all_of(values.begin(), values.end(), [&](const AxisValue& one) {
    if (std::find(free.begin(), free.end(), one.axis) != free.end()) return true;
    const SharedJson* value = value_on(first, one.axis);
    return value != nullptr && *value == one.value;
  });
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
    if (!member.axes.empty() || !value) continue;
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
  chart.y_title = capital(metric.label);
  chart.x_ticks = axis.ticks();
  chart.log_x = axis.by_factors;
  chart.names = !axis.numeric;
  chart.small = true;
  if (metric.better == Better::kLower) chart.y_low = 0;
  return drawing(chart);
}

AxesPicture lines_picture(const ComparisonResult& result, const AxisView& axis, double level) {
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
  for (const MetricInfo& metric : axes_metrics(result)) {
    auto one = along_axis(result, axis, lines, metric, level);
    if (one) picture.drawings.push_back(std::move(*one));
  }
  return picture;
}

/// Two axes of a family of members.
struct Plane {
  std::string family;
  const AxisView* x = nullptr;
  const AxisView* y = nullptr;
};

std::vector<Plane> planes_of(const ComparisonResult& result, const std::vector<AxisView>& axes) {
  std::vector<Plane> planes;
  std::vector<std::string> families;
  for (const Member& member : result.members) {
    if (member.axes.size() < 2 ||
        std::find(families.begin(), families.end(), member.family) != families.end()) {
      continue;
    }
    families.push_back(member.family);
    for (std::size_t i = 0; i < axes.size(); ++i) {
      for (std::size_t k = i + 1; k < axes.size(); ++k) {
        if (value_on(member, axes[i].name) != nullptr &&
            value_on(member, axes[k].name) != nullptr) {
          planes.push_back({member.family, &axes[i], &axes[k]});
        }
      }
    }
  }
  return planes;
}

const Member* member_at(const ComparisonResult& result, const Plane& plane, const SharedJson& x,
                        const SharedJson& y) {
  for (const Member& member : result.members) {
    if (member.family != plane.family) continue;
    const SharedJson *own_x = value_on(member, plane.x->name),
                     *own_y = value_on(member, plane.y->name);
    if (own_x == nullptr || own_y == nullptr || *own_x != x || *own_y != y) continue;
    if (at_first(result, plane.family, member.axes, {plane.x->name, plane.y->name})) return &member;
  }
  return nullptr;
}

std::optional<HeatCell> heat_cell(const ComparisonResult& result, const Member* member,
                                  const MetricInfo& metric, double level) {
  if (member == nullptr) return std::nullopt;
  const auto value = metric_at(result, member->label, metric.name, level);
  if (!value) return std::nullopt;
  std::string text = fixed(value->mean, 3);
  if (text.starts_with("0.")) text.erase(0, 1);
  return HeatCell{value->mean, text + (value->outside ? "*" : ""),
                  member->label + ": " + metric.label + " " + over_seeds_text(*value)};
}

std::optional<Drawing> heat_map_of(const ComparisonResult& result, const Plane& plane,
                                   const MetricInfo& metric, double level) {
  HeatMap map;
  map.title = caption_of(metric);
  map.description = "Heat map of " + metric.label + " of " + plane.family + " over " +
                    plane.x->label + " and " + plane.y->label + " at L0 " + trimmed(level, 3) + ".";
  map.x_title = plane.x->label;
  map.y_title = plane.y->label;
  for (const Tick& tick : plane.x->ticks()) map.x_labels.push_back(tick.label);
  for (const Tick& tick : plane.y->ticks()) map.y_labels.push_back(tick.label);
  bool any = false;
  for (const SharedJson& y : plane.y->values) {
    map.cells.emplace_back();
    for (const SharedJson& x : plane.x->values) {
      map.cells.back().push_back(heat_cell(result, member_at(result, plane, x, y), metric, level));
      any = any || map.cells.back().back();
    }
  }
  return any ? std::optional(drawing(map)) : std::nullopt;
}

AxesPicture plane_picture(const ComparisonResult& result, const Plane& plane, double level) {
  AxesPicture picture{plane.x->label + " and " + plane.y->label + ": " + plane.family,
                      at_level(level) +
                          " Colours run from the least to the greatest value of each "
                          "map. *: this L0 is outside the member's range.",
                      "axes-" + plane.x->label + "-" + plane.y->label + "-" + plane.family,
                      {},
                      {}};
  std::vector<AxisValue> held;
  for (const AxisValue& one : first_of(result, plane.family).axes) {
    if (one.axis != plane.x->name && one.axis != plane.y->name) held.push_back(one);
  }
  if (!held.empty()) picture.note += " Held: " + values_text(held) + ".";
  for (const MetricInfo& metric : axes_metrics(result)) {
    auto one = heat_map_of(result, plane, metric, level);
    if (one) picture.drawings.push_back(std::move(*one));
  }
  return picture;
}

/// A name that every file system takes.
std::string file_name(std::string text) {
  for (char& c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!plain) c = '-';
  }
  return text + ".svg";
}

}  // namespace

std::vector<AxesPicture> axes_pictures(const ComparisonResult& result) {
  const double level = middle_level(result);
  if (level == 0) return {};
  const std::vector<AxisView> axes = axes_of(result);
  std::vector<AxesPicture> pictures;
  for (const AxisView& axis : axes) pictures.push_back(lines_picture(result, axis, level));
  for (const Plane& plane : planes_of(result, axes)) {
    pictures.push_back(plane_picture(result, plane, level));
  }
  std::erase_if(pictures, [](const AxesPicture& picture) { return picture.drawings.empty(); });
  for (AxesPicture& picture : pictures) picture.file = file_name(picture.file);
  return pictures;
}

std::string axes_section(const ComparisonResult& result) {
  const std::vector<AxesPicture> pictures = axes_pictures(result);
  std::string body;
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    const AxesPicture& picture = pictures[i];
    body += "<h3>" + escaped(capital(picture.heading)) + "</h3>\n<p class=\"note\">" +
            escaped(picture.note) + "</p>\n";
    if (picture.legend.size() > 1) body += legend_of(picture.legend);
    std::string figures;
    for (std::size_t k = 0; k < picture.drawings.size(); ++k) {
      figures += figure(picture.drawings[k], "axes-" + std::to_string(i) + "-" + std::to_string(k));
    }
    body += grid(figures, "figures many");
  }
  if (body.empty()) return "";
  return section("Axes",
                 "Each value is interpolated between a member's own runs to one L0, per seed. "
                 "Whiskers are one standard deviation over seeds; dashed: members without axes.",
                 body);
}

}  // namespace sae::report

namespace sae {

std::map<std::string, std::string> axes_files(const ComparisonResult& result) {
  std::map<std::string, std::string> files;
  for (report::AxesPicture& picture : report::axes_pictures(result)) {
    report::Sheet sheet{report::capital(picture.heading), picture.note, {}, picture.drawings};
    if (picture.legend.size() > 1) {
      for (const auto& [look, label] : picture.legend) sheet.legend.push_back({look, label});
    }
    files[picture.file] = report::svg_file(sheet);
  }
  return files;
}

}  // namespace sae

// Metrics along the axes of a comparison's grid: in the report, and as files.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "html/sheet.h"
#include "report/axes.h"
#include "report/groups.h"
#include "report/sections.h"
#include "sae/base/text.h"
#include "sae/report/report.h"

namespace sae::report {
namespace {

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

/// What all members have, give or take what three decimals show; none if they differ.
std::optional<double> same_everywhere(const ComparisonResult& result, const MetricInfo& metric,
                                      double level) {
  std::optional<double> first;
  for (const Member& member : result.members) {
    const auto value = metric_at(result, member.label, metric.name, level);
    if (!value) continue;
    if (!first) first = value->mean;
    if (std::abs(value->mean - *first) >= 0.0005) return std::nullopt;
  }
  return first;
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
  std::vector<MetricInfo> drawn;
  std::string same;  // said rather than drawn
  for (const MetricInfo& metric : axes_metrics(result)) {
    if (const auto value = same_everywhere(result, metric, level)) {
      same += " " + capital(metric.label) + ": " + fixed(*value, 3) + " throughout.";
    } else {
      drawn.push_back(metric);
    }
  }
  const std::vector<AxisView> axes = axes_of(result);
  std::vector<AxesPicture> pictures;
  for (const AxisView& axis : axes) {
    pictures.push_back(lines_picture(result, axis, drawn, level));
  }
  for (AxesPicture& picture : plane_pictures(result, axes, drawn, level)) {
    pictures.push_back(std::move(picture));
  }
  for (AxesPicture& picture : pictures) picture.note += same;
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
  const bool level_lines = std::any_of(result.members.begin(), result.members.end(),
                                       [](const Member& member) { return member.axes.empty(); });
  return section(
      "Axes",
      std::string("Each value is interpolated between a member's own runs to one L0, per "
                  "seed. Whiskers are one standard deviation over seeds") +
          (level_lines ? "; dashed: members without axes." : "."),
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

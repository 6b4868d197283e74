// Words and tables: the title, settings, every run, origin.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "html/svg.h"
#include "report/groups.h"
#include "report/sections.h"
#include "sae/base/text.h"

namespace sae::report {
namespace {

std::string counted(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string number_cell(const MetricValues& metrics, const std::string& name, int decimals = 3,
                        const std::string& marks = "") {
  const auto value = metrics.find(name);
  if (value == metrics.end() || !std::isfinite(value->second)) return "<td>–</td>";
  return "<td>" + (name == metric::kL0 ? brief(value->second) : fixed(value->second, decimals)) +
         marks + "</td>";
}

/// "model.k" is enough where no other axis ends in it.
std::string axis_name(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  return dot == std::string::npos ? path : path.substr(dot + 1);
}

std::string run_row(const ComparisonResult& result, const RunResult& run,
                    const std::set<std::string>& axes, const std::vector<MetricInfo>& metrics) {
  std::string row = "<tr><th scope=\"row\">" + escaped(run.name) + "</th><td class=\"text\">" +
                    escaped(run.member) + "</td>";
  for (const std::string& axis : axes) {
    const auto value = run.point.find(axis);
    row += "<td>" + (value == run.point.end() ? "–" : escaped(value->second.text())) + "</td>";
  }
  row += "<td>" + std::to_string(run.seed) + "</td>";
  if (!run.done) {
    return row + "<td class=\"text failed\" colspan=\"" + std::to_string(metrics.size() + 2) +
           "\">failed: " + escaped(run.message) + "</td></tr>\n";
  }
  row += number_cell(run.metrics, metric::kL0);
  for (const MetricInfo& metric : metrics) {
    row += number_cell(run.metrics, metric.name, metric.decimals,
                       marked(word_marks(result, run, metric.name)));
  }
  const std::string seconds = std::isfinite(run.wall_s) ? fixed(run.wall_s, 1) : "–";
  return row + "<td>" + seconds + "</td></tr>\n";
}

}  // namespace

std::string title_section(const ComparisonResult& result) {
  std::set<std::int64_t> seeds;
  for (const RunResult& run : result.runs) seeds.insert(run.seed);
  std::size_t levels = 0;
  for (const Member& member : result.members) {
    levels = std::max(levels, grid_points(result, member.label).size());
  }
  std::string meta = counted(result.members.size(), "member");
  if (levels > 0) meta += " · " + counted(levels, "level") + " of L0";
  if (!seeds.empty()) meta += " · " + counted(seeds.size(), "seed");
  meta += " · " + counted(result.runs.size(), "run");
  return "<header>\n<h1>" + escaped(result.title.empty() ? "Comparison" : result.title) +
         "</h1>\n<p class=\"meta\">" + meta + "</p>\n</header>\n";
}

std::string settings_section(const ComparisonResult& result) {
  if (!result.settings || result.settings->empty()) return "";
  const std::string text =
      result.settings->dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return section("Settings", "",
                 details("Base configuration, members, axes and seeds",
                         "<pre><code>" + escaped(text) + "</code></pre>\n"));
}

std::string runs_section(const ComparisonResult& result) {
  if (result.runs.empty()) return "";
  std::set<std::string> axes;
  for (const RunResult& run : result.runs) {
    for (const auto& [path, value] : run.point) axes.insert(path);
  }
  const std::vector<MetricInfo> metrics = measured_metrics(result);
  std::string table =
      "<thead>\n<tr><th scope=\"col\">Run</th><th scope=\"col\" class=\"text\">Member</th>";
  for (const std::string& axis : axes) {
    table += "<th scope=\"col\"><abbr title=\"" + escaped(axis) + "\">" + escaped(axis_name(axis)) +
             "</abbr></th>";
  }
  table += "<th scope=\"col\">Seed</th><th scope=\"col\">L0</th>";
  for (const MetricInfo& metric : metrics) {
    table += "<th scope=\"col\">" + escaped(capital(metric.label)) + "</th>";
  }
  table += "<th scope=\"col\">Time, s</th></tr>\n</thead>\n<tbody>\n";
  std::size_t failed = 0;
  for (const RunResult& run : result.runs) {
    table += run_row(result, run, axes, metrics);
    failed += run.done ? 0 : 1;
  }
  const std::string summary = counted(result.runs.size(), "run") +
                              (failed > 0 ? ", " + std::to_string(failed) + " failed" : "");
  return section("Every run", "",
                 details(summary, scrolling("Every run", table + "</tbody>\n", "runs")));
}

std::string origin_section(const ComparisonResult& result) {
  std::string body;
  if (!result.command.empty()) {
    body += "<pre><code>" + escaped(result.command) + "</code></pre>\n";
  }
  if (!result.versions.empty()) {
    body += "<dl>\n";
    for (const auto& [name, version] : result.versions) {
      body += "<div><dt>" + escaped(name) + "</dt><dd>" + escaped(version) + "</dd></div>\n";
    }
    body += "</dl>\n";
  }
  return body.empty() ? "" : section("To reproduce", "", body);
}

}  // namespace sae::report

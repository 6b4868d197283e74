// Words and tables: the title, the members at matched L0, settings, every run, origin.
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

constexpr const char* kHeadline[] = {metric::kExplainedVariance,
                                     metric::kCosine,
                                     metric::kNeverFired,
                                     metric::kAbsorptionFullMicro,
                                     metric::kAbsorptionFullMacro,
                                     metric::kAbsorptionFraction,
                                     metric::kWordsFull,
                                     metric::kWordsFraction,
                                     metric::kWordsMainF1,
                                     metric::kProbingTop1,
                                     metric::kMcc,
                                     metric::kUniqueness,
                                     metric::kF1};

std::string counted(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string arrow(Better better) {
  return better == Better::kHigher ? "\u00a0↑" : better == Better::kLower ? "\u00a0↓" : "";
}

std::vector<MetricInfo> headline_metrics(const ComparisonResult& result) {
  std::vector<MetricInfo> metrics;
  for (const MetricInfo& metric : measured_metrics(result)) {
    if (std::find(std::begin(kHeadline), std::end(kHeadline), metric.name) != std::end(kHeadline)) {
      metrics.push_back(metric);
    }
  }
  return metrics;
}

using Column = std::vector<std::optional<SeedStatistic>>;  // one entry a member

/// The member whose value is best and clear of every other's spread; -1 if none is.
int clear_best(const Column& column, Better better) {
  const double sign = better == Better::kLower ? -1 : 1;
  int best = -1;
  for (std::size_t i = 0; i < column.size(); ++i) {
    if (!column[i] || column[i]->outside || better == Better::kNeither) continue;
    if (best < 0 || sign * column[i]->mean > sign * column[static_cast<std::size_t>(best)]->mean) {
      best = static_cast<int>(i);
    }
  }
  bool contested = false;
  for (std::size_t i = 0; i < column.size() && best >= 0; ++i) {
    if (static_cast<int>(i) == best || !column[i] || column[i]->outside) continue;
    contested = true;
    if (!beyond_spread(*column[i], *column[static_cast<std::size_t>(best)])) return -1;
  }
  return contested ? best : -1;
}

std::string cell(const std::optional<SeedStatistic>& value, bool best) {
  if (!value) return "<td>–</td>";
  const std::string number = fixed(value->mean, 3);
  return std::string("<td>") + (best ? "<strong>" + number + "</strong>" : number) +
         (value->outside ? "<span class=\"out\">*</span>" : "") +
         (value->seeds > 1 ? " <span class=\"sd\">±" + fixed(value->sd, 3) + "</span>" : "") +
         "</td>";
}

std::string level_rows(const ComparisonResult& result, const std::vector<MetricInfo>& metrics,
                       double level, bool* outside) {
  std::vector<Column> columns;
  std::vector<int> best;
  for (const MetricInfo& metric : metrics) {
    Column column;
    for (const Member& member : result.members) {
      column.push_back(metric_at(result, member.label, metric.name, level));
      *outside = *outside || (column.back() && column.back()->outside);
    }
    best.push_back(clear_best(column, metric.better));
    columns.push_back(std::move(column));
  }
  std::string rows = "<tbody>\n<tr class=\"level\"><th scope=\"rowgroup\" colspan=\"" +
                     std::to_string(metrics.size() + 1) + "\">L0 " + trimmed(level, 3) +
                     "</th></tr>\n";
  for (std::size_t i = 0; i < result.members.size(); ++i) {
    rows += "<tr><th scope=\"row\">" + swatch(look_of(result, i)) +
            escaped(result.members[i].label) + "</th>";
    for (std::size_t m = 0; m < metrics.size(); ++m) {
      rows += cell(columns[m][i], best[m] == static_cast<int>(i));
    }
    rows += "</tr>\n";
  }
  return rows + "</tbody>\n";
}

std::string table_note(const ComparisonResult& result, bool outside) {
  std::set<std::int64_t> seeds;
  for (const RunResult& run : result.runs) seeds.insert(run.seed);
  std::string note =
      "Each value is interpolated between a member's own runs to the L0 of its block";
  note += seeds.size() > 1
              ? ", per seed; then the mean over seeds and ± one standard deviation. Bold: best, by "
                "more than twice the spread, against every other member."
              : ". One seed: no spread is known, so none is called best.";
  if (outside) note += " *: this L0 is outside the member's range; its nearest value is shown.";
  return note;
}

std::string number_cell(const MetricValues& metrics, const std::string& name) {
  const auto value = metrics.find(name);
  if (value == metrics.end() || !std::isfinite(value->second)) return "<td>–</td>";
  return "<td>" + (name == metric::kL0 ? brief(value->second) : fixed(value->second, 3)) + "</td>";
}

/// "model.k" is enough where no other axis ends in it.
std::string axis_name(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  return dot == std::string::npos ? path : path.substr(dot + 1);
}

std::string run_row(const RunResult& run, const std::set<std::string>& axes,
                    const std::vector<MetricInfo>& metrics) {
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
  for (const MetricInfo& metric : metrics) row += number_cell(run.metrics, metric.name);
  const std::string seconds = std::isfinite(run.wall_s) ? fixed(run.wall_s, 1) : "–";
  return row + "<td>" + seconds + "</td></tr>\n";
}

/// The runs whose scores rank nothing, and why.
std::string not_ranked_details(const ComparisonResult& result) {
  const std::vector<std::string> lines = not_ranked(result);
  if (lines.empty()) return "";
  std::string items;
  for (const std::string& line : lines) items += "<li>" + escaped(line) + "</li>\n";
  return details("Not ranked, with the reason: " + std::to_string(lines.size()),
                 "<ul>\n" + items + "</ul>\n");
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

std::string matched_section(const ComparisonResult& result) {
  const std::vector<double> levels = matched_levels(result);
  const std::vector<MetricInfo> metrics = headline_metrics(result);
  if (levels.empty() || metrics.empty()) return "";
  bool outside = false;
  std::string rows;
  for (const double level : levels) rows += level_rows(result, metrics, level, &outside);
  std::string head = "<thead>\n<tr><th scope=\"col\">Member</th>";
  for (const MetricInfo& metric : metrics) {
    head += "<th scope=\"col\">" + escaped(capital(metric.label)) + arrow(metric.better) + "</th>";
  }
  return section("At matched L0", table_note(result, outside),
                 scrolling("Metrics at matched L0", head + "</tr>\n</thead>\n" + rows) +
                     not_ranked_details(result));
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
    table += run_row(run, axes, metrics);
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

// results.md: the members at the matched levels, for a README.
#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "results/tables.h"
#include "sae/base/text.h"
#include "sae/results/results.h"

namespace sae {
namespace {

/// Text in a cell: no bar ends it, no line break ends the row, no markup is read from it.
std::string cell_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("|\\`*_<>[]").find(c) != std::string_view::npos) out += '\\';
    out += c == '\n' || c == '\r' ? ' ' : c;
  }
  return out;
}

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return text;
}

std::string mean_text(const std::optional<SeedStatistic>& value) {
  if (!value) return "–";
  std::string text = short_fixed(value->mean);
  if (value->seeds > 1) text += " ± " + short_fixed(value->sd);
  return value->outside ? text + " \\*" : text;
}

std::string counted(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

/// "144 runs, 3 seeds, 412 s of training; sae 0.1.0, libtorch 2.11.0".
std::string origin(const ComparisonResult& result) {
  std::set<std::int64_t> seeds;
  double seconds = 0;
  for (const RunResult& run : result.runs) {
    seeds.insert(run.seed);
    if (std::isfinite(run.wall_s)) seconds += run.wall_s;
  }
  std::string text = counted(result.runs.size(), "run") + ", " + counted(seeds.size(), "seed") +
                     ", " + fixed(seconds, 0) + " s of training";
  std::string versions;
  for (const auto& [name, version] : result.versions) {
    versions += (versions.empty() ? "; " : ", ") + name + " " + version;
  }
  return text + versions;
}

std::string level_block(const ComparisonResult& result, const std::vector<MetricInfo>& metrics,
                        double level, bool* outside) {
  std::string rows;
  for (const Member& member : result.members) {
    rows += "| " + (rows.empty() ? trimmed(level, 3) : "") + " | " + cell_text(member.label);
    for (const MetricInfo& metric : metrics) {
      const auto value = metric_at(result, member.label, metric.name, level);
      *outside = *outside || (value && value->outside);
      rows += " | " + mean_text(value);
    }
    rows += " |\n";
  }
  return rows;
}

}  // namespace

std::string to_markdown(const ComparisonResult& result) {
  std::string text = "# " + cell_text(result.title.empty() ? "Comparison" : result.title) + "\n\n";
  if (!result.command.empty()) text += "    " + one_line(result.command) + "\n\n";
  text += origin(result) + "\n\n";
  const std::vector<MetricInfo> metrics = telling_metrics(result);
  const std::vector<double> levels = matched_levels(result);
  if (levels.empty() || metrics.empty()) return text + "No finished run to compare.\n";
  text += "| L0 | member";
  std::string rule = "|---|---";
  for (const MetricInfo& metric : metrics) {
    text += " | " + cell_text(metric.label);
    rule += "|---";
  }
  text += " |\n" + rule + "|\n";
  bool outside = false;
  for (const double level : levels) text += level_block(result, metrics, level, &outside);
  text += "\nMean ± standard deviation over seeds, interpolated to the L0 of the block.";
  if (outside) text += " \\* outside the member's own range of L0: its nearest value.";
  return text + "\n";
}

}  // namespace sae

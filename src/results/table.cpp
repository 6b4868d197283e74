// results.csv, and the table for a terminal.
#include <algorithm>
#include <cmath>
#include <set>

#include "results/tables.h"
#include "sae/base/text.h"
#include "sae/results/results.h"
#include "sae/results/word_marks.h"

namespace sae {
namespace {

/// Characters that a terminal shows: UTF-8 continuation bytes take no room.
std::size_t display_width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xc0) != 0x80; }));
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::size_t shown = display_width(text);
  const std::string space(width > shown ? width - shown : 0, ' ');
  return right ? space + text : text + space;
}

std::string clipped(const std::string& text, std::size_t width) {
  if (display_width(text) <= width) return text;
  std::string kept;
  std::size_t shown = 0;
  for (const char byte : text) {
    if ((byte & 0xc0) != 0x80 && ++shown == width) break;
    kept += byte;
  }
  return kept + "…";
}

using Row = std::vector<std::string>;

/// What the cells of a table have beside numbers, to be explained below it.
struct CellMarks {
  bool outside = false;
  WordMarks words;
};

Row cells(const ComparisonResult& result, const std::vector<MetricInfo>& metrics,
          const std::string& member, double level, CellMarks& seen) {
  Row row{member};
  for (const MetricInfo& metric : metrics) {
    const auto value = metric_at(result, member, metric.name, level);
    if (!value) {
      row.push_back("-");
      continue;
    }
    std::string cell = short_fixed(value->mean, metric.decimals);
    if (value->seeds > 1) cell += "±" + short_fixed(value->sd, metric.decimals);
    if (value->outside) cell += "*";
    const WordMarks words = word_marks(result, member, metric.name, level);
    row.push_back(cell + letters_of(words));
    seen.outside = seen.outside || value->outside;
    seen.words.random = seen.words.random || words.random;
    seen.words.no_latent = seen.words.no_latent || words.no_latent;
  }
  return row;
}

std::string layout(const std::vector<Row>& rows, std::size_t columns) {
  std::vector<std::size_t> widths(rows[0].size(), 0);
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row[i]));
    }
  }
  widths[0] = std::min<std::size_t>(widths[0], std::max<std::size_t>(columns / 4, 8));
  std::size_t shown = 1;
  for (std::size_t used = widths[0]; shown < widths.size(); ++shown) {
    used += 2 + widths[shown];
    if (used > columns) break;
  }
  std::string text;
  for (const Row& row : rows) {
    if (row.size() == 1) {  // the head of a level, before an empty line
      text += "\n" + row[0] + "\n";
      continue;
    }
    std::string line = padded(clipped(row[0], widths[0]), widths[0], false);
    for (std::size_t i = 1; i < shown; ++i) line += "  " + padded(row[i], widths[i], true);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

std::string short_fixed(double value, int decimals) {
  std::string text = fixed(value, decimals);
  const std::size_t zero = text[0] == '-' ? 1 : 0;
  if (text.compare(zero, 2, "0.") == 0) text.erase(zero, 1);
  return text;
}

std::vector<MetricInfo> telling_metrics(const ComparisonResult& result) {
  std::vector<MetricInfo> metrics = measured_metrics(result);
  std::erase_if(metrics, [](const MetricInfo& metric) { return metric.place == 0; });
  std::sort(metrics.begin(), metrics.end(),
            [](const MetricInfo& a, const MetricInfo& b) { return a.place < b.place; });
  return metrics;
}

std::string results_table(const ComparisonResult& result, std::size_t columns) {
  // What does not fit into the width is left to the report.
  const std::vector<MetricInfo> metrics = telling_metrics(result);
  std::string text;
  const std::vector<double> levels = matched_levels(result);
  if (levels.empty() || metrics.empty()) {
    text = "no finished run to compare\n";
  } else {
    Row head{"member"};
    for (const MetricInfo& metric : metrics) head.push_back(metric.brief);
    std::vector<Row> rows{head};
    CellMarks seen;
    for (const double level : levels) {
      rows.push_back({"L0 " + trimmed(level, 3)});
      for (const Member& member : result.members) {
        rows.push_back(cells(result, metrics, member.label, level, seen));
      }
    }
    text = layout(rows, columns);
    if (seen.outside) text += "* outside the member's range of L0: its nearest value\n";
    if (seen.words.random) text.append("r ").append(kMeansRandom).append("\n");
    if (seen.words.no_latent) text.append("f ").append(kMeansNoLatent).append("\n");
  }
  for (const RunResult& run : result.runs) {
    if (!run.done) text += "failed: " + run.name + ": " + run.message + "\n";
  }
  for (const std::string& line : not_ranked(result)) text += "not ranked: " + line + "\n";
  return text;
}

std::string to_csv(const ComparisonResult& result) {
  std::set<std::string> axes, extra;
  for (const RunResult& run : result.runs) {
    for (const auto& [path, value] : run.point) axes.insert(path);
    for (const auto& [name, value] : run.metrics) extra.insert(name);
  }
  std::vector<std::string> metrics;  // the known ones in their order, then the others
  for (const MetricInfo& metric : known_metrics()) {
    if (extra.erase(metric.name) != 0) metrics.push_back(metric.name);
  }
  metrics.insert(metrics.end(), extra.begin(), extra.end());

  std::string text = "name,member";
  for (const std::string& axis : axes) text += "," + csv_field(axis);
  text += ",seed,status,wall_s";
  for (const std::string& metric : metrics) text += "," + csv_field(metric);
  text += ",message\n";
  for (const RunResult& run : result.runs) {
    text += csv_field(run.name) + "," + csv_field(run.member);
    for (const std::string& axis : axes) {
      const auto value = run.point.find(axis);
      text += "," + (value == run.point.end() ? "" : csv_field(value->second.text()));
    }
    text += "," + std::to_string(run.seed) + (run.done ? ",done," : ",failed,") +
            (std::isfinite(run.wall_s) ? shortest(run.wall_s) : "");
    for (const std::string& metric : metrics) {
      const auto value = run.metrics.find(metric);
      const bool known = value != run.metrics.end() && std::isfinite(value->second);
      text += "," + (known ? shortest(value->second) : "");
    }
    text += "," + csv_field(run.message) + "\n";
  }
  return text;
}

}  // namespace sae

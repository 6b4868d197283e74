// What the suites say: absorption on words and probing against L0, class by class, and which
// differences are more than noise.
#include <algorithm>
#include <cmath>
#include <set>

#include "html/svg.h"
#include "report/groups.h"
#include "report/sections.h"
#include "sae/base/text.h"
#include "sae/results/significance.h"

namespace sae::report {
namespace {

constexpr const char* kCharts[] = {metric::kWordsFull, metric::kWordsFraction,
                                   metric::kProbingTop1};

/// What is compared class by class.
struct ByClass {
  const char* metric;  ///< of RunResult::by_class
  const char* label;
  const char* classes;  ///< what its classes are called
};
constexpr ByClass kByClass[] = {{metric::kFullOfClass, "Full absorption", "classes"},
                                {metric::kFractionOfClass, "Absorption fraction", "classes"},
                                {metric::kProbingTop1, "Probing accuracy of one latent", "tasks"}};

/// "1 seed", "3 seeds"; "1 class", "6 classes".
std::string count_of(int count, const std::string& plural) {
  if (count != 1) return std::to_string(count) + " " + plural;
  return "1 " + plural.substr(0, plural.size() - (plural.ends_with("sses") ? 2 : 1));
}

/// ".041"
std::string share(double value) {
  const std::string text = fixed(value, 3);
  return text.starts_with("0.") ? text.substr(1) : text;
}

std::string signed_share(double value) {
  const std::string size = share(std::abs(value));
  return (value < 0 && size != ".000" ? "−" : "+") + size;
}

std::string difference_cell(const PairedDifference& pair, const char* classes) {
  const std::string title = "95 % interval " + signed_share(pair.low) + " to " +
                            signed_share(pair.high) + ", p " + brief(pair.p) + ", " +
                            count_of(pair.seeds, "seeds") + ", " + count_of(pair.classes, classes);
  const std::string number = signed_share(pair.mean);
  const std::string half = std::isfinite(pair.se)
                               ? " <span class=\"sd\">±" + share(pair.high - pair.mean) + "</span>"
                               : "";
  return "<td title=\"" + escaped(title) + "\">" +
         (pair.told_apart ? "<strong>" + number + "</strong>" : number) + half + "</td>";
}

/// Row less column, below the diagonal.
std::string difference_table(const DifferenceTable& table, const char* classes,
                             const std::string& name) {
  std::string html = "<thead>\n<tr><th scope=\"col\">Row less column</th>";
  const std::size_t count = table.members.size();
  for (std::size_t j = 0; j + 1 < count; ++j) {
    html += "<th scope=\"col\">" + escaped(table.members[j]) + "</th>";
  }
  html += "</tr>\n</thead>\n<tbody>\n";
  for (std::size_t i = 1; i < count; ++i) {
    html += "<tr><th scope=\"row\">" + escaped(table.members[i]) + "</th>";
    for (std::size_t j = 0; j + 1 < count; ++j) {
      const auto& pair = table.pairs[i][j];
      html += j >= i ? "<td></td>" : pair ? difference_cell(*pair, classes) : "<td>–</td>";
    }
    html += "</tr>\n";
  }
  return scrolling(name, html + "</tbody>\n");
}

/// `what`, with its members matched at this level of one L0; `how` ends the heading.
std::string differences_table(const ComparisonResult& result, const ByClass& what, double level,
                              const char* axis, const std::string& how) {
  const DifferenceTable table = differences_at(result, what.metric, level, axis);
  if (table.compared() == 0) return "";
  return "<h3>" +
         escaped(what.label + how + ": " + std::to_string(table.told_apart()) + " of " +
                 count_of(static_cast<int>(table.compared()), "pairs") + " told apart") +
         "</h3>\n" + difference_table(table, what.classes, what.label + how);
}

std::string differences_at_level(const ComparisonResult& result, double level) {
  std::string html;
  for (const ByClass& what : kByClass) {
    html += differences_table(result, what, level, metric::kL0, "");
  }
  return html;
}

/// Absorption alone, with members matched at the middle level of L0 on the words.
std::string differences_on_words(const ComparisonResult& result) {
  const double level = middle_level(result, metric::kWordsL0);
  std::string html;
  for (const ByClass& what : kByClass) {
    if (suite_of(what.metric) != "absorption") continue;
    html += differences_table(result, what, level, metric::kWordsL0,
                              ", matched at L0 " + trimmed(level, 3) + " on the words");
  }
  return html;
}

std::string class_rows(const ComparisonResult& result, const std::string& metric, double level) {
  std::set<std::string> names;
  for (const RunResult& run : result.runs) {
    if (const auto found = run.by_class.find(metric); found != run.by_class.end()) {
      for (const auto& [name, value] : found->second) names.insert(name);
    }
  }
  std::string rows;
  for (const std::string& name : names) {
    std::string cells;
    bool any = false;
    for (const Member& member : result.members) {
      std::vector<double> values;
      for (const auto& [seed, value] : class_at(result, member.label, metric, name, level)) {
        values.push_back(value);
      }
      any = any || !values.empty();
      if (values.empty()) {
        cells += "<td>–</td>";
        continue;
      }
      const double mean = over_seeds(values).mean;
      const int shade = std::clamp(static_cast<int>(std::lround(mean * 10)), 0, 10);
      cells += "<td class=\"h" + std::to_string(shade) + "\">" + fixed(mean, 2) + "</td>";
    }
    if (any) rows += "<tr><th scope=\"row\">" + escaped(name) + "</th>" + cells + "</tr>\n";
  }
  return rows;
}

/// Each control at each L0 that it was made to match.
std::string control_rows(const ComparisonResult& result, const std::vector<MetricInfo>& metrics) {
  std::string rows;
  for (const RunResult& control : result.controls) {
    rows += "<tr><th scope=\"row\">" + escaped(control.member) + "</th>";
    const auto cell = [&](const std::string& name, int decimals) {
      const auto value = control.metrics.find(name);
      if (value == control.metrics.end() || !std::isfinite(value->second))
        return std::string("<td>–</td>");
      return "<td>" + fixed(value->second, decimals) + "</td>";
    };
    rows += cell(metric::kL0, 1);
    for (const MetricInfo& metric : metrics) rows += cell(metric.name, metric.decimals);
    rows += "</tr>\n";
  }
  return rows;
}

std::vector<MetricInfo> suite_metrics(const ComparisonResult& result) {
  std::vector<MetricInfo> metrics;
  for (const MetricInfo& metric : measured_metrics(result)) {
    if (metric.name == metric::kExplainedVariance || metric.name.starts_with("absorption.") ||
        metric.name.starts_with("probing.")) {
      metrics.push_back(metric);
    }
  }
  return metrics;
}

}  // namespace

std::string suites_section(const ComparisonResult& result) {
  const std::string figures = in_panels(result, [&](const Panel& panel, const std::string& id) {
    std::string html;
    for (const MetricInfo& metric : measured_metrics(result)) {
      const bool drawn = std::any_of(std::begin(kCharts), std::end(kCharts),
                                     [&](const char* name) { return metric.name == name; });
      if (drawn) html += against_l0(result, panel, metric, id);
    }
    return html;
  });
  if (figures.empty()) return "";
  std::string note =
      "Absorption as SAEBench measures it, on classes of words; probing accuracy as SAEBench "
      "measures it. Low absorption is worth nothing without latents that read their class: see F1 "
      "of the main latent in the table below. Words are another distribution than text: L0 and "
      "explained "
      "variance on them are given beside those on text, and charts are against L0 on text.";
  std::string controls;
  if (!result.controls.empty()) {
    note += " Dashed: controls that have learned nothing, by the same code.";
    const std::vector<MetricInfo> metrics = suite_metrics(result);
    std::string head = "<th scope=\"col\">Control</th><th scope=\"col\">L0</th>";
    for (const MetricInfo& metric : metrics) {
      head += "<th scope=\"col\">" + escaped(capital(metric.label)) + "</th>";
    }
    controls = details("Controls in numbers",
                       scrolling("Controls", "<thead>\n<tr>" + head + "</tr>\n</thead>\n<tbody>\n" +
                                                 control_rows(result, metrics) + "</tbody>\n"));
  }
  return section("On labelled activations", note, figures + words_tables(result) + controls);
}

std::string classes_section(const ComparisonResult& result) {
  const double level = middle_level(result);
  std::string head = "<th scope=\"col\">Class</th>";
  for (std::size_t i = 0; i < result.members.size(); ++i) {
    head += "<th scope=\"col\">" + escaped(result.members[i].label) + "</th>";
  }
  std::string tables;
  for (const ByClass& what : kByClass) {
    const std::string rows = class_rows(result, what.metric, level);
    if (rows.empty()) continue;
    tables += details(what.label, scrolling(std::string(what.label) + " class by class",
                                            "<thead>\n<tr>" + head + "</tr>\n</thead>\n<tbody>\n" +
                                                rows + "</tbody>\n",
                                            "heat"));
  }
  if (tables.empty()) return "";
  return section("Class by class at L0 " + trimmed(level, 3),
                 "Means over seeds, interpolated to this L0. Darker is higher.", tables);
}

std::string significance_section(const ComparisonResult& result) {
  const std::vector<double> levels = matched_levels(result);
  const double middle = middle_level(result);
  const std::string on_words = differences_on_words(result);
  std::string body, others;
  for (const double level : levels) {
    const std::string html = differences_at_level(result, level);
    if (html.empty()) continue;
    if (level == middle) {
      body = html;
    } else {
      others += details("At L0 " + trimmed(level, 3), html);
    }
  }
  if (body.empty() && others.empty()) return "";
  return section(
      "Is the difference more than noise?",
      "At L0 " + trimmed(middle, 3) +
          (on_words.empty() ? "" : " on text unless it says otherwise") +
          ", paired over seeds and classes, both taken as samples: other seeds and other classes "
          "would have given other numbers. Bold: told apart, by a t test with crossed effects of "
          "seed and class and Holm's correction over all pairs of a table at 5 %. Everything else "
          "lies within the noise and ranks nothing. ±: half of the 95 % interval.",
      body + on_words + others);
}

}  // namespace sae::report

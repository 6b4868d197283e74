// The members at matched L0: the table of the comparison, and those of absorption on words.
#include <algorithm>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "html/svg.h"
#include "report/groups.h"
#include "report/sections.h"
#include "sae/base/text.h"
#include "sae/results/word_marks.h"

namespace sae::report {
namespace {

constexpr const char* kHeadline[] = {metric::kExplainedVariance,
                                     metric::kCosine,
                                     metric::kNeverFired,
                                     metric::kAbsorptionFullMicro,
                                     metric::kAbsorptionFullMacro,
                                     metric::kAbsorptionFractionMicro,
                                     metric::kWordsFull,
                                     metric::kWordsFraction,
                                     metric::kWordsMainF1,
                                     metric::kProbingTop1,
                                     metric::kMcc,
                                     metric::kUniqueness,
                                     metric::kF1};

/// What a reader needs to believe absorption on words.
constexpr const char* kOnWords[] = {metric::kWordsL0,
                                    metric::kExplainedVariance,
                                    metric::kWordsVariance,
                                    metric::kWordsFull,
                                    metric::kWordsFraction,
                                    metric::kWordsMainF1,
                                    metric::kWordsFullGivenMain,
                                    metric::kWordsFractionGivenMain,
                                    metric::kWordsClassesWithMain,
                                    metric::kWordsRecallGap};

std::string arrow(Better better) {
  return better == Better::kHigher ? "\u00a0↑" : better == Better::kLower ? "\u00a0↓" : "";
}

template <class Names>
std::vector<MetricInfo> measured_of(const ComparisonResult& result, const Names& names) {
  std::vector<MetricInfo> metrics;
  for (const MetricInfo& metric : measured_metrics(result)) {
    if (std::find(std::begin(names), std::end(names), metric.name) != std::end(names)) {
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

/// A table of members at the levels of one L0, and what is beside its numbers.
class MatchedTable {
 public:
  MatchedTable(const ComparisonResult& result, std::vector<MetricInfo> metrics, std::string axis,
               std::string where)
      : result_(result),
        metrics_(std::move(metrics)),
        axis_(std::move(axis)),
        where_(std::move(where)) {
    for (const double level : matched_levels(result, 3, axis_)) rows_ += level_rows(level);
  }

  bool empty() const { return rows_.empty() || metrics_.empty(); }

  std::string html(const std::string& name) const {
    std::string head = "<thead>\n<tr><th scope=\"col\">Member</th>";
    for (const MetricInfo& metric : metrics_) {
      head +=
          "<th scope=\"col\">" + escaped(capital(metric.label)) + arrow(metric.better) + "</th>";
    }
    return scrolling(name, head + "</tr>\n</thead>\n" + rows_);
  }

  std::string note() const {
    std::set<std::int64_t> seeds;
    for (const RunResult& run : result_.runs) seeds.insert(run.seed);
    std::string text =
        "Each value is interpolated between a member's own runs to the L0 of its block";
    text += seeds.size() > 1
                ? ", per seed; then the mean over seeds and ± one standard deviation. Bold: best, "
                  "by more than twice the spread, against every other member."
                : ". One seed: no spread is known, so none is called best.";
    if (outside_) text += " *: this L0 is outside the member's range; its nearest value is shown.";
    return text + meaning_of(marks_);
  }

 private:
  std::string level_rows(double level) {
    std::vector<Column> columns;
    std::vector<int> best;
    for (const MetricInfo& metric : metrics_) {
      Column column;
      for (const Member& member : result_.members) {
        column.push_back(metric_at(result_, member.label, metric.name, level, axis_));
        outside_ = outside_ || (column.back() && column.back()->outside);
      }
      best.push_back(clear_best(column, metric.better));
      columns.push_back(std::move(column));
    }
    std::string rows = "<tbody>\n<tr class=\"level\"><th scope=\"rowgroup\" colspan=\"" +
                       std::to_string(metrics_.size() + 1) + "\">L0 " + trimmed(level, 3) + where_ +
                       "</th></tr>\n";
    for (std::size_t i = 0; i < result_.members.size(); ++i) {
      rows += "<tr><th scope=\"row\">" + swatch(look_of(result_, i)) +
              escaped(result_.members[i].label) + "</th>";
      for (std::size_t m = 0; m < metrics_.size(); ++m) {
        rows += cell(columns[m][i], metrics_[m], best[m] == static_cast<int>(i),
                     word_marks(result_, result_.members[i].label, metrics_[m].name, level, axis_));
      }
      rows += "</tr>\n";
    }
    return rows + "</tbody>\n";
  }

  std::string cell(const std::optional<SeedStatistic>& value, const MetricInfo& metric, bool best,
                   const WordMarks& marks) {
    if (!value) return "<td>–</td>";
    marks_.random = marks_.random || marks.random;
    marks_.no_latent = marks_.no_latent || marks.no_latent;
    const std::string number = fixed(value->mean, metric.decimals);
    const std::string sd =
        value->seeds > 1 ? " <span class=\"sd\">±" + fixed(value->sd, metric.decimals) + "</span>"
                         : "";
    return "<td>" + (best ? "<strong>" + number + "</strong>" : number) +
           (value->outside ? "<span class=\"out\">*</span>" : "") + marked(marks) + sd + "</td>";
  }

  const ComparisonResult& result_;
  std::vector<MetricInfo> metrics_;
  std::string axis_;
  std::string where_;
  std::string rows_;
  bool outside_ = false;
  WordMarks marks_;
};

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

std::string marked(const WordMarks& marks) {
  const std::string letters = letters_of(marks);
  if (letters.empty()) return "";
  std::string title = marks.random ? kMeansRandom : "";
  if (letters.size() > 1) title.append("; ");
  if (marks.no_latent) title.append(kMeansNoLatent);
  return "<sup class=\"out\" title=\"" + escaped(title) + "\">" + letters + "</sup>";
}

std::string meaning_of(const WordMarks& marks) {
  std::string text;
  if (marks.random) text.append(" r: ").append(kMeansRandom).append(".");
  if (marks.no_latent) text.append(" f: ").append(kMeansNoLatent).append(".");
  return text;
}

std::string matched_section(const ComparisonResult& result) {
  const MatchedTable table(result, measured_of(result, kHeadline), metric::kL0, "");
  if (table.empty()) return "";
  return section("At matched L0", table.note(),
                 table.html("Metrics at matched L0") + not_ranked_details(result));
}

std::string words_tables(const ComparisonResult& result) {
  std::vector<MetricInfo> metrics = measured_of(result, kOnWords);
  const bool measured = std::any_of(metrics.begin(), metrics.end(), [](const MetricInfo& metric) {
    return metric.name == metric::kWordsL0;
  });
  if (!measured) return "";
  const MatchedTable text(result, metrics, metric::kL0, " on text");
  for (MetricInfo& metric : metrics) {
    if (metric.name == metric::kWordsL0) metric.name = metric::kL0, metric.label = "L0 on text";
  }
  const MatchedTable words(result, metrics, metric::kWordsL0, " on the words");
  const auto block = [](const MatchedTable& table, const std::string& title) {
    return table.empty() ? ""
                         : "<h3>" + escaped(title) + "</h3>\n<p class=\"note\">" +
                               escaped(table.note()) + "</p>\n" + table.html(title);
  };
  return block(text, "Absorption on words, members matched at the L0 of text") +
         block(words, "Absorption on words, members matched at the L0 of the words");
}

}  // namespace sae::report

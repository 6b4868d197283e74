// What latents stand for, by a judge, and what seeds find again.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "html/svg.h"
#include "report/groups.h"
#include "report/sections.h"
#include "sae/base/text.h"
#include "sae/results/interpretability.h"

namespace sae::report {
namespace {

struct InterpColumn {
  const char* metric;
  const char* head;
  int decimals = 3;
};
constexpr InterpColumn kInterpColumns[] = {{"intruder", "Intruder\u00a0↑"},
                                           {"intruder_matched", "Same token\u00a0↑"},
                                           {"coherence", "Coherence\u00a0↑"},
                                           {"auroc", "AUROC\u00a0↑"},
                                           {"r_precision", "R-precision\u00a0↑"},
                                           {"token_r2", "Token R²"},
                                           {"effective_tokens", "Tokens", 0},
                                           {"token_judge_intruder", "Intruder, `token`"},
                                           {"token_judge_coherence", "Coherence, `token`"}};
constexpr InterpColumn kQuantileColumns[] = {{"intruder", "Intruder"},
                                             {"intruder_matched", "Same token"},
                                             {"coherence", "Coherence"},
                                             {"auroc", "AUROC"}};

std::string number_or_dash(double value, int decimals) {
  return std::isfinite(value) ? fixed(value, decimals) : "–";
}

std::string plus_minus(double value, int decimals) {
  return std::isfinite(value) ? " <span class=\"sd\">±" + fixed(value, decimals) + "</span>" : "";
}

std::string head_row(const std::vector<std::string>& names) {
  std::string html = "<thead>\n<tr>";
  for (const std::string& name : names) html += "<th scope=\"col\">" + escaped(name) + "</th>";
  return html + "</tr>\n</thead>\n";
}

std::string mean_cell(const InterpSubject& subject, const InterpColumn& column) {
  const auto found = subject.means.find(column.metric);
  if (found == subject.means.end()) return "<td>–</td>";
  const StandardisedMean& mean = found->second;
  const std::string seeds = mean.seeds > 1 && !subject.control
                                ? "; over seeds ±" + fixed(mean.seeds_sd, column.decimals)
                                : "";
  return "<td title=\"error ±" + fixed(mean.error, column.decimals) + escaped(seeds) + "\">" +
         fixed(mean.mean, column.decimals) + (mean.partial ? "<span class=\"out\">*</span>" : "") +
         plus_minus(std::max(mean.error, subject.control ? 0 : mean.seeds_sd), column.decimals) +
         "</td>";
}

std::string interp_row(const ComparisonResult& result, const InterpSubject& subject) {
  std::string swatch_of_member;
  for (std::size_t i = 0; i < result.members.size() && !subject.control; ++i) {
    if (result.members[i].label == subject.name) swatch_of_member = swatch(look_of(result, i));
  }
  std::string row = "<tr><th scope=\"row\">" + swatch_of_member + escaped(subject.name) +
                    (subject.control  ? " (control)"
                     : subject.frozen ? " (frozen)"
                                      : "") +
                    "</th><td>" + fixed(subject.l0, 1) + "</td><td>" +
                    number_or_dash(subject.eligible, 0) + "</td><td>" +
                    number_or_dash(100 * subject.coverage, 0) + " %</td>";
  for (const InterpColumn& column : kInterpColumns) row += mean_cell(subject, column);
  return row + "</tr>\n";
}

std::string means_table(const ComparisonResult& result, const InterpLevel& level) {
  std::vector<std::string> names = {"Member", "L0", "Eligible", "Of firings"};
  for (const InterpColumn& column : kInterpColumns) names.emplace_back(column.head);
  std::string rows;
  for (const InterpSubject& one : level.members) rows += interp_row(result, one);
  for (const InterpSubject& one : level.controls) rows += interp_row(result, one);
  return scrolling("What latents stand for at L0 " + trimmed(level.l0, 3),
                   head_row(names) + "<tbody>\n" + rows + "</tbody>\n");
}

std::string quantiles_table(const InterpLevel& level) {
  std::vector<std::string> names = {"Member", "Activations"};
  for (const InterpColumn& column : kQuantileColumns) names.emplace_back(column.head);
  std::string rows;
  for (const InterpSubject& one : level.members) {
    for (std::size_t g = 0; g < one.by_quantile.size(); ++g) {
      rows += "<tr><th scope=\"row\">" + (g == 0 ? escaped(one.name) : "") + "</th><td>" +
              (g == 0                            ? "weakest"
               : g + 1 == one.by_quantile.size() ? "strongest"
                                                 : std::to_string(g + 1)) +
              "</td>";
      for (const InterpColumn& column : kQuantileColumns) {
        const auto found = one.by_quantile[g].find(column.metric);
        rows +=
            "<td>" +
            (found == one.by_quantile[g].end() ? std::string("–")
                                               : number_or_dash(found->second, column.decimals)) +
            "</td>";
      }
      rows += "</tr>\n";
    }
  }
  const std::string name = "By quantile of the activations at L0 " + trimmed(level.l0, 3);
  return details(name, scrolling(name, head_row(names) + "<tbody>\n" + rows + "</tbody>\n"));
}

std::string signed_number(double value) {
  return (value < 0 ? "−" : "+") + fixed(std::abs(value), 3);
}

std::string differences_list(const InterpLevel& level) {
  std::string rows;
  for (const InterpDifference& one : level.differences) {
    const std::string mean = signed_number(one.mean);
    rows += "<tr><th scope=\"row\">" + escaped(one.a) + " less " + escaped(one.b) + "</th><td>" +
            escaped(interp_label(one.metric)) + "</td><td>" +
            (one.told_apart ? "<strong>" + mean + "</strong>" : mean) + "</td><td>" +
            signed_number(one.low) + " to " + signed_number(one.high) + "</td></tr>\n";
  }
  if (rows.empty()) return "";
  const std::string name = "Differences at L0 " + trimmed(level.l0, 3);
  return details(name, scrolling(name, head_row({"Members", "Metric", "Difference", "Interval"}) +
                                           "<tbody>\n" + rows + "</tbody>\n"));
}

/// What may be claimed, or why nothing may.
std::string claims_text(const InterpLevel& level) {
  const std::string at = "At L0 " + trimmed(level.l0, 3);
  if (!level.missing.empty()) {
    return at + " nothing may be claimed, for want of " + joined(level.missing, " and of ") + ".";
  }
  if (level.claims.empty()) {
    return at + " nothing may be claimed: every interval of a difference includes 0.";
  }
  return at + " may be claimed: " + joined(level.claims, "; ") + ". Of all other pairs nothing.";
}

std::string level_html(const ComparisonResult& result, const InterpLevel& level) {
  return "<p><strong>" + escaped(claims_text(level)) + "</strong></p>\n" +
         means_table(result, level) + differences_list(level) + quantiles_table(level);
}

std::string judge_text(const ComparisonResult& result) {
  if (!result.judge || !result.judge->is_object()) return "";
  const std::string name = result.judge->value("name", std::string("token"));
  if (name == "token") {
    return "Judged by `token`, which sees nothing but whether two tokens are the same. ";
  }
  return "Judged by " + name + ", an embedding model" +
         (result.judge->value("is_model_of_store", false)
              ? ": the model that the store is from, which finds its own directions alike. Take "
                "another one. "
              : "; it is a proxy for people, and what it says is worth what it agrees with them "
                "(sae blind). ");
}

std::string interp_note(const ComparisonResult& result, const InterpLevel& level) {
  return judge_text(result) +
         "Intruder: can it tell which of five places in text is not the latent's (chance .2)? Same "
         "token: with an intruder of the same token, hidden. Coherence: how alike its places are, "
         "0 for any two. AUROC and R-precision: are its places found among all others? Detection "
         "cannot see that a latent means two things, the intruder can. Token R²: near 1, the "
         "latent "
         "is a list of tokens. `token` in a head: by a judge that sees the token alone. Means are "
         "standardised to the same firing counts, in bins of powers of two" +
         (level.dropped > 0.0005
              ? "; " + fixed(100 * level.dropped, 1) +
                    " % of the eligible latents are in bins that some member lacks, and count "
                    "nothing"
              : "") +
         ". ±: the larger of the error by bootstrap over latents and, with several seeds, their "
         "standard deviation. *: a control that lacks some bins. `shuffled`: the members' "
         "activations on random rows. A claim needs the numbers of `shuffled`, of `random` and of "
         "a "
         "frozen member beside those of both, and an interval of the difference that excludes 0, "
         "at 95 % for all pairs of a metric together.";
}

/// One value of a group of runs that differ in the seed.
std::string consistency_cell(const GridPoint& point, const char* metric) {
  const auto value = over_runs(point, metric);
  if (!value) return "<td>–</td>";
  return "<td>" + fixed(value->mean, 3) + "</td>";
}

}  // namespace

std::string interp_section(const ComparisonResult& result) {
  const std::vector<InterpLevel> levels = interpretability_levels(result);
  if (levels.empty()) return "";
  const double middle = middle_level(result);
  const auto shown = std::min_element(levels.begin(), levels.end(),
                                      [&](const InterpLevel& a, const InterpLevel& b) {
                                        return std::abs(a.l0 - middle) < std::abs(b.l0 - middle);
                                      });
  std::string others;
  for (const InterpLevel& level : levels) {
    if (&level == &*shown) continue;
    others += details("At L0 " + trimmed(level.l0, 3), level_html(result, level));
  }
  return section("What latents stand for", interp_note(result, *shown),
                 level_html(result, *shown) + others);
}

std::string consistency_section(const ComparisonResult& result) {
  std::string rows;
  for (std::size_t i = 0; i < result.members.size(); ++i) {
    for (const GridPoint& point : grid_points(result, result.members[i].label)) {
      if (!over_runs(point, metric::kPwMcc)) continue;
      rows += "<tr><th scope=\"row\">" + swatch(look_of(result, i)) +
              escaped(result.members[i].label) + "</th><td>" + fixed(point.l0.mean, 1) + "</td>" +
              consistency_cell(point, metric::kPwMcc) +
              consistency_cell(point, metric::kPwMccChance) +
              consistency_cell(point, metric::kSharedLatents) +
              consistency_cell(point, metric::kSharedChance) + "</tr>\n";
    }
  }
  if (rows.empty()) return "";
  const std::string name = "Consistency between seeds";
  return section(
      "Does another seed find the same latents?",
      "Decoder rows of the latents that fire, matched one to one between runs that differ in the "
      "seed alone, for the largest total cosine. PW-MCC: mean cosine of the pairs. Shared: pairs "
      "above .7 in decoder and encoder. By chance: as many random directions of this width, which "
      "match the better the more there are.",
      scrolling(name, head_row({"Member", "L0", "PW-MCC\u00a0↑", "By chance", "Shared\u00a0↑",
                                "By chance"}) +
                          "<tbody>\n" + rows + "</tbody>\n"));
}

}  // namespace sae::report

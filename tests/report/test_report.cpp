#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "sae/report/report.h"
#include "support/example_comparison.h"
#include "support/markup_testing.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

/// Nothing that a reader should never see, whatever the comparison.
void expect_sound(const std::string& page) {
  EXPECT_EQ(malformed(page), "");
  for (const char* part : {"http:", "https:", "src=", "@import", "url(", "<script", "<link"}) {
    EXPECT_EQ(count(page, part), 0u) << part;
  }
  for (const char* part : {"nan", "NaN", "inf\"", "inf ", ">inf", "-inf", "e+"}) {
    EXPECT_EQ(count(page, part), 0u) << part;
  }
  EXPECT_EQ(count(page, "<svg role=\"img\""), count(page, "</desc>"));
  EXPECT_EQ(count(page, "<h2>"), count(page, "<section>"));
}

TEST(Report, IsCheckedByAParserThatNoticesDamage) {
  EXPECT_EQ(malformed("<html><g a=\"1\"/>&amp;</html>"), "");
  for (const char* bad : {"<html><g></html>", "<html><g>", "<html>a & b</html>",
                          "<html a=\"></html>", "<html></g></html>", "<html a=\"<\"></html>"}) {
    EXPECT_NE(malformed(bad), "") << bad;
  }
}

TEST(Report, IsSoundForEveryShapeOfComparison) {
  for (const int seeds : {1, 2, 3}) {
    for (const int levels : {1, 3}) {
      for (const bool truth : {true, false}) {
        for (const bool history : {true, false}) {
          for (const bool words : {true, false}) {
            expect_sound(render_report(example_comparison({seeds, levels, truth, history, words})));
          }
        }
      }
    }
  }
  expect_sound(render_report({}));
}

TEST(Report, HasItsSectionsInOrder) {
  const std::string page = render_report(example_comparison());
  std::size_t last = 0;
  for (const char* heading :
       {"<h1>", "class=\"findings\"", "Against sparsity", "At matched L0",
        "Absorption against explained variance", "Training", "How often latents fire",
        "The mask over time", "Settings", "Every run", "To reproduce"}) {
    const std::size_t at = page.find(heading);
    ASSERT_NE(at, std::string::npos) << heading;
    EXPECT_GT(at, last) << heading;
    last = at;
  }
}

TEST(Report, ShowsWhatTheSuitesSayWithControlsDashed) {
  const std::string page =
      render_report(example_comparison({.ground_truth = false, .words = true}));
  const std::string charts =
      part_of(page, "<h2>On labelled activations", "<h2>Class by class at L0 24");
  EXPECT_EQ(count(charts, "<svg role=\"img\""), 3u) << "full, fraction, probing";
  EXPECT_EQ(count(charts, " dashed\">"), 6u) << "two controls in each";
  EXPECT_EQ(count(charts, ">identity<"), 3u + 1) << "beyond the axis: a level line";
  EXPECT_EQ(count(charts, "<th scope=\"row\">random</th>"), 3u);
  const std::string classes =
      part_of(page, "<h2>Class by class", "<h2>Is the difference more than noise?");
  EXPECT_EQ(count(classes, "<table class=\"heat\">"), 3u);
  EXPECT_EQ(count(classes, "<th scope=\"row\">weekday</th>"), 2u);
  EXPECT_EQ(count(classes, "<td class=\"h"), 7u * (6 + 6 + 2));
}

TEST(Report, GivesL0AndVarianceOnTheWordsAndMatchesMembersOnEitherL0) {
  const std::string page =
      render_report(example_comparison({.ground_truth = false, .words = true}));
  const std::string section =
      part_of(page, "<h2>On labelled activations", "<h2>Class by class at L0 24");
  const std::string text = part_of(section, "matched at the L0 of text</h3>", "<h3>");
  const std::string words = part_of(section, "matched at the L0 of the words</h3>", "<details>");
  for (const char* head :
       {"L0 on the words", "Explained variance\u00a0↑", "Explained variance on the words",
        "F1 of the main latent", "Full absorption (words with a main latent)"}) {
    EXPECT_EQ(count(text, std::string("<th scope=\"col\">") + head), 1u) << head;
  }
  EXPECT_EQ(count(text, ">L0 24 on text</th>"), 1u);
  EXPECT_EQ(count(words, "<th scope=\"col\">L0 on text</th>"), 1u);
  EXPECT_EQ(count(words, " on the words</th></tr>"), 3u) << "levels of its own";
  EXPECT_EQ(count(words, ">L0 24 on"), 0u);
  const std::string noise = part_of(page, "<h2>Is the difference more than noise?", "</section>");
  EXPECT_EQ(count(noise, "<h3>Full absorption, matched at L0 "), 1u);
  EXPECT_EQ(count(noise, "<h3>Absorption fraction, matched at L0 "), 1u);
  EXPECT_EQ(count(noise, "<h3>Probing accuracy of one latent, matched"), 0u);
}

TEST(Report, MarksAbsorptionThatChanceOrMissingLatentsExplainAndHidesNoNumber) {
  ComparisonResult result = example_comparison({.ground_truth = false, .words = true});
  const auto headline = [&] {
    return part_of(render_report(result), "<h2>At matched L0", "</section>");
  };
  for (RunResult& control : result.controls) {
    control.metrics["absorption.mean_full_absorption_score"] = 0;
    control.metrics["absorption.mean_absorption_fraction_score"] = 0;
  }
  EXPECT_EQ(count(headline(), "<sup"), 0u);
  for (RunResult& control : result.controls) {
    if (control.member != "random") continue;
    control.metrics["absorption.mean_full_absorption_score"] = .3;  // standard, topk have more
  }
  const std::string chance = headline();
  EXPECT_EQ(count(chance, ">r</sup>"), 2u * 5) << "at two levels: none was made for the third";
  EXPECT_EQ(count(chance, " r: a random dictionary at about this L0"), 1u);
  for (RunResult& run : result.runs) {
    if (run.member == "topk") run.metrics["absorption.mean_k1_f1"] = .1;
  }
  EXPECT_EQ(count(headline(), ">f</sup>"), 3u * 2) << "full and fraction";
  expect_sound(render_report(result));
  const std::string text = findings(result);
  EXPECT_NE(
      text.find("A random dictionary at about this L0 has as much full absorption on words "
                "as batch_topk, matryoshka, jumprelu, atm and atm (nested), which is not told "
                "from chance."),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("The main latents' F1 is below 0.2 for topk: absorption on words measures "
                      "there whether a latent for a class exists at all."),
            std::string::npos)
      << text;
}

TEST(Report, TellsDifferencesFromNoise) {
  const std::string page =
      render_report(example_comparison({.ground_truth = false, .words = true}));
  const std::string tables = part_of(page, "<h2>Is the difference more than noise?", "</section>");
  const std::string middle = part_of(tables, "<h3>Absorption fraction", "<h3>Probing");
  EXPECT_EQ(count(middle, "<td title=\"95 % interval"), 21u) << "every pair of seven once";
  EXPECT_GT(count(middle, "<strong>"), 0u);
  EXPECT_LT(count(middle, "<strong>"), 21u) << "some lie within the noise";
  EXPECT_NE(middle.find(", 3 seeds, 6 classes\">"), std::string::npos);
  const std::string one_seed =
      render_report(example_comparison({.seeds = 1, .ground_truth = false, .words = true}));
  EXPECT_EQ(count(part_of(one_seed, "<h2>Is the difference more", "</section>"), "<strong>"), 0u);
}

TEST(Report, ShowsEveryMemberInLegendTableAndCharts) {
  const ComparisonResult result = example_comparison();
  const std::string page = render_report(result);
  const std::string legend = part_of(page, "<ul class=\"legend\">", "</ul>");
  const std::string table = part_of(page, "<table>", "</table>");
  for (const Member& member : result.members) {
    EXPECT_EQ(count(legend, "</svg>" + member.label + "</li>"), 1u) << member.label;
    EXPECT_EQ(count(table, "</svg>" + member.label + "</th>"), 3u) << member.label;
    EXPECT_EQ(count(page, "<figcaption>" + member.label + "</figcaption>"), 1u) << "histogram";
  }
  EXPECT_EQ(count(page, "<figcaption>atm: importance"), 1u);
  EXPECT_EQ(count(page, "<figcaption>topk: importance"), 0u);
}

TEST(Report, LeavesOutSectionsWithoutData) {
  ComparisonResult result = example_comparison({.ground_truth = false, .with_history = false});
  for (RunResult& run : result.runs) run.firing = {};
  result.settings = Json::object();
  result.versions.clear();
  result.command.clear();
  const std::string page = render_report(result);
  EXPECT_EQ(count(page, "<h2>"), 3u) << "against sparsity, at matched L0, every run";
  EXPECT_EQ(count(page, "bsorption against"), 0u);
}

TEST(Report, EscapesEveryText) {
  const std::string evil = "<script>&\"'";
  ComparisonResult result = example_comparison();
  result.title = evil;
  result.command = evil;
  result.versions = {{evil, evil}};
  result.settings = Json{{"key<", "<script>&"}};
  result.members[0].label = evil;
  for (RunResult& run : result.runs) {
    run.name += evil;
    run.point = {{"axis." + evil, Json("<script>")}};
    if (run.member == "standard") run.member = evil;
    if (run.member == "topk") {
      run.done = false;
      run.message = evil;
    }
  }
  const std::string page = render_report(result);
  expect_sound(page);
  EXPECT_GT(count(page, "&lt;script&gt;&amp;&quot;&#39;"), 10u);
}

TEST(Report, EmphasisesTheBestOnlyBeyondTheSpread) {
  ComparisonResult result = example_comparison({.levels = 1});
  const auto set = [&](const std::string& member, double middle, double step) {
    for (RunResult& run : result.runs) {
      if (run.member != member) continue;
      run.metrics = {{"l0", 4}, {"mcc", middle + step * static_cast<double>(run.seed - 1)}};
    }
  };
  for (const Member& member : result.members) set(member.label, .5, .01);
  set("topk", .9, .01);
  EXPECT_EQ(count(render_report(result), "<strong>0.900</strong>"), 1u);
  set("jumprelu", .88, .01);
  EXPECT_EQ(count(render_report(result), "<strong>"), 0u) << "a runner-up within the spread";
  const std::string one_seed = render_report(example_comparison({.seeds = 1}));
  EXPECT_EQ(count(one_seed, "<strong>"), 0u);
}

TEST(Report, MarksAMemberOutsideItsRange) {
  ComparisonResult result = example_comparison();
  EXPECT_EQ(count(render_report(result), "class=\"out\""), 0u);
  for (RunResult& run : result.runs) {
    if (run.member == "topk") run.metrics["l0"] *= 10;
  }
  const std::string page = render_report(result);
  EXPECT_GT(count(page, "class=\"out\""), 0u);
  EXPECT_EQ(count(page, "outside the member&#39;s range"), 1u);
}

TEST(Report, SurvivesNumbersThatAreNotFinite) {
  ComparisonResult result = example_comparison();
  for (std::size_t i = 0; i < result.runs.size(); ++i) {
    const double bad = i % 2 == 0 ? std::numeric_limits<double>::quiet_NaN() : HUGE_VAL;
    RunResult& run = result.runs[i];
    if (i % 3 == 0) run.metrics["absorption_full_micro"] = bad;
    if (i % 5 == 0) run.metrics["l0"] = bad;
    if (i % 4 == 0) run.wall_s = bad;
    for (std::size_t k = 0; k < run.history.size(); k += 3) {
      for (auto& [name, value] : run.history[k].values) value = bad;
    }
  }
  expect_sound(render_report(result));
}

TEST(Report, SurvivesManyMembersAndZeros) {
  ComparisonResult result = example_comparison();
  for (int i = 0; i < 40; ++i) {
    result.members.push_back({"member " + std::to_string(i), "topk", i % 2 == 0, ""});
    RunResult run = result.runs[static_cast<std::size_t>(i)];
    run.member = result.members.back().label;
    for (auto& [name, value] : run.metrics) value = 0;
    for (MetricsRow& row : run.history) {
      for (auto& [name, value] : row.values) value = 0;
    }
    result.runs.push_back(run);
  }
  expect_sound(render_report(result));
}

TEST(Report, IsTheSameForTheSameResult) {
  EXPECT_EQ(render_report(example_comparison()), render_report(example_comparison()));
}

// The paragraph, for crafted numbers: (member, seed 0, seed 1, ...) of absorption and variance.
struct Crafted {
  Member member;
  std::vector<double> absorption, variance, never_fired;
};

std::string paragraph(const std::vector<Crafted>& members) {
  ComparisonResult result;
  for (const Crafted& crafted : members) {
    result.members.push_back(crafted.member);
    for (std::size_t seed = 0; seed < crafted.variance.size(); ++seed) {
      RunResult run;
      run.member = crafted.member.label;
      run.seed = static_cast<std::int64_t>(seed);
      run.metrics = {{"l0", 5.6}, {"explained_variance", crafted.variance[seed]}};
      if (seed < crafted.absorption.size()) {
        run.metrics["absorption_full_micro"] = crafted.absorption[seed];
      }
      if (seed < crafted.never_fired.size()) {
        run.metrics["never_fired"] = crafted.never_fired[seed];
      }
      result.runs.push_back(run);
    }
  }
  return findings(result);
}

const Member kBase{"batch_topk", "batch_topk", false, ""};
const Member kNested{"atm (nested)", "batch_topk", true, "batch_topk"};
const Member kMatryoshka{"matryoshka", "matryoshka", false, ""};

TEST(Findings, NamesTheLeastAbsorbingAndWhatItCosts) {
  EXPECT_EQ(
      paragraph({{kBase, {.24, .26}, {.790, .796}, {}},
                 {kNested, {.03, .032}, {.780, .782}, {}},
                 {kMatryoshka, {.05, .064}, {.772, .774}, {}}}),
      "At L0 5.6, atm (nested) absorbs least: full absorption (micro) of 0.031 ± 0.001 over 2 "
      "seeds, "
      "against 0.057 ± 0.010 for matryoshka, the next. The difference is 2.6 times the spread "
      "over seeds. Its explained variance, 0.781, is 0.012 below that of batch_topk, the "
      "highest (0.793). Compared with batch_topk, its base without the mask, atm (nested) "
      "absorbs less (0.031 against 0.250) at a cost of 0.012 in explained variance (0.781 "
      "against 0.793). Compared with matryoshka, it absorbs less (0.031 against 0.057) and "
      "explains more variance (0.781 against 0.773).");
}

TEST(Findings, IsCautiousWithinTheSpread) {
  EXPECT_EQ(
      paragraph({{kBase, {.1, .3}, {.70, .80}, {}}, {kNested, {.05, .25}, {.69, .79}, {}}}),
      "At L0 5.6, atm (nested) absorbs least: full absorption (micro) of 0.150 ± 0.141 over 2 "
      "seeds, "
      "against 0.200 ± 0.141 for batch_topk, the next. The difference is only 0.3 times the "
      "spread over seeds, too little to call. Its explained variance, 0.740, cannot be told "
      "from that of batch_topk, the highest (0.750). Compared with batch_topk, its base "
      "without the mask, atm (nested) absorbs about as much (0.150 against 0.200) and explains "
      "about as much variance (0.740 against 0.750).");
}

TEST(Findings, ClaimsNoSpreadForOneSeedAndReportsALossAsOne) {
  EXPECT_EQ(paragraph({{kBase, {.2}, {.8}, {}}, {kNested, {.3}, {.7}, {}}}),
            "At L0 5.6, batch_topk absorbs least: full absorption (micro) of 0.200, against 0.300 "
            "for atm "
            "(nested), the next. With one seed a member, no difference here has an error bar. It "
            "also has the highest explained variance, 0.800. Compared with batch_topk, its base "
            "without the mask, atm (nested) absorbs more (0.300 against 0.200) and explains less "
            "variance (0.700 against 0.800).");
}

TEST(Findings, SpeaksOfVarianceWithoutGroundTruth) {
  EXPECT_EQ(
      paragraph(
          {{kBase, {}, {.870, .874}, {.001, .003}}, {kNested, {}, {.860, .862}, {.05, .052}}}),
      "There is no ground truth here, so absorption was not measured. At L0 5.6, batch_topk "
      "explains most variance: 0.872 ± 0.003 over 2 seeds, against 0.861 ± 0.001 for atm "
      "(nested), the next. The difference is 3.5 times the spread over seeds. Latents that "
      "never fired are at most 5.1 % (atm (nested)). Compared with batch_topk, its base without "
      "the mask, atm (nested) explains less variance (0.861 against 0.872), with 5.1 % of its "
      "latents never firing against 0.2 %.");
}

TEST(Findings, SaysWhichDifferencesOnWordsAreMoreThanNoise) {
  const std::string text =
      findings(example_comparison({.ground_truth = false, .with_history = false, .words = true}));
  EXPECT_EQ(text.find("There is no ground truth here, so absorption was measured on classes of "
                      "words. At L0 24, "),
            0u)
      << text;
  EXPECT_NE(text.find(" pairs differ by more than the noise of seeds and classes, among them "),
            std::string::npos)
      << text;
  const std::string one = findings(example_comparison(
      {.seeds = 1, .ground_truth = false, .with_history = false, .words = true}));
  EXPECT_NE(one.find("In full absorption on classes of words no two members differ by more than "
                     "the noise of seeds and classes, which one seed does not tell."),
            std::string::npos)
      << one;
}

TEST(Findings, NeverPraisesWhatIsNotRanked) {
  ComparisonResult result = example_comparison();
  for (RunResult& run : result.runs) {
    if (run.member != "topk") continue;
    run.metrics["absorption_full_micro"] = 0;  // the least there is
    run.unranked["truth"] = "none of its latents ever fires";
  }
  const std::string text = findings(result);
  EXPECT_EQ(text.find("topk absorbs least"), std::string::npos) << text;
  EXPECT_EQ(count(text, "Not ranked: topk (none of its latents ever fires)."), 1u) << text;
  const std::string page = render_report(result);
  EXPECT_EQ(malformed(page), "");
  EXPECT_EQ(count(page, "truth: none of its latents ever fires</li>"), 9u) << "3 levels, 3 seeds";
  for (RunResult& run : result.runs) run.unranked["truth"] = "none of its latents ever fires";
  EXPECT_EQ(findings(result).rfind("No run can be ranked by absorption; the table says why. ", 0),
            0u)
      << findings(result);
}

TEST(Findings, TakesNoAbsorptionForNoneAtAll) {
  ComparisonResult result = example_comparison();
  for (RunResult& run : result.runs) {
    if (run.member != "topk") continue;
    for (auto& [name, value] : run.metrics) {
      if (name.starts_with("absorption_")) value = std::numeric_limits<double>::quiet_NaN();
    }
    run.metrics["absorption_parents"] = 0;
  }
  const std::string text = findings(result);
  EXPECT_EQ(text.find("topk absorbs least"), std::string::npos) << text;
  EXPECT_EQ(count(text, "Not ranked: topk (no parent feature counts: "), 1u) << text;
  EXPECT_EQ(count(results_table(result), "not ranked: topk-l0-s0: absorption: no parent"), 1u);
}

TEST(Findings, HasWordsForOneMemberForNoneAndForFailures) {
  EXPECT_EQ(paragraph({{kBase, {.2}, {.8}, {}}}),
            "At L0 5.6, batch_topk has full absorption (micro) of 0.200 and explained variance of "
            "0.800.");
  ComparisonResult result;
  EXPECT_EQ(findings(result), "No run finished, so there is nothing to compare.");
  RunResult failed;
  failed.done = false;
  result.runs = {failed};
  EXPECT_EQ(findings(result),
            "No run finished, so there is nothing to compare. 1 of 1 run failed.");
}

TEST(Findings, LeavesOutOfTheRankingWhoHasNoRunsNear) {
  ComparisonResult result = example_comparison();
  for (RunResult& run : result.runs) {
    if (run.member == "atm (nested)") run.metrics["l0"] *= 10;
  }
  const std::string text = findings(result);
  EXPECT_EQ(text.rfind("At L0 5.6, matryoshka absorbs least", 0), 0u) << text;
  EXPECT_EQ(count(text, "Not ranked, for want of runs around this L0: atm (nested)."), 1u) << text;
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "sae/base/error.h"
#include "sae/results/results.h"
#include "support/example_comparison.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

/// One member per entry, its runs given as (seed, L0, EV).
struct Triple {
  std::int64_t seed;
  double l0, variance;
};

ComparisonResult make(const std::map<std::string, std::vector<Triple>>& members) {
  ComparisonResult result;
  for (const auto& [label, triples] : members) {
    result.members.push_back({label, label, false, ""});
    std::map<std::int64_t, int> level;  // the grid point: the how-manieth of its seed
    for (const auto& [seed, l0, variance] : triples) {
      RunResult run;
      run.member = label;
      run.point["model.k"] = Json(level[seed]++);
      run.name = label + "-" + run.point["model.k"].text() + "-" + std::to_string(seed);
      run.seed = seed;
      run.metrics = {{"l0", l0}, {"explained_variance", variance}};
      result.runs.push_back(run);
    }
  }
  return result;
}

double value_at(const ComparisonResult& result, double l0) {
  return metric_at(result, "a", "explained_variance", l0)->mean;
}

TEST(Results, InterpolatesPiecewiseLinearlyWhateverTheOrderOfRuns) {
  const auto result = make({{"a", {{0, 8, .9}, {0, 2, .3}, {0, 4, .5}}}});
  EXPECT_DOUBLE_EQ(value_at(result, 2), .3);
  EXPECT_DOUBLE_EQ(value_at(result, 3), .4);
  EXPECT_DOUBLE_EQ(value_at(result, 4), .5);
  EXPECT_DOUBLE_EQ(value_at(result, 5), .6);
  EXPECT_DOUBLE_EQ(value_at(result, 8), .9);
}

TEST(Results, TakesTheNearestEndOutsideARangeAndMarksIt) {
  const auto result = make({{"a", {{0, 2, .3}, {0, 4, .5}}}});
  EXPECT_DOUBLE_EQ(value_at(result, 1), .3);
  EXPECT_DOUBLE_EQ(value_at(result, 9), .5);
  const auto outside = [&](double l0) {
    return metric_at(result, "a", "explained_variance", l0)->outside;
  };
  EXPECT_TRUE(outside(1.9));
  EXPECT_FALSE(outside(1.97)) << "within 2 % of the end";
  EXPECT_FALSE(outside(3));
  EXPECT_FALSE(outside(4.07));
  EXPECT_TRUE(outside(4.1));
}

TEST(Results, TakesMeanAndSampleDeviationOverSeedsAfterInterpolatingEach) {
  // At 3: seed 0 gives .4, seed 1 gives .6, seed 2 gives .5.
  const auto result =
      make({{"a", {{0, 2, .3}, {0, 4, .5}, {1, 2.5, .55}, {1, 3.5, .65}, {2, 3, .5}}}});
  const auto value = metric_at(result, "a", "explained_variance", 3);
  EXPECT_DOUBLE_EQ(value->mean, .5);
  EXPECT_NEAR(value->sd, .1, 1e-12);
  EXPECT_EQ(value->seeds, 3);
  EXPECT_FALSE(value->outside);
  EXPECT_TRUE(metric_at(result, "a", "explained_variance", 2.2)->outside)
      << "one seed outside its range is enough";
}

TEST(Results, LeavesFailedRunsAndMissingNumbersOut) {
  auto result = make({{"a", {{0, 2, .3}, {1, 2, .9}, {2, 2, .5}}}});
  result.runs[1].done = false;
  result.runs[2].metrics["explained_variance"] = std::numeric_limits<double>::quiet_NaN();
  const auto value = metric_at(result, "a", "explained_variance", 2);
  EXPECT_DOUBLE_EQ(value->mean, .3);
  EXPECT_EQ(value->seeds, 1);
  EXPECT_EQ(value->sd, 0);
  EXPECT_FALSE(metric_at(result, "a", "mcc", 2));
  EXPECT_FALSE(metric_at(result, "b", "explained_variance", 2));
}

TEST(Results, LeavesOutOfAComparisonWhatIsNotRanked) {
  auto result = make({{"a", {{0, 2, .3}}}, {"b", {{0, 2, .4}}}});
  for (RunResult& run : result.runs) {
    run.metrics["mcc"] = .5;
    run.metrics["absorption.mean_full_absorption_score"] = 0;
    run.metrics["probing.sae_top_1_test_accuracy"] = .9;
    run.by_class["absorption.full"]["q"] = 0;
  }
  result.runs[0].unranked = {{"absorption", "nothing fires"}, {"truth", "nothing fires"}};
  const auto at_2 = [&](const char* member, const char* metric) {
    return metric_at(result, member, metric, 2).has_value();
  };
  EXPECT_FALSE(at_2("a", "mcc"));
  EXPECT_FALSE(at_2("a", "absorption.mean_full_absorption_score"));
  EXPECT_TRUE(class_at(result, "a", "absorption.full", "q", 2).empty());
  EXPECT_TRUE(at_2("a", "probing.sae_top_1_test_accuracy")) << "another suite";
  EXPECT_TRUE(at_2("a", "explained_variance")) << "core is true of any codes";
  EXPECT_TRUE(at_2("b", "mcc"));
  EXPECT_NE(results_table(result).find("\nnot ranked: a-0-0: absorption, truth: nothing fires\n"),
            std::string::npos)
      << results_table(result);
  const ComparisonResult read = comparison_from_json(to_json(result), "results.json");
  EXPECT_EQ(read.runs, result.runs);
  result.runs[1].unranked = result.runs[0].unranked;
  const auto measured = measured_metrics(result);
  EXPECT_EQ(std::count_if(measured.begin(), measured.end(),
                          [](const MetricInfo& metric) { return metric.name == "mcc"; }),
            0)
      << "a column without anything in it";
}

TEST(Results, ReadsTheVerdictOnAbsorptionFromItsMetricToo) {
  auto result = make({{"a", {{0, 2, .3}}}});
  result.runs[0].metrics["absorption.mean_full_absorption_score"] = 0;
  result.runs[0].metrics["absorption.ranked"] = 0;
  EXPECT_FALSE(metric_at(result, "a", "absorption.mean_full_absorption_score", 2));
}

TEST(Results, CallsADifferenceOneOnlyBeyondTwiceItsSpread) {
  const SeedStatistic a{.5, .03, 3, false};
  EXPECT_TRUE(beyond_spread(a, {.611, .04, 3, false})) << "spread .05";
  EXPECT_FALSE(beyond_spread(a, {.599, .04, 3, false}));
  EXPECT_TRUE(beyond_spread({.611, .04, 3, false}, a));
  EXPECT_FALSE(beyond_spread({.1, 0, 1, false}, {.9, 0, 1, false})) << "one seed has no spread";
}

TEST(Results, MatchesLevelsWhereMostMembersHaveRuns) {
  // Ranges [4, 8], [4.1, 8.2], [3.9, 7.8], [4, 8]: all cover [4.1, 7.8].
  const auto result = make({{"a", {{0, 4, 0}, {0, 5.6, 0}, {0, 8, 0}}},
                            {"b", {{0, 4.1, 0}, {0, 5.7, 0}, {0, 8.2, 0}}},
                            {"c", {{0, 3.9, 0}, {0, 5.5, 0}, {0, 7.8, 0}}},
                            {"d", {{0, 4, 0}, {0, 5.6, 0}, {0, 8, 0}}}});
  const auto levels = matched_levels(result);
  ASSERT_EQ(levels.size(), 3u);
  EXPECT_NEAR(levels[0], 4.1, 1e-9);
  EXPECT_NEAR(levels[1], 5.6, 1e-9);
  EXPECT_NEAR(levels[2], 7.8, 1e-9);
  for (const double level : levels) {
    for (const Member& member : result.members) {
      EXPECT_FALSE(metric_at(result, member.label, "l0", level)->outside);
    }
  }
}

TEST(Results, LetsOneMemberOfFourFallOutsideRatherThanMovingTheLevels) {
  const auto result = make({{"a", {{0, 4, 0}, {0, 8, 0}}},
                            {"b", {{0, 4, 0}, {0, 8, 0}}},
                            {"c", {{0, 4, 0}, {0, 8, 0}}},
                            {"far", {{0, 40, 0}, {0, 80, 0}}}});
  const auto levels = matched_levels(result);
  ASSERT_EQ(levels.size(), 2u);
  EXPECT_NEAR(levels[0], 4, 1e-9);
  EXPECT_NEAR(levels[1], 8, 1e-9);
  EXPECT_TRUE(metric_at(result, "far", "l0", 4)->outside);
}

TEST(Results, MatchesLevelsOfOddInputs) {
  EXPECT_TRUE(matched_levels({}).empty());
  EXPECT_TRUE(matched_levels(make({{"dead", {{0, 0, 0}}}})).empty());
  EXPECT_EQ(matched_levels(make({{"a", {{0, 32, 0}, {1, 32, 0}}}})), std::vector<double>{32});
  EXPECT_EQ(
      matched_levels(make({{"a", {{0, 2, 0}, {0, 4, 0}}}, {"b", {{0, 20, 0}, {0, 40, 0}}}})).size(),
      2u)
      << "members without a common range still get levels";
  auto many = make({{"a", {{0, 1, 0}, {0, 2, 0}, {0, 4, 0}, {0, 8, 0}, {0, 16, 0}, {0, 32, 0}}}});
  EXPECT_EQ(matched_levels(many), (std::vector<double>{1, 8, 32}));
  EXPECT_EQ(matched_levels(many, 2), (std::vector<double>{1, 32}));
}

TEST(Results, MatchesMembersOnTheWordsL0WhereAskedTo) {
  auto result = make({{"even", {{0, 10, .1}, {0, 20, .3}}}, {"dense", {{0, 10, .1}, {0, 20, .3}}}});
  for (RunResult& run : result.runs) {
    const double l0 = run.metrics["l0"] * (run.member == "dense" ? 3 : 1);
    run.metrics["absorption.l0"] = l0;
    run.metrics["absorption.mean_full_absorption_score"] = l0 / 100;
    run.by_class["absorption.full"] = {{"a", l0 / 100}, {"b", l0 / 50}};
  }
  const auto full = [&](const char* member, double l0, const char* axis) {
    return metric_at(result, member, metric::kWordsFull, l0, axis)->mean;
  };
  EXPECT_NEAR(full("dense", 15, metric::kL0), .45, 1e-12);
  EXPECT_NEAR(full("dense", 45, metric::kWordsL0), .45, 1e-12);
  EXPECT_TRUE(metric_at(result, "even", metric::kWordsFull, 45, metric::kWordsL0)->outside);
  EXPECT_NEAR(class_at(result, "dense", "absorption.full", "b", 45, metric::kWordsL0).at(0), .9,
              1e-12);
  EXPECT_TRUE(class_at(result, "even", "absorption.full", "b", 45, metric::kWordsL0).empty());
  for (RunResult& run : result.runs) run.metrics["absorption.l0"] += 1;
  EXPECT_EQ(matched_levels(make({{"a", {{0, 4, 0}}}}), 3, metric::kWordsL0), std::vector<double>{})
      << "not measured on words";
  std::erase_if(result.members, [](const Member& member) { return member.label == "even"; });
  EXPECT_EQ(matched_levels(result, 3, metric::kWordsL0), (std::vector<double>{31, 61}));
  EXPECT_EQ(matched_levels(result), (std::vector<double>{10, 20}));
  result.runs[0].unranked = {{"absorption", "too dense"}};
  for (RunResult& run : result.runs) run.unranked = {{"absorption", "too dense"}};
  EXPECT_TRUE(matched_levels(result, 3, metric::kWordsL0).empty());
}

std::string error_of(const std::string& text) {
  try {
    comparison_from_json(text, "results.json");
  } catch (const DataError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Results, RefusesMetricsOfAnEarlierVersionByTheirNewNames) {
  auto result = make({{"a", {{0, 2, .3}}}});
  result.runs[0].metrics["absorption_fraction"] = .1;
  EXPECT_EQ(error_of(to_json(result)),
            "results.json: runs[0]: 'absorption_fraction' is of an earlier version of sae: it is "
            "now absorption_fraction_micro and rests on other parent features; evaluate again: "
            "repeat sae compare with another --out");
}

TEST(Results, RoundTripsThroughJson) {
  const ComparisonResult result = example_comparison({.seeds = 2});
  EXPECT_EQ(comparison_from_json(to_json(result), "results.json"), result);
}

TEST(Results, RoundTripsWhatTheSuitesMeasured) {
  const ComparisonResult result = example_comparison({.words = true});
  ASSERT_FALSE(result.controls.empty());
  EXPECT_EQ(comparison_from_json(to_json(result), "results.json"), result);
}

TEST(Results, RoundTripsThePlacesOfMembersOnAxes) {
  ComparisonResult result = make({{"a", {{0, 2, .3}}}});
  result.settings = Json::object();
  EXPECT_EQ(to_json(result).find("\"axes\""), std::string::npos) << "none without axes";
  result.members[0].family = "a";
  result.members[0].axes = {{"model.k", Json(4)}, {"model.mask.importance", Json("product")}};
  const std::string text = to_json(result);
  EXPECT_EQ(comparison_from_json(text, "results.json"), result);
  const auto without = [&](const std::string& part) {
    std::string damaged = text;
    return damaged.replace(damaged.find(part), part.size(), "\"fam\"");
  };
  EXPECT_THROW(comparison_from_json(without("\"family\""), "results.json"), DataError);
  EXPECT_THROW(comparison_from_json(without("\"axes\""), "results.json"), DataError);
}

TEST(Results, MakesAMarkdownTable) {
  auto result = make({{"far", {{0, 40, .71}, {1, 42, .73}}},
                      {"near|er", {{0, 4, .51}, {1, 4, .53}}},
                      {"nearest", {{0, 4, .5}, {1, 4, .5}}},
                      {"next", {{0, 4, .5}}}});
  result.title = "Two";
  result.command = "sae compare two.json";
  result.versions = {{"sae", "0.1.0"}};
  for (RunResult& run : result.runs) run.wall_s = 2;
  EXPECT_EQ(
      to_markdown(result),
      "# Two\n\n"
      "    sae compare two.json\n\n"
      "7 runs, 2 seeds, 14 s of training; sae 0.1.0\n\n"
      "| L0 | member | explained variance |\n"
      "|---|---|---|\n"
      "| 4 | far | .720 ± .014 \\* |\n"
      "|  | nearest | .500 ± .000 |\n"
      "|  | near\\|er | .520 ± .014 |\n"
      "|  | next | .500 |\n\n"
      "Mean ± standard deviation over seeds, interpolated to the L0 of the block. \\* outside "
      "the member's own range of L0: its nearest value.\n");
  EXPECT_NE(to_markdown({}).find("No finished run"), std::string::npos);
}

TEST(Results, RoundTripsFailuresOddTextAndMissingNumbers) {
  ComparisonResult result;
  result.title = "\"quotes\", \n & <tags> – ünïcode";
  RunResult run;
  run.done = false;
  run.message = "loss is NaN";
  run.metrics["loss"] = std::numeric_limits<double>::quiet_NaN();
  result.runs.push_back(run);
  const ComparisonResult read = comparison_from_json(to_json(result), "results.json");
  EXPECT_EQ(read.title, result.title);
  EXPECT_FALSE(read.runs.at(0).done);
  EXPECT_TRUE(std::isnan(read.runs[0].metrics.at("loss")));
  result.title = "not UTF-8: \xff";
  EXPECT_NE(comparison_from_json(to_json(result), "results.json").title, "");
}

TEST(Results, RefusesJsonThatIsNotExactlyAComparison) {
  ComparisonResult small = make({{"a", {{0, 2, .3}}}});
  small.runs[0].firing = {{-2, -1}, {5}, 0};
  const std::string good = to_json(small);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return error_of(text.replace(at, from.size(), to));
  };
  EXPECT_EQ(error_of(good), "accepted");
  EXPECT_EQ(with("\"version\": 2", "\"version\": 1"),
            "results.json: expected format sae-comparison version 2, got sae-comparison version 1");
  EXPECT_EQ(with("\"by_class\":{}", "\"by_class\":{\"absorption.full\":3}"),
            "results.json: runs[0]: by_class: 'absorption.full': expected an object, got 3");
  EXPECT_EQ(with("\"title\"", "\"titel\""), "results.json: 'title' is missing");
  EXPECT_EQ(with("\"seed\":0", "\"seed\":0,\"sead\":1"),
            "results.json: runs[0]: unknown key 'sead'");
  EXPECT_EQ(with("\"seed\":0", "\"seed\":0,\"seed\":1"), "results.json: key 'seed' appears twice");
  EXPECT_EQ(with("\"seed\":0", "\"seed\":0.5"),
            "results.json: runs[0]: 'seed': expected an integer, got 0.5");
  EXPECT_EQ(with("\"done\"", "\"fine\""),
            "results.json: runs[0]: 'status': expected \"done\" or \"failed\", got \"fine\"");
  EXPECT_EQ(with("\"l0\":2.0", "\"l0\":\"2\""),
            "results.json: runs[0]: 'l0': expected a number or null, got \"2\"");
  EXPECT_EQ(with("\"counts\":[5]", "\"counts\":[5,6]"),
            "results.json: runs[0]: firing has 2 counts and 2 edges, expected one edge more");
  EXPECT_EQ(error_of(good.substr(0, good.size() / 2)).rfind("results.json: not JSON: ", 0), 0u);
  EXPECT_EQ(error_of("[]"), "results.json: expected an object, got array");
}

TEST(Results, WritesOneCsvRowARun) {
  ComparisonResult result = make({{"a, \"b\"", {{0, 2, .3}}}});
  result.runs[0].metrics["zeta"] = 1;
  result.runs[0].metrics["cosine"] = std::numeric_limits<double>::quiet_NaN();
  result.runs[0].wall_s = 1.5;
  EXPECT_EQ(to_csv(result),
            "name,member,model.k,seed,status,wall_s,l0,explained_variance,cosine,zeta,message\n"
            "\"a, \"\"b\"\"-0-0\",\"a, \"\"b\"\"\",0,0,done,1.5,2,0.3,,1,\n");
}

TEST(Results, ThinsAHistoryEvenlyAndKeepsItsEnds) {
  std::vector<MetricsRow> history;
  for (int i = 0; i <= 1000; ++i) history.push_back({i, {}});
  const auto rows = thinned(history, 11);
  ASSERT_EQ(rows.size(), 11u);
  for (int i = 0; i <= 10; ++i) EXPECT_EQ(rows[static_cast<std::size_t>(i)].step, 100 * i);
  EXPECT_EQ(thinned(history, 5000).size(), 1001u);
  EXPECT_TRUE(thinned({}, 10).empty());
  EXPECT_EQ(thinned({{3, {}}}, 10).size(), 1u);
}

TEST(Results, KeepsOfAHistoryWhatTheReportDraws) {
  const MetricsRow row{
      1, {{"l0", 4}, {"eval.l0", 5}, {"loss", 1}, {"mask.theta", 2}, {"never_fired", 0}}};
  EXPECT_EQ(thinned({row}).at(0).values,
            (MetricValues{{"l0", 4}, {"eval.l0", 5}, {"mask.theta", 2}}));
}

TEST(Results, PrintsATableForATerminal) {
  auto result = make({{"far", {{0, 40, .71}, {1, 42, .73}}},
                      {"near", {{0, 4, .51}, {1, 4, .53}}},
                      {"nearer", {{0, 4, .512}, {1, 4, .512}}},
                      {"nearest", {{0, 4, .5}, {1, 4, .5}}}});
  result.runs.push_back(result.runs[0]);
  result.runs.back().name = "far-1-1";
  result.runs.back().done = false;
  result.runs.back().message = "diverged";
  EXPECT_EQ(results_table(result),
            "member           EV\n"
            "\n"
            "L0 4\n"
            "far      .720±.014*\n"
            "near      .520±.014\n"
            "nearer    .512±.000\n"
            "nearest   .500±.000\n"
            "* outside the member's range of L0: its nearest value\n"
            "failed: far-1-1: diverged\n");
}

TEST(Results, KeepsTheTableWithinTheTerminal) {
  auto result = example_comparison();
  result.members[0].label = "a member with a name that is much too long for a table";
  for (RunResult& run : result.runs) {
    if (run.member == "standard") run.member = result.members[0].label;
  }
  for (const std::size_t columns : {40u, 60u, 80u, 200u}) {
    std::istringstream lines(results_table(result, columns));
    for (std::string line; std::getline(lines, line);) {
      const auto shown =
          std::count_if(line.begin(), line.end(), [](char byte) { return (byte & 0xc0) != 0x80; });
      EXPECT_LE(static_cast<std::size_t>(shown), columns) << line;
    }
  }
  EXPECT_EQ(results_table({}), "no finished run to compare\n");
}

}  // namespace
}  // namespace sae

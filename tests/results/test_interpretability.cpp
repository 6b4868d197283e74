#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "sae/report/report.h"
#include "sae/results/interpretability.h"

namespace sae {
namespace {

struct BinMean {
  const char* bin;
  double latents, mean;
};

/// A run at `l0` whose intruder accuracy is known bin by bin, with an error of `error` in each.
RunResult judged_run(const std::string& member, std::int64_t seed, const std::vector<BinMean>& bins,
                     double error = 0.01, double l0 = 8) {
  RunResult run;
  run.member = member;
  run.name = member + "-seed" + std::to_string(seed);
  run.seed = seed;
  run.metrics = {{metric::kL0, l0}, {metric::kEligible, 0}, {metric::kCoverage, 0.5}};
  for (const BinMean& one : bins) {
    run.metrics[metric::kEligible] += one.latents;
    run.by_class["interp.latents_of_bin"][one.bin] = one.latents;
    run.by_class["interp.intruder_of_bin"][one.bin] = one.mean;
    run.by_class["interp.intruder_error_of_bin"][one.bin] = error;
    run.by_class["interp.shuffled_intruder_of_bin"][one.bin] = 0.2;
    run.by_class["interp.shuffled_intruder_error_of_bin"][one.bin] = 0.01;
  }
  for (const char* group : {"1", "2"}) {
    run.by_class["interp.intruder_of_quantile"][group] = 0.5;
  }
  return run;
}

ComparisonResult comparison_of(std::vector<RunResult> runs) {
  ComparisonResult result;
  result.title = "Judged";
  result.settings = nlohmann::ordered_json::object();
  for (const RunResult& run : runs) {
    const Member member{run.member, "topk", false, ""};
    if (std::find(result.members.begin(), result.members.end(), member) == result.members.end()) {
      result.members.push_back(member);
    }
  }
  result.runs = std::move(runs);
  return result;
}

void add_controls_for_claims(ComparisonResult& result) {
  result.runs.push_back(judged_run("frozen", 0, {{"6", 50, 0.38}, {"8", 50, 0.5}}));
  result.members.push_back({"frozen", "topk", false, ""});
  result.members.back().frozen = true;
  RunResult random = judged_run("random", 0, {{"6", 80, 0.2}});
  result.controls.push_back(random);
}

InterpLevel only_level(const ComparisonResult& result) {
  const auto levels = interpretability_levels(result);
  EXPECT_EQ(levels.size(), 1U);
  return levels.at(0);
}

TEST(Interpretability, MembersWithEqualMeansInEveryBinAreEqualWhateverTheirCounts) {
  const InterpLevel level =
      only_level(comparison_of({judged_run("often", 0, {{"6", 10, 0.4}, {"8", 90, 0.8}}),
                                judged_run("rarely", 0, {{"6", 90, 0.4}, {"8", 10, 0.8}})}));
  ASSERT_EQ(level.members.size(), 2U);
  EXPECT_NEAR(level.members[0].means.at("intruder").mean, 0.6, 1e-12);
  EXPECT_NEAR(level.members[1].means.at("intruder").mean, 0.6, 1e-12);
  EXPECT_NEAR(level.members[0].means.at("intruder").error, std::sqrt(0.5) * 0.01, 1e-12);
  EXPECT_EQ(level.members[0].eligible, 100);
  EXPECT_EQ(level.dropped, 0);
  ASSERT_EQ(level.differences.size(), 1U);
  EXPECT_NEAR(level.differences[0].mean, 0, 1e-12);
  EXPECT_FALSE(level.differences[0].told_apart);
}

TEST(Interpretability, ABinThatAMemberLacksIsLeftOutAndSaidSo) {
  const InterpLevel level = only_level(
      comparison_of({judged_run("a", 0, {{"6", 40, 0.4}, {"7", 20, 1.0}, {"8", 40, 0.8}}),
                     judged_run("b", 0, {{"6", 60, 0.4}, {"8", 40, 0.8}})}));
  EXPECT_NEAR(level.dropped, 0.1, 1e-12);
  EXPECT_NEAR(level.members[0].means.at("intruder").mean, (100 * 0.4 + 80 * 0.8) / 180, 1e-12);
  EXPECT_NEAR(level.members[1].means.at("intruder").mean,
              level.members[0].means.at("intruder").mean, 1e-12);
}

TEST(Interpretability, AMetricThatNobodyHasDropsNothingOfTheOthers) {
  RunResult a = judged_run("a", 0, {{"6", 40, 0.4}}), b = judged_run("b", 0, {{"6", 60, 0.4}});
  for (RunResult* run : {&a, &b}) {
    run->by_class["interp.coherence_of_bin"] = run->by_class.at("interp.intruder_of_bin");
    run->by_class.erase("interp.intruder_of_bin");
  }
  const InterpLevel level = only_level(comparison_of({a, b}));
  EXPECT_EQ(level.dropped, 0);
  EXPECT_NEAR(level.members[0].means.at("coherence").mean, 0.4, 1e-12);
}

TEST(Interpretability, NothingIsClaimedWithoutTheControls) {
  ComparisonResult result = comparison_of({judged_run("good", 0, {{"6", 50, 0.7}, {"8", 50, 0.9}}),
                                           judged_run("bad", 0, {{"6", 50, 0.4}, {"8", 50, 0.5}})});
  InterpLevel level = only_level(result);
  EXPECT_TRUE(level.differences[0].told_apart);
  EXPECT_TRUE(level.claims.empty());
  ASSERT_EQ(level.missing.size(), 2U);
  EXPECT_NE(level.missing[0].find("random"), std::string::npos);
  EXPECT_NE(level.missing[1].find("frozen"), std::string::npos);
  EXPECT_NE(render_report(result).find("nothing may be claimed, for want of"), std::string::npos);

  add_controls_for_claims(result);
  level = only_level(result);
  EXPECT_TRUE(level.missing.empty());
  ASSERT_EQ(level.controls.size(), 2U);
  EXPECT_EQ(level.controls[0].name, "shuffled");
  EXPECT_NEAR(level.controls[0].means.at("intruder").mean, 0.2, 1e-12);
  EXPECT_TRUE(level.controls[1].means.at("intruder").partial) << "it lacks bin 8";
  ASSERT_EQ(level.claims.size(), 2U) << "frozen and bad are within their errors";
  EXPECT_TRUE(level.claims[0].starts_with("good above bad in intruder accuracy by 0.350 ("));
  const std::string page = render_report(result);
  EXPECT_NE(page.find("may be claimed: good above bad"), std::string::npos);
  EXPECT_NE(page.find("frozen (frozen)"), std::string::npos);
  EXPECT_NE(page.find("shuffled (control)"), std::string::npos);
}

TEST(Interpretability, AnIntervalThatIncludes0ClaimsNothing) {
  ComparisonResult result =
      comparison_of({judged_run("a", 0, {{"6", 50, 0.36}, {"8", 50, 0.51}}, 0.02),
                     judged_run("b", 0, {{"6", 50, 0.35}, {"8", 50, 0.5}}, 0.02)});
  add_controls_for_claims(result);
  const InterpLevel level = only_level(result);
  EXPECT_TRUE(level.missing.empty());
  EXPECT_TRUE(level.claims.empty());
  EXPECT_NE(render_report(result).find("every interval of a difference includes 0"),
            std::string::npos);
  // By hand: three pairs, z of 0.05 / 3 is 2.394; errors sqrt(.5) .02 of each.
  EXPECT_NEAR(level.differences[0].high - level.differences[0].mean,
              2.394 * std::sqrt(2.0) * std::sqrt(0.5) * 0.02, 1e-4);
}

TEST(Interpretability, SeedsThatDifferWidenTheInterval) {
  std::vector<RunResult> runs;
  for (const std::int64_t seed : {0, 1, 2}) {
    const double shift = 0.1 * static_cast<double>(seed);
    runs.push_back(judged_run("a", seed, {{"6", 50, 0.5 + shift}}));
    runs.push_back(judged_run("b", seed, {{"6", 50, 0.4 + shift}}));
  }
  const InterpLevel level = only_level(comparison_of(std::move(runs)));
  EXPECT_EQ(level.members[0].means.at("intruder").seeds, 3);
  EXPECT_NEAR(level.members[0].means.at("intruder").seeds_sd, 0.1, 1e-12);
  EXPECT_NEAR(level.differences[0].mean, 0.1, 1e-12);
  // Welch: t of 4 degrees is 2.776.
  EXPECT_NEAR(level.differences[0].high - level.differences[0].mean,
              2.776 * 0.1 * std::sqrt(2.0 / 3), 1e-3);
  EXPECT_FALSE(level.differences[0].told_apart);
}

TEST(Interpretability, TheReportSaysWhoJudged) {
  ComparisonResult result = comparison_of({judged_run("a", 0, {{"6", 50, 0.5}})});
  result.judge = nlohmann::ordered_json{{"name", "small-judge"}, {"is_model_of_store", false}};
  EXPECT_NE(render_report(result).find("Judged by small-judge, an embedding model; it is a proxy"),
            std::string::npos);
  result.judge = nlohmann::ordered_json{{"name", "small-judge"}, {"is_model_of_store", true}};
  EXPECT_NE(render_report(result).find("the model that the store is from"), std::string::npos);
  const std::string text = to_json(result);
  EXPECT_EQ(comparison_from_json(text, "results.json"), result);
  result.judge = nlohmann::ordered_json{{"name", "token"}};
  EXPECT_NE(render_report(result).find("Judged by `token`"), std::string::npos);
  result.judge = {};
  result.members[0].frozen = true;
  EXPECT_EQ(comparison_from_json(to_json(result), "results.json"), result);
  result.runs.clear();
  EXPECT_EQ(render_report(result).find("What latents stand for"), std::string::npos);
}

}  // namespace
}  // namespace sae

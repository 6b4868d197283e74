#include <algorithm>
#include <set>

#include "sae/base/error.h"
#include "sae/comparison/compare.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

/// Two members at two levels of L0 on the tiny world; four runs of 30 steps.
Json small_comparison() {
  Json base = tiny_config(Json{{"d_sae", 16}}, 30);
  base["train"]["checkpoint_every"] = 10;
  base["eval"]["every"] = 10;
  return {
      {"title", "Small"},
      {"levels", {1, 2}},
      {"base", base},
      {"members",
       {{{"name", "topk"},
         {"level", "model.k"},
         {"config", {{"model", {{"architecture", "topk"}}}}}},
        {{"name", "atm"},
         {"level", "model.target_l0"},
         {"config", {{"model", {{"architecture", "atm"}, {"mask", {{"warmup_steps", 5}}}}}}}}}}};
}

ComparisonPlan plan(const Json& comparison) {
  return plan_comparison(config_from_json(comparison, "c.json"));
}

std::vector<std::string> names(const ComparisonPlan& plan) {
  std::vector<std::string> all;
  for (const PlannedRun& run : plan.runs) all.push_back(run.name);
  return all;
}

std::string plan_error(const Json& comparison) {
  try {
    plan(comparison);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ComparisonPlan, RefusesRunsThatDifferInWhatIsForAWholeProcess) {
  Json comparison = small_comparison();
  comparison["base"]["device"] = "auto";
  comparison["members"][1]["config"]["precision"] = "tf32";
  EXPECT_NE(
      plan_error(comparison).find("precision: 'topk-1-seed0' has fp32, 'atm-1-seed0' has tf32"),
      std::string::npos)
      << plan_error(comparison);
  comparison["members"][1]["config"] = {{"model", comparison["members"][1]["config"]["model"]},
                                        {"kernels", "off"}};
  EXPECT_NE(plan_error(comparison).find("kernels: "), std::string::npos) << plan_error(comparison);
}

TEST(ComparisonPlan, IsMembersTimesAxesTimesLevelsTimesSeeds) {
  Json comparison = small_comparison();
  comparison["seeds"] = {3, 4};
  comparison["axes"] = {{"train.lr", {1e-3, 2e-3}}};
  const ComparisonPlan expanded = plan(comparison);
  EXPECT_EQ(expanded.runs.size(), 2U * 2 * 2 * 2);
  std::vector<std::string> labels;
  for (const Member& member : expanded.members) labels.push_back(member.label);
  EXPECT_EQ(labels, (std::vector<std::string>{"topk lr=0.001", "topk lr=0.002", "atm lr=0.001",
                                              "atm lr=0.002"}));
  const PlannedRun& first = expanded.runs.front();
  EXPECT_EQ(first.name, "topk-0.001-1-seed3");
  EXPECT_EQ(first.point,
            (std::map<std::string, SharedJson>{{"train.lr", Json(0.001)}, {"model.k", Json(1.0)}}));
  EXPECT_EQ(first.options.basics.seed, 3);
  EXPECT_EQ(resolve_run(first.options)["train"]["lr"], 1e-3);
  const std::vector<std::string> all = names(expanded);
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), all.size());
}

TEST(ComparisonPlan, AMembersOwnLevelsReplaceTheComparisons) {
  Json comparison = small_comparison();
  comparison["members"][0]["levels"] = {3, 4, 5};
  EXPECT_EQ(names(plan(comparison)),
            (std::vector<std::string>{"topk-3-seed0", "topk-4-seed0", "topk-5-seed0", "atm-1-seed0",
                                      "atm-2-seed0"}));
}

TEST(ComparisonPlan, FindsTheCounterpartOfAMaskedMember) {
  Json comparison = small_comparison();
  comparison["members"].push_back({{"name", "plain"},
                                   {"level", "model.target_l0"},
                                   {"config", {{"model", {{"architecture", "standard"}}}}}});
  const ComparisonPlan expanded = plan(comparison);
  EXPECT_EQ(expanded.members[0].base, "");
  EXPECT_TRUE(expanded.members[1].masked);
  EXPECT_EQ(expanded.members[1].base, "plain");
}

TEST(ComparisonPlan, SaysWhatIsWrong) {
  const auto edited = [](const std::function<void(Json&)>& edit) {
    Json comparison = small_comparison();
    edit(comparison);
    return plan_error(comparison);
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {edited([](Json& c) { c["members"][1]["name"] = "topk"; }), "a second time"},
      {edited([](Json& c) { c["members"] = Json::array(); }), "expected a list of members"},
      {edited([](Json& c) { c.erase("base"); }), "base: missing"},
      {edited([](Json& c) { c["seeds"] = Json::array(); }), "seeds: got an empty list"},
      {edited([](Json& c) {
         c["seeds"] = {1, 1};
       }),
       "seeds.1: got 1 a second time"},
      {edited([](Json& c) {
         c["members"][0]["name"] = "a b";
         c["members"][1] = c["members"][0];
         c["members"][1]["name"] = "a-b";
       }),
       "two runs would be called"},
      {edited([](Json& c) {
         c["axes"] = {{"train.lrr", {1}}};
       }),
       "did you mean 'lr'"},
      {edited([](Json& c) {
         c["axes"] = {{"train.lr", Json::array()}};
       }),
       "expected a list"},
      {edited([](Json& c) { c["members"][0]["levle"] = "model.k"; }), "did you mean 'level'"},
      {edited([](Json& c) {
         c["members"][0].erase("level");
         c["members"][0]["levels"] = {1};
         c["members"][0]["config"]["model"]["k"] = 1;
       }),
       "members.0.levels: got levels without a \"level\""},
      {edited([](Json& c) { c["levels"] = {0}; }), "levels.0: got 0, expected > 0"},
  };
  for (const auto& [message, part] : cases) {
    EXPECT_NE(message.find(part), std::string::npos) << message << "\nexpected " << part;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

class Comparison : public ::testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  CompareOutcome run(const std::string& name, const Json& comparison, std::int64_t jobs = 2,
                     const CompareHooks& hooks = {}) {
    ComparisonPlan planned = plan(comparison);
    planned.basics.jobs = jobs;
    return compare(planned, path(name), "sae compare c.json", hooks);
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(Comparison, DoesNotDependOnJobsAndEqualsSingleRuns) {
  const Json comparison = small_comparison();
  const CompareOutcome one = run("one", comparison, 1);
  const CompareOutcome two = run("two", comparison, 2);
  ASSERT_TRUE(one.finished && two.finished);
  for (const PlannedRun& planned : plan(comparison).runs) {
    SCOPED_TRACE(planned.name);
    expect_same_run(path("one") / "runs" / planned.name, path("two") / "runs" / planned.name);
    train(planned.options, path("single") / planned.name, false);
    expect_same_run(path("one") / "runs" / planned.name, path("single") / planned.name);
  }
}

TEST_F(Comparison, WritesResultsThatCanBeRead) {
  const CompareOutcome outcome = run("c", small_comparison());
  const std::string place = (path("c") / "results.json").string();
  const ComparisonResult read = comparison_from_json(read_file(place), place);
  EXPECT_EQ(read.title, "Small");
  EXPECT_EQ(read.command, "sae compare c.json");
  ASSERT_EQ(read.runs.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(read.runs[i].done);
    EXPECT_EQ(read.runs[i].metrics.at("mcc"), outcome.result.runs[i].metrics.at("mcc"));
    EXPECT_FALSE(read.runs[i].history.empty());
    EXPECT_FALSE(read.runs[i].firing.counts.empty());
  }
  const std::string csv = read_file(path("c") / "results.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 5) << "a head and a row for each run";
  EXPECT_NE(read_file(path("c") / "results.md").find("| topk | "), std::string::npos);
  const std::string report = read_file(path("c") / "report.html");
  EXPECT_EQ(report.find("<!DOCTYPE html>"), 0U);
  EXPECT_NE(report.find("</html>"), std::string::npos);
  EXPECT_EQ(report.find("http-equiv=\"refresh\""), std::string::npos);
}

TEST_F(Comparison, InterruptedAndContinuedEqualsUninterrupted) {
  Json comparison = small_comparison();
  comparison["base"]["train"]["steps"] = 150;  // chunks are of 64 steps
  comparison["base"]["train"]["checkpoint_every"] = 0;
  run("whole", comparison);
  int chunks = 0;
  std::int64_t done = 0;
  const CompareHooks stop_soon = {.on_progress =
                                      [&](std::int64_t steps, std::int64_t total, std::int64_t) {
                                        EXPECT_EQ(total, 4 * 150);
                                        done = steps;
                                      },
                                  .should_stop = [&] { return ++chunks == 1; }};
  EXPECT_FALSE(run("parts", comparison, 2, stop_soon).finished);
  EXPECT_EQ(done, 4 * 64);
  EXPECT_FALSE(fs::exists(path("parts") / "results.json"));
  ASSERT_TRUE(run("parts", comparison, 1).finished);
  for (const PlannedRun& planned : plan(comparison).runs) {
    const fs::path a = path("whole") / "runs" / planned.name;
    const fs::path b = path("parts") / "runs" / planned.name;
    EXPECT_EQ(logged(a), logged(b));
    expect_same_file(a / "sae" / "sae.safetensors", b / "sae" / "sae.safetensors");
    EXPECT_EQ(parsed(a / "summary.json")["metrics"], parsed(b / "summary.json")["metrics"]);
  }
}

TEST_F(Comparison, ADivergingMemberIsRecordedAndTheOthersFinish) {
  Json comparison = small_comparison();
  comparison["base"]["train"]["steps"] = 100;
  comparison["levels"] = {1};
  comparison["members"][1]["config"]["train"] = {{"lr", 1e4}, {"lr_warmup_steps", 0}};
  const CompareOutcome outcome = run("c", comparison);
  ASSERT_TRUE(outcome.finished);
  ASSERT_EQ(outcome.result.runs.size(), 2U);
  EXPECT_TRUE(outcome.result.runs[0].done);
  EXPECT_FALSE(outcome.result.runs[1].done);
  EXPECT_EQ(outcome.result.runs[1].message.find("step "), 0U) << outcome.result.runs[1].message;
  EXPECT_TRUE(fs::exists(path("c") / "report.html"));
  EXPECT_FALSE(fs::exists(path("c") / "runs" / "atm-1-seed0" / "summary.json"));
  std::int64_t chunks = 0;
  const CompareHooks count = {.on_progress = [&](auto, auto, auto) { ++chunks; }};
  const CompareOutcome again = run("c", comparison, 2, count);
  EXPECT_EQ(chunks, 0) << "what diverged would diverge again: it is not trained a second time";
  EXPECT_EQ(again.result.runs[1].message, outcome.result.runs[1].message);
}

TEST_F(Comparison, RefusesTheFolderOfAnother) {
  Json comparison = small_comparison();
  comparison["base"]["train"].update(Json{{"steps", 2}, {"lr_warmup_steps", 1}});
  run("c", comparison);
  Json computed_elsewhere = comparison;
  computed_elsewhere["jobs"] = 1;
  computed_elsewhere["base"]["threads"] = 2;
  EXPECT_TRUE(run("c", computed_elsewhere).finished);
  Json other = comparison;
  other["base"]["train"]["steps"] = 3;
  EXPECT_THROW(run("c", other), ConfigError);
  fs::create_directories(path("mine"));
  write_text(path("mine") / "notes.txt", "mine");
  EXPECT_THROW(run("mine", comparison), ConfigError);
  EXPECT_EQ(read_file(path("mine") / "notes.txt"), "mine");
  fs::create_directories(path("theirs") / "runs" / "topk-1-seed0");
  write_text(path("theirs") / "runs" / "topk-1-seed0" / "notes.txt", "theirs");
  EXPECT_THROW(run("theirs", comparison), ConfigError);
}

TEST_F(Comparison, GrowsByMembersLevelsAndSeedsWithoutTrainingARunTwice) {
  Json small = small_comparison();
  small["base"]["train"].update(Json{{"steps", 2}, {"lr_warmup_steps", 1}});
  small["members"].erase(1);
  ASSERT_TRUE(run("c", small).finished);
  const fs::path first = path("c") / "runs" / "topk-1-seed0" / "summary.json";
  const auto written = fs::last_write_time(first);

  Json grown = small_comparison();
  grown["base"] = small["base"];
  grown["title"] = "Grown";
  grown["levels"] = {1, 2, 3};
  grown["seeds"] = {0, 4};
  const CompareOutcome outcome = run("c", grown);
  EXPECT_EQ(outcome.result.runs.size(), 12U);
  EXPECT_EQ(fs::last_write_time(first), written);
  EXPECT_EQ(run("c", small).result.runs.size(), 2U) << "runs that are not asked for stay there";

  Json changed = grown;
  changed["members"][1]["config"]["model"]["mask"]["warmup_steps"] = 6;
  try {
    run("c", changed);
    ADD_FAILURE() << "not refused";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what())
                  .find("is a run of another configuration: model.mask.warmup_steps"),
              std::string::npos)
        << error.what();
  }
  changed["members"][1]["name"] = "atm 6";
  EXPECT_EQ(run("c", changed).result.runs.size(), 12U);
}

TEST_F(Comparison, TakesOverAFolderWhoseMakerWasKilledAtOnce) {
  Json comparison = small_comparison();
  comparison["base"]["train"].update(Json{{"steps", 2}, {"lr_warmup_steps", 1}});
  fs::create_directories(path("c"));
  write_text(path("c") / ".tmp-comparison.json-999999", "{");
  EXPECT_TRUE(run("c", comparison).finished);
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>

#include <filesystem>

#include "sae/base/error.h"
#include "sae/comparison/compare.h"
#include "sae/tools/evaluate.h"
#include "support/labelled_testing.h"
#include "support/run_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class EvaluatedComparison : public testing::Test {
 protected:
  void SetUp() override {
    write_labelled(path("words.safetensors"), axis_classes());
    fs::create_directory(path("tasks"));
    write_labelled(path("tasks") / "axes.safetensors", axis_classes());
    Json base = tiny_config(Json{{"d_sae", 24}}, 40);
    base["eval"] = {{"tokens", 400}};
    settings = {{"title", "Evaluated"},
                {"levels", {1, 2}},
                {"seeds", {0, 1}},
                {"base", base},
                {"members",
                 {{{"name", "topk"},
                   {"level", "model.k"},
                   {"config", {{"model", {{"architecture", "topk"}}}}}},
                  {{"name", "batch"},
                   {"level", "model.k"},
                   {"config", {{"model", {{"architecture", "batch_topk"}}}}}}}},
                {"evaluate",
                 {{"words", path("words.safetensors").string()},
                  {"tasks", path("tasks").string()},
                  {"absorption",
                   {{"min_feats_for_eval", 2}, {"l1_batch_size", 16}, {"probe_batch_size", 8}}},
                  {"probing", {{"dense", false}}}}}};
  }

  fs::path path(const std::string& name) const { return folder_.path() / name; }

  CompareOutcome run(std::int64_t jobs = 2, const CompareHooks& hooks = {}) {
    ComparisonPlan plan = plan_comparison(config_from_json(settings, "c.json"));
    plan.basics.jobs = jobs;
    return compare(plan, path("c"), "sae compare c.json", hooks);
  }

  std::string complaint() {
    try {
      run();
    } catch (const ConfigError& error) {
      return error.what();
    } catch (const DataError& error) {
      return std::string("data: ") + error.what();
    }
    return "none";
  }

  /// Evaluations and chunks of training that a run of the comparison makes.
  std::pair<int, int> work() {
    int evaluations = 0, chunks = 0;
    std::vector<std::string> before, after;
    const auto texts = [&] {
      std::vector<std::string> all;
      for (const auto& entry : fs::recursive_directory_iterator(path("c"))) {
        if (entry.path().filename() == "evaluation.json") {
          all.push_back(std::to_string(entry.last_write_time().time_since_epoch().count()));
        }
      }
      return all;
    };
    before = texts();
    run(2, {.on_progress = [&](auto, auto, auto) { ++chunks; }});
    after = texts();
    for (const std::string& time : after) {
      evaluations += std::count(before.begin(), before.end(), time) == 0 ? 1 : 0;
    }
    return {evaluations, chunks};
  }

  Json settings;

 private:
  TemporaryFolder folder_;
};

TEST_F(EvaluatedComparison, GivesTheNumbersOfSaeEval) {
  const CompareOutcome outcome = run();
  ASSERT_TRUE(outcome.finished);
  ASSERT_EQ(outcome.result.runs.size(), 8U);
  const RunResult& last = outcome.result.runs.back();
  EvaluateArguments alone;
  alone.path = (path("c") / "runs" / last.name).string();
  alone.data = {path("words.safetensors").string(), path("tasks").string()};
  alone.suites = {"core", "absorption", "probing"};
  alone.device = test_device();
  alone.threads = 1;
  alone.sets = {"absorption.min_feats_for_eval=2", "absorption.l1_batch_size=16",
                "absorption.probe_batch_size=8", "probing.dense=false"};
  const auto subjects = evaluate_suites(alone);
  ASSERT_EQ(subjects.size(), 1U);
  for (const SuiteOutcome& suite : subjects[0].suites) {
    const std::string prefix = suite.suite == "core" ? "" : suite.suite + ".";
    for (const auto& [name, value] : suite.mean) {
      SCOPED_TRACE(prefix + name);
      ASSERT_TRUE(last.metrics.contains(prefix + name));
      if (std::isnan(value)) continue;
      EXPECT_EQ(last.metrics.at(prefix + name), value);
    }
    for (const auto& [metric, classes] : suite.by_class) {
      EXPECT_EQ(last.by_class.at(prefix + metric), classes);
    }
  }
  EXPECT_EQ(last.by_class.at("probing.sae_top_1_test_accuracy").size(), 3U);
  const Json record = parsed(path("c") / "runs" / last.name / "evaluation.json");
  EXPECT_TRUE(record.contains("core") && record.contains("absorption"));
}

TEST_F(EvaluatedComparison, DoesNotDependOnJobs) {
  const std::string one = to_json(run(1).result);
  fs::rename(path("c"), path("first"));
  ComparisonResult two = run(3).result;
  ComparisonResult first = comparison_from_json(one, "first");
  for (ComparisonResult* result : {&two, &first}) {
    for (RunResult& each : result->runs) each.wall_s = 0, each.history.clear();
  }
  EXPECT_EQ(to_json(two), to_json(first));
}

TEST_F(EvaluatedComparison, EvaluatesOnceAndAgainOnlyWhatIsAskedDifferently) {
  run();
  EXPECT_EQ(work(), std::pair(0, 0));
  settings["evaluate"]["absorption"]["seed"] = 5;
  EXPECT_EQ(work(), std::pair(8, 0)) << "nothing is trained again";
  EXPECT_EQ(parsed(path("c") / "comparison.json")["evaluate"]["absorption"]["seed"], 5);
  LabelledActivations changed = axis_classes();
  changed.test.x = changed.test.x * 1.5;
  write_labelled(path("words.safetensors"), changed);
  EXPECT_EQ(work(), std::pair(8, 0)) << "other words under the same name";
}

TEST_F(EvaluatedComparison, EvaluatesAgainWhatIsDamaged) {
  run();
  const fs::path record = path("c") / "runs" / "topk-1-seed0" / "evaluation.json";
  const std::string whole = read_file(record);
  write_text(record, whole.substr(0, whole.size() / 2));
  EXPECT_EQ(work(), std::pair(1, 0));
  EXPECT_EQ(read_file(record), whole);
}

TEST_F(EvaluatedComparison, RefusesRunsThatAnEarlierVersionEvaluated) {
  run();
  const fs::path one = path("c") / "runs" / "topk-1-seed0";
  Json summary = parsed(one / "summary.json");
  summary["metrics"]["miss_on"] = 0.1;
  write_text(one / "summary.json", summary.dump());
  EXPECT_EQ(complaint(), "data: " + one.string() +
                             ": was evaluated by an earlier version of sae, whose miss_on is now "
                             "miss_on_macro and rests on other parent features; remove the folder "
                             "to train and evaluate it anew, or choose another --out");
}

TEST_F(EvaluatedComparison, AnInterruptedOneGoesOn) {
  int evaluated = 0;
  const CompareHooks stop_soon = {.on_evaluation =
                                      [&](std::int64_t, std::int64_t total) {
                                        EXPECT_EQ(total, 8);
                                        ++evaluated;
                                      },
                                  .should_stop = [&] { return evaluated > 2; }};
  EXPECT_FALSE(run(1, stop_soon).finished);
  EXPECT_EQ(evaluated, 3);
  EXPECT_FALSE(fs::exists(path("c") / "results.json"));
  EXPECT_EQ(work(), std::pair(5, 0));
}

TEST_F(EvaluatedComparison, ControlsMatchEachLevelOfOneMemberAndAreKeptApart) {
  settings["evaluate"]["controls"] = {"identity", "random", "permuted"};
  settings["evaluate"]["controls_of"] = "topk";
  const ComparisonResult result = run().result;
  ASSERT_EQ(result.controls.size(), 1U + 2 + 2);
  EXPECT_EQ(result.controls[0].member, "identity");
  EXPECT_EQ(result.controls[0].metrics.at("explained_variance"), 1);
  EXPECT_GT(result.controls[0].metrics.at("l0"), 10) << "entries of either sign";
  EXPECT_EQ(result.controls[1].name, "random-topk-1-seed0");
  EXPECT_EQ(result.controls[4].name, "permuted-topk-2-seed0");
  EXPECT_EQ(result.controls[4].metrics.at("l0"), result.runs[2].metrics.at("l0"))
      << "permuted keeps the codes";
  EXPECT_TRUE(result.controls[3].metrics.contains("absorption.mean_full_absorption_score"));
  EXPECT_EQ(result.runs.size(), 8U);
  const std::string place = (path("c") / "results.json").string();
  EXPECT_EQ(comparison_from_json(read_file(place), place).controls.size(), 5U);
}

TEST_F(EvaluatedComparison, AMemberThatNeverFiresIsMeasuredAndRankedNowhere) {
  settings["seeds"] = {0};
  settings["levels"] = {4};
  settings["base"]["train"]["steps"] = 200;  // enough for the others to learn something
  settings["members"].push_back(
      {{"name", "silent"},
       {"level", "model.sparsity"},
       {"config",
        {{"model", {{"architecture", "standard"}, {"sparsity", 1}}}, {"train", {{"lr", 1}}}}},
       {"levels", {1e4}}});
  const ComparisonResult result = run().result;
  const RunResult& silent = result.runs.back();
  ASSERT_EQ(silent.member, "silent");
  ASSERT_TRUE(silent.done) << silent.message;
  ASSERT_EQ(silent.metrics.at("never_fired"), 1);
  for (const char* suite : {"absorption", "probing", "truth"}) {
    EXPECT_TRUE(silent.unranked.contains(suite)) << suite;
  }
  EXPECT_FALSE(metric_at(result, "silent", "probing.sae_top_1_test_accuracy", 1));
  EXPECT_TRUE(result.runs.front().unranked.empty()) << result.runs.front().unranked.begin()->second;
  const std::string place = (path("c") / "results.json").string();
  EXPECT_EQ(comparison_from_json(read_file(place), place).runs.back().unranked, silent.unranked);
  EXPECT_EQ(run().result.runs.back().unranked, silent.unranked) << "as it is recorded";
}

TEST_F(EvaluatedComparison, FindsUnusableWordsBeforeItTrains) {
  const Json good = settings;
  settings["evaluate"]["absorption"] = Json::object();
  EXPECT_EQ(complaint().find("data: " + path("words.safetensors").string() + ": 3 of 3 classes"),
            0U)
      << complaint();
  settings = good;
  LabelledActivations narrow = axis_classes();
  narrow.train.x = narrow.train.x.slice(1, 0, 8).contiguous();
  narrow.test.x = narrow.test.x.slice(1, 0, 8).contiguous();
  write_labelled(path("words.safetensors"), narrow);
  EXPECT_NE(complaint().find("width 8, the autoencoder takes 20"), std::string::npos);
  settings["evaluate"].erase("words");
  write_labelled(path("tasks") / "broken.safetensors", narrow);
  EXPECT_NE(complaint().find("broken.safetensors: activations have width 8"), std::string::npos);
  settings["evaluate"]["words"] = path("absent.safetensors").string();
  EXPECT_NE(complaint().find("absent.safetensors"), std::string::npos);
  EXPECT_FALSE(fs::exists(path("c") / "runs"));
}

TEST_F(EvaluatedComparison, SaysWhatIsWrongInItsSettings) {
  settings["evaluate"]["controls_of"] = "top";
  EXPECT_EQ(complaint(),
            "c.json: evaluate.controls_of: got \"top\", expected one of topk, batch; did "
            "you mean 'topk'?");
  settings["evaluate"].erase("controls_of");
  settings["evaluate"]["controls"] = {"pcs"};
  EXPECT_NE(complaint().find("did you mean 'pca'"), std::string::npos) << complaint();
  settings["evaluate"]["word"] = "x";
  EXPECT_NE(complaint().find("evaluate"), std::string::npos);
}

}  // namespace
}  // namespace sae

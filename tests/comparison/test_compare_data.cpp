// A comparison and its data: what is looked at before the first step, and that runs on different
// data never stand in one table.
#include <algorithm>
#include <limits>

#include "sae/base/error.h"
#include "sae/comparison/compare.h"
#include "support/labelled_testing.h"
#include "support/other_process.h"
#include "support/run_testing.h"
#include "support/store_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class ComparisonOnData : public ::testing::Test {
 protected:
  void SetUp() override {
    write_normal_store(path("acts"), 120, 1, 10, /*width=*/20);
    Json base = tiny_config(Json{{"d_sae", 16}, {"architecture", "topk"}}, 20);
    base["data"] = {{"kind", "store"}, {"path", path("acts").string()}, {"held_out", 0.2}};
    base["eval"] = {{"tokens", 30}};
    settings = {{"levels", {1, 2}},
                {"base", base},
                {"members", {{{"name", "topk"}, {"level", "model.k"}}}}};
  }

  fs::path path(const std::string& name) const { return folder_.path() / name; }
  fs::path run(const std::string& name) const { return path("c") / "runs" / name; }

  CompareOutcome compare_it(const CompareHooks& hooks = {}) {
    ComparisonPlan plan = plan_comparison(config_from_json(settings, "c.json"));
    plan.basics.jobs = 1;
    notices.clear();
    CompareHooks all = hooks;
    all.on_notice = [&](const Notice& notice) { notices.push_back(notice.text); };
    return compare(plan, path("c"), "sae compare c.json", all);
  }

  template <class Error = DataError>
  std::string refusal() {
    try {
      compare_it();
    } catch (const Error& error) {
      return error.what();
    }
    return "not refused";
  }

  /// What a user could have lost: whether any run was begun.
  bool trained_nothing() const { return !fs::exists(path("c") / "runs"); }

  Json settings;
  std::vector<std::string> notices;

 private:
  TemporaryFolder folder_;
};

TEST_F(ComparisonOnData, RunsOfBeforeAreNotMixedWithRunsOnOtherData) {
  ASSERT_TRUE(compare_it().finished);
  const std::string results = read_file(path("c") / "results.json");
  fs::remove_all(run("topk-2-seed0"));  // as if it had not been reached yet
  write_normal_store(path("acts"), 90, 2, 10, 20);
  const std::string message = refusal();
  EXPECT_EQ(message.find(path("c").string() + ": runs on different data cannot be compared: " +
                         path("acts").string() + " was 120 tokens of width 20, test (sha256:"),
            0U)
      << message;
  EXPECT_NE(
      message.find("of before are topk-1-seed0: put those data back, remove these folders in " +
                   (path("c") / "runs").string()),
      std::string::npos)
      << message;
  EXPECT_EQ(read_file(path("c") / "results.json"), results);
  EXPECT_FALSE(fs::exists(run("topk-2-seed0"))) << "refused before the first step";
  fs::remove_all(run("topk-1-seed0"));
  EXPECT_TRUE(compare_it().finished) << "both on the new data";
}

TEST_F(ComparisonOnData, AnInterruptedOneDoesNotGoOnWithOtherData) {
  settings["base"]["train"]["steps"] = 100;
  EXPECT_FALSE(compare_it({.should_stop = [] { return true; }}).finished);
  ASSERT_TRUE(fs::exists(run("topk-1-seed0") / "data.json"));
  write_normal_store(path("acts"), 90, 2, 10, 20);
  EXPECT_NE(refusal().find("topk-1-seed0, topk-2-seed0: put those data back"), std::string::npos);
}

TEST_F(ComparisonOnData, FinishedRunsOfOneStateNeedNoDataToBeShownAgain) {
  ASSERT_TRUE(compare_it().finished);
  fs::remove_all(path("acts"));
  EXPECT_TRUE(compare_it().finished);
}

TEST_F(ComparisonOnData, KeptRunsThatDifferAmongEachOtherAreRefused) {
  ASSERT_TRUE(compare_it().finished);
  Json data = parsed(run("topk-2-seed0") / "data.json");
  data["train"]["digest"] = "sha256:feed";
  write_text(run("topk-2-seed0") / "data.json", data.dump());
  fs::remove_all(path("acts"));
  EXPECT_NE(refusal().find("of before are topk-2-seed0"), std::string::npos);
}

TEST_F(ComparisonOnData, WorldsThatDifferByPlanAreNoDifferentStatesOfOne) {
  settings["base"]["data"] = {{"kind", "synthetic"}, {"preset", "tiny"}};
  settings["axes"] = {{"data.bias_norm", {0, 3}}};
  settings["levels"] = {1};
  EXPECT_TRUE(compare_it().finished);
  EXPECT_TRUE(compare_it().finished);
}

TEST_F(ComparisonOnData, RunsThatDoNotSayTheirDataAreNamed) {
  ASSERT_TRUE(compare_it().finished);
  fs::remove(run("topk-2-seed0") / "data.json");
  EXPECT_TRUE(compare_it().finished);
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_NE(notices[0].find("is not known of topk-2-seed0; they are taken to be those of now"),
            std::string::npos)
      << notices[0];
}

TEST_F(ComparisonOnData, EvaluationsAreOfTheDataOfTheirRuns) {
  ASSERT_TRUE(compare_it().finished);
  write_normal_store(path("acts"), 90, 2, 10, 20);
  EXPECT_TRUE(compare_it().finished) << "nothing is trained or evaluated any more";
  settings["evaluate"] = Json::object();
  EXPECT_NE(refusal().find("topk-1-seed0, topk-2-seed0: put those data back"), std::string::npos);
  EXPECT_FALSE(fs::exists(run("topk-1-seed0") / "evaluation.json"));
  write_normal_store(path("acts"), 120, 1, 10, 20);
  EXPECT_TRUE(compare_it().finished);
  const Json evaluation = parsed(run("topk-1-seed0") / "evaluation.json");
  EXPECT_EQ(evaluation["data"]["held_out"], parsed(run("topk-1-seed0") / "data.json")["held_out"]);
}

TEST_F(ComparisonOnData, ARunThatWasTrainedOnByItselfIsNotTakenForThePlannedOne) {
  ASSERT_TRUE(compare_it().finished);
  Json config = parsed(run("topk-1-seed0") / "config.json");
  config["train"]["steps"] = 40;
  train(tiny_run(config), run("topk-1-seed0"), /*resume=*/true);
  EXPECT_NE(refusal<ConfigError>().find("topk-1-seed0: is a run of 40 steps, got 20"),
            std::string::npos);
}

TEST_F(ComparisonOnData, WhatAnyRunWouldFailForAtItsEndIsFoundBeforeTheFirst) {
  write_normal_store(path("single"), 60, 1, 60, 20);
  at::Tensor bad = normal({40, 20}, 2).to(at::kFloat);
  bad[3][0] = std::numeric_limits<float>::quiet_NaN();
  write_safetensors(path("bad.safetensors"), {{"x", bad}});
  const Json good = settings;
  const auto second_on = [&](const Json& data) {
    settings = good;
    settings["members"].push_back(
        {{"name", "second"}, {"level", "model.k"}, {"config", {{"data", data}}}});
    return refusal();
  };
  EXPECT_NE(second_on({{"path", path("single").string()}}).find("got one context"),
            std::string::npos);
  EXPECT_NE(
      second_on({{"held_out_path", path("bad.safetensors").string()}}).find("row 3 has a NaN"),
      std::string::npos);
  EXPECT_NE(second_on({{"held_out_path", path("bad.safetensors").string()}, {"verify", false}})
                .find("row 3 has a NaN"),
            std::string::npos);
  settings = good;
  settings["members"].push_back(
      {{"name", "second"}, {"config", {{"model", {{"d_in", 21}, {"k", 1}}}}}});
  EXPECT_NE(refusal<ConfigError>().find("the data has width 20"), std::string::npos);
  settings = good;
  settings["members"].push_back(
      {{"name", "second"}, {"config", {{"model", {{"d_sae", std::int64_t{1} << 50}, {"k", 1}}}}}});
  EXPECT_NE(refusal<ConfigError>(), "not refused") << "too large for memory and disk";
  EXPECT_TRUE(trained_nothing());
}

TEST_F(ComparisonOnData, EveryTaskIsReadBeforeTheFirstStep) {
  fs::create_directory(path("tasks"));
  write_labelled(path("tasks") / "a.safetensors", axis_classes());
  LabelledActivations narrow = axis_classes();
  narrow.train.x = narrow.train.x.slice(1, 0, 8).contiguous();
  narrow.test.x = narrow.test.x.slice(1, 0, 8).contiguous();
  write_labelled(path("tasks") / "b.safetensors", narrow);
  settings["evaluate"] = {{"tasks", path("tasks").string()}};
  EXPECT_NE(refusal().find("b.safetensors: activations have width 8"), std::string::npos);
  EXPECT_TRUE(trained_nothing());
}

TEST_F(ComparisonOnData, WhatItsNumbersRestOnIsSaidOnce) {
  compare_it();
  EXPECT_EQ(std::count_if(notices.begin(), notices.end(),
                          [](const std::string& text) {
                            return text.find("passes over") != std::string::npos;
                          }),
            1)
      << "of two runs on the same data";
}

TEST_F(ComparisonOnData, ItsFolderAndItsRunsHaveOneWriter) {
  {
    const OtherWriter other(path("c"));
    EXPECT_EQ(refusal<ConfigError>().find(path("c").string() +
                                          ": another process is writing it: process " +
                                          std::to_string(other.pid())),
              0U)
        << refusal<ConfigError>();
    EXPECT_FALSE(fs::exists(path("c") / "comparison.json"));
  }
  {
    const OtherWriter other(run("topk-1-seed0"));
    EXPECT_NE(refusal<ConfigError>().find("topk-1-seed0: another process is writing it"),
              std::string::npos);
  }
  EXPECT_TRUE(compare_it().finished);
  EXPECT_FALSE(fs::exists(path("c") / ".lock"));
}

}  // namespace
}  // namespace sae

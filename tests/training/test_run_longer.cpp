// A run that is given more steps than it was planned for.
#include <functional>

#include "sae/base/error.h"
#include "sae/models/sae_folder.h"
#include "sae/training/run.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class LongerRun : public ::testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  static Json config(std::int64_t steps, const std::string& decay = "none") {
    Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 20}, {"k", 2}}, steps);
    config["train"]["lr_decay"] = decay;
    config["train"]["log_every"] = 10;
    return config;
  }

  RunOutcome train_in(const std::string& name, const Json& config, std::int64_t stop_at = -1) {
    std::int64_t step = 0;
    notices.clear();
    return train(tiny_run(config), path(name), /*resume=*/true,
                 {.on_step =
                      [&](const StepReport& report, std::int64_t) {
                        step = report.step;
                        if (on_step) on_step();
                      },
                  .should_stop = [&] { return step == stop_at; },
                  .on_notice = [&](const Notice& notice) { notices.push_back(notice.text); }});
  }

  std::string refusal(const std::string& name, const Json& config) {
    try {
      train_in(name, config);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "not refused";
  }

  std::vector<std::string> notices;
  std::function<void()> on_step;

 private:
  TemporaryFolder folder_;
};

TEST_F(LongerRun, WithAConstantRateIsTheRunThatWasPlannedSo) {
  ASSERT_TRUE(train_in("planned", config(100)).finished);
  ASSERT_TRUE(train_in("finished", config(60)).finished);
  ASSERT_FALSE(train_in("stopped", config(60), 33).finished);
  for (const char* name : {"finished", "stopped"}) {
    const RunOutcome outcome = train_in(name, config(100));
    EXPECT_EQ(outcome.step, 100);
    EXPECT_TRUE(notices.empty()) << notices.front();
    expect_same_run(path(name), path("planned"));
    expect_same_file(path(name) / "config.json", path("planned") / "config.json");
    EXPECT_EQ(parsed(path(name) / "summary.json")["steps"], 100);
    EXPECT_EQ(load_sae(path(name) / "sae").config->at("training").at("train").at("steps"), 100);
    EXPECT_FALSE(fs::exists(path(name) / ".sae-next"));
  }
}

TEST_F(LongerRun, MayBeAskedForInTokens) {
  train_in("planned", config(100));
  train_in("run", config(60));
  Json tokens = config(60);
  tokens["train"].erase("steps");
  tokens["train"]["tokens"] = 100 * 32;
  EXPECT_EQ(train_in("run", tokens).step, 100);
  expect_same_run(path("run"), path("planned"));
}

TEST_F(LongerRun, KeepsTheOldResultUntilTheNewIsComplete) {
  const RunOutcome first = train_in("run", config(60));
  const std::string weights = read_file(path("run") / "sae" / "sae.safetensors");
  on_step = [&] {
    EXPECT_EQ(read_file(path("run") / "sae" / "sae.safetensors"), weights);
    EXPECT_EQ(parsed(path("run") / "summary.json")["steps"], 60);
  };
  EXPECT_FALSE(train_in("run", config(100), 70).finished);
  on_step = nullptr;
  EXPECT_NE(refusal("run", config(60)).find("is a run of 100 steps, got 60, expected as many"),
            std::string::npos)
      << "what was begun is gone on with";
  EXPECT_TRUE(train_in("run", config(100)).finished);
  EXPECT_NE(read_file(path("run") / "sae" / "sae.safetensors"), weights);
  train_in("planned", config(100));
  expect_same_run(path("run"), path("planned"));
}

TEST_F(LongerRun, WhoseRateHadNotBegunToFallIsTheRunThatWasPlannedSo) {
  train_in("planned", config(100, "linear"));
  ASSERT_FALSE(train_in("run", config(60, "linear"), 45).finished);  // it falls from step 48 on
  EXPECT_TRUE(train_in("run", config(100, "linear")).finished);
  EXPECT_TRUE(notices.empty()) << notices.front();
  expect_same_run(path("run"), path("planned"));
  EXPECT_FALSE(parsed(path("run") / "summary.json").contains("replanned"));
}

TEST_F(LongerRun, WhoseRateHadFallenIsPlannedAnewAndSaysSo) {
  for (const char* decay : {"linear", "cosine"}) {
    const std::string run = std::string("run ") + decay;
    train_in(run, config(60, decay));
    EXPECT_FALSE(train_in(run, config(100, decay), 80).finished);
    ASSERT_EQ(notices.size(), 1U);
    EXPECT_NE(notices[0].find("goes on from step 60 to 100, where 60 were planned: its learning "
                              "rate had fallen to "),
              std::string::npos)
        << notices[0];
    EXPECT_NE(notices[0].find(" and goes on at 0.005"), std::string::npos) << notices[0];
    EXPECT_TRUE(train_in(run, config(100, decay)).finished);
    EXPECT_TRUE(notices.empty()) << "said once: " << notices.front();
    const Json summary = parsed(path(run) / "summary.json");
    EXPECT_EQ(summary["replanned"], Json::parse(R"([{"step": 60, "before": 60}])"));

    const std::string whole = std::string("whole ") + decay;  // it does not depend on stops
    train_in(whole, config(60, decay));
    train_in(whole, config(100, decay));
    expect_same_run(path(run), path(whole));
    double last = 0;
    for (const MetricsRow& row : read_metrics(path(run) / "metrics.jsonl")) {
      if (!row.values.contains("lr")) continue;
      last = row.values.at("lr");
      if (row.step == 70) {
        EXPECT_EQ(last, 0.005);
      }
    }
    EXPECT_LT(last, 0.0005);
  }
}

TEST_F(LongerRun, WithoutACheckpointIsTrainedFromTheBeginningAndSaysSo) {
  Json none = config(60);
  none["train"]["checkpoint_every"] = 0;
  train_in("run", none);
  none["train"]["steps"] = 100;
  train_in("run", none);
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_NE(notices[0].find("has no checkpoint to go on from"), std::string::npos) << notices[0];
  train_in("planned", none);
  EXPECT_EQ(logged(path("run")), logged(path("planned")));
  expect_same_file(path("run") / "sae" / "sae.safetensors",
                   path("planned") / "sae" / "sae.safetensors");
}

TEST_F(LongerRun, MustAgreeInEverythingElseAndNotBeShorter) {
  train_in("run", config(60));
  Json other = config(100);
  other["train"]["lr"] = 1e-3;
  EXPECT_NE(refusal("run", other).find("train.lr is 0.005 there and 0.001 here"),
            std::string::npos);
  EXPECT_NE(refusal("run", config(40)).find("is a run of 60 steps, got 40"), std::string::npos);
  EXPECT_EQ(parsed(path("run") / "config.json")["train"]["steps"], 60);
}

}  // namespace
}  // namespace sae

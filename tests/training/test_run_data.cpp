// A run and its data: what is looked at before the first step, what a number rests on, and that a
// run goes on with the data that it was begun with.
#include <algorithm>
#include <cmath>
#include <limits>

#include "sae/base/error.h"
#include "sae/models/sae_folder.h"
#include "sae/training/run.h"
#include "support/run_testing.h"
#include "support/store_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class RunData : public ::testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  /// Twenty steps on the store "acts".
  Json config() const {
    Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 16}, {"k", 2}}, 20);
    config["data"] = {{"kind", "store"}, {"path", path("acts").string()}, {"held_out", 0.2}};
    config["train"]["checkpoint_every"] = 5;
    return config;
  }

  RunOutcome train_in(const std::string& name, const Json& config, bool resume = false,
                      std::int64_t stop_at = -1) {
    std::int64_t step = 0;
    notices.clear();
    return train(tiny_run(config), path(name), resume,
                 {.on_step = [&](const StepReport& report, std::int64_t) { step = report.step; },
                  .should_stop = [&] { return step == stop_at; },
                  .on_notice = [&](const Notice& notice) { notices.push_back(notice); }});
  }

  template <class Error = DataError>
  std::string refusal(const std::string& name, const Json& config, bool resume = false) {
    try {
      train_in(name, config, resume);
    } catch (const Error& error) {
      return error.what();
    }
    return "not refused";
  }

  bool said(Notice::Kind kind, const std::string& part) const {
    return std::any_of(notices.begin(), notices.end(), [&](const Notice& notice) {
      return notice.kind == kind && notice.text.find(part) != std::string::npos;
    });
  }

  std::vector<Notice> notices;

 private:
  TemporaryFolder folder_;
};

TEST_F(RunData, TwoContextsAreEnoughToTrainAndToEvaluate) {
  write_normal_store(path("acts"), 60, 1, 30);
  for (int seed = 0; seed < 4; ++seed) {
    Json few = config();
    few["data"]["split_seed"] = seed;
    few["data"]["held_out"] = 0.05;
    EXPECT_TRUE(train_in("run" + std::to_string(seed), few).finished);
    EXPECT_TRUE(said(Notice::Kind::kNote, "30 tokens are held out")) << seed;
  }
}

TEST_F(RunData, WhatLeavesNothingToEvaluateOnIsRefusedBeforeTheFirstStep) {
  write_normal_store(path("acts"), 60, 1, 60);
  EXPECT_NE(refusal("run", config()).find("got one context, which cannot be both"),
            std::string::npos);
  Json nothing = config();
  nothing["data"]["held_out"] = 0;
  EXPECT_NE(
      refusal<ConfigError>("run", nothing).find("data.held_out: got 0 without a held_out_path"),
      std::string::npos);
  Json other = config();
  other["data"]["held_out_path"] = path("absent").string();
  EXPECT_NE(refusal("run", other).find("absent"), std::string::npos);
  write_normal_store(path("wide"), 60, 1, 0, 13);
  other["data"]["held_out_path"] = path("wide").string();
  EXPECT_NE(refusal("run", other).find("have width 13"), std::string::npos);
  EXPECT_FALSE(fs::exists(path("run"))) << "nothing is left behind";
}

TEST_F(RunData, HeldOutActivationsThatAreNotFiniteAreFoundBeforeTheFirstStep) {
  write_normal_store(path("acts"), 60, 1);
  at::Tensor x = normal({40, 12}, 2).to(at::kFloat);
  x[39][11] = std::numeric_limits<float>::quiet_NaN();
  write_safetensors(path("held.safetensors"), {{"x", x}});
  Json bad = config();
  bad["data"]["held_out_path"] = path("held.safetensors").string();
  for (const bool verify : {true, false}) {
    bad["data"]["verify"] = verify;
    EXPECT_NE(refusal("run", bad).find("held.safetensors: row 39 has a NaN or infinity; leave"),
              std::string::npos);
  }
  EXPECT_FALSE(fs::exists(path("run")));
  bad["eval"]["tokens"] = 3;  // of which it is none
  EXPECT_TRUE(train_in("run", bad).finished) << "what no evaluation reads does not matter";
}

TEST_F(RunData, HowTruthIsMeasuredMattersOnlyWhereItIsKnown) {
  write_normal_store(path("acts"), 60, 1);
  Json world = config();
  world["data"] = {{"kind", "synthetic"}, {"preset", "tiny"}};
  for (const auto& [name, options] : {std::pair{"store", config()}, std::pair{"world", world}}) {
    EXPECT_FALSE(train_in(name, options, false, 5).finished);
    const fs::path record = path(name) / "config.json";
    Json before = parsed(record);
    EXPECT_EQ(before["eval"]["truth"]["min_match_cosine"], 0.5);
    before["eval"]["truth"]["min_match_cosine"] = 0.0;  // as an earlier version had it
    write_text(record, before.dump(2) + "\n");
  }
  EXPECT_TRUE(train_in("store", config(), true).finished);
  EXPECT_NE(refusal<ConfigError>("world", world, true)
                .find("eval.truth.min_match_cosine is 0.0 there and 0.5 here"),
            std::string::npos);
}

TEST_F(RunData, AProgramsOwnSourceIsLookedAtToo) {
  const RunOptions options =
      tiny_run(tiny_config({{"architecture", "topk"}, {"d_sae", 9}, {"k", 2}}));
  Data data = open_data(options.data, 0);
  data.world = nullptr;
  struct Bad : ActivationSource {
    std::int64_t at = 0;
    std::int64_t d_in() const override { return 20; }
    at::Tensor next(std::int64_t count) override {
      at += count;
      at::Tensor x = at::ones({count, 20});
      if (at >= 512) x[count - 1][0] = NAN;
      return x;
    }
    std::int64_t position() const override { return at; }
    void seek(std::int64_t position) override { at = position; }
    std::string description() const override { return "bad"; }
  };
  data.held_out = [] { return std::make_unique<Bad>(); };
  try {
    TrainingRun(options, data, path("run"), false);
    FAIL() << "not refused";
  } catch (const DataError& error) {
    EXPECT_EQ(std::string(error.what()),
              "held-out data: bad: one of the activations 400 to 511 has a NaN or infinity; leave "
              "it out");
  }
}

TEST_F(RunData, DataThatCannotBeReadAtTheBeginningLeaveNoFolder) {
  at::Tensor x = normal({60, 12}, 2).to(at::kFloat);
  x.fill_(std::numeric_limits<float>::infinity());
  write_safetensors(path("acts"), {{"x", x}});
  write_normal_store(path("held"), 20, 1);
  Json bad = config();
  bad["data"]["verify"] = false;
  bad["data"]["held_out_path"] = path("held").string();
  EXPECT_NE(refusal("run", bad).find("has a NaN or infinity"), std::string::npos);
  EXPECT_FALSE(fs::exists(path("run")));
}

TEST_F(RunData, ADiskWithoutRoomForTheResultIsRefusedBeforeTheFirstStep) {
  write_normal_store(path("acts"), 60, 1);
  Json large = config();
  large["model"]["d_sae"] = std::int64_t{1} << 50;
  EXPECT_NE(refusal<ConfigError>("run", large).find("GB are free, expected"), std::string::npos);
  EXPECT_FALSE(fs::exists(path("run")));
}

TEST_F(RunData, OtherDataUnderTheSamePathAreNotGoneOnWith) {
  write_normal_store(path("acts"), 120, 1, 10);
  train_in("stopped", config(), false, 8);
  train_in("finished", config());
  const std::string before = read_file(path("stopped") / "metrics.jsonl");
  write_normal_store(path("acts"), 150, 2, 10);
  for (const char* name : {"stopped", "finished"}) {
    const std::string message = refusal(name, config(), /*resume=*/true);
    EXPECT_EQ(message.find(path(name).string() + ": was trained on other data: " +
                           path("acts").string() + " was 120 tokens of width 12, test (sha256:"),
              0U)
        << message;
    EXPECT_NE(message.find(", it is 150 tokens"), std::string::npos) << message;
    EXPECT_NE(message.find("; put those data back, or choose another --out"), std::string::npos);
  }
  EXPECT_EQ(read_file(path("stopped") / "metrics.jsonl"), before);
  write_normal_store(path("acts"), 120, 1, 10);
  EXPECT_TRUE(train_in("stopped", config(), true).finished) << "they were put back";
  expect_same_run(path("stopped"), path("finished"));
}

TEST_F(RunData, OtherHeldOutDataAreNotEvaluatedOn) {
  write_normal_store(path("acts"), 120, 1);
  write_normal_store(path("held"), 40, 2);
  Json two = config();
  two["data"]["held_out_path"] = path("held").string();
  train_in("run", two, false, 8);
  write_normal_store(path("held"), 40, 3);
  const std::string message = refusal("run", two, true);
  EXPECT_NE(message.find(path("held").string() + " was 40 tokens"), std::string::npos) << message;
}

TEST_F(RunData, TheSameDataElsewhereAreTheSameData) {
  write_normal_store(path("acts"), 120, 1, 10);
  train_in("whole", config());
  train_in("moved", config(), false, 8);
  fs::rename(path("acts"), path("elsewhere"));
  Json moved = config();
  EXPECT_NE(refusal("moved", moved, true).find(path("acts").string()), std::string::npos);
  moved["data"]["path"] = path("elsewhere").string();
  EXPECT_TRUE(train_in("moved", moved, true).finished);
  expect_same_run(path("moved"), path("whole"));
  EXPECT_EQ(parsed(path("moved") / "config.json")["data"]["path"], path("elsewhere").string());
  write_normal_store(path("third"), 120, 5, 10);
  moved["data"]["path"] = path("third").string();
  EXPECT_NE(refusal("moved", moved, true).find(", " + path("third").string() + " is 120 tokens"),
            std::string::npos);
}

TEST_F(RunData, AFolderThatDoesNotSayItsDataGoesOnWithAWarning) {
  write_normal_store(path("acts"), 120, 1, 10);
  train_in("run", config(), false, 8);
  EXPECT_FALSE(said(Notice::Kind::kWarning, "does not say"));
  fs::remove(path("run") / "data.json");
  EXPECT_TRUE(train_in("run", config(), true).finished);
  EXPECT_TRUE(said(Notice::Kind::kWarning, "run: does not say which data it was trained on"));
  EXPECT_TRUE(fs::exists(path("run") / "data.json"));
}

TEST_F(RunData, AFinishedRunDoesNotNeedItsDataAnyMore) {
  write_normal_store(path("acts"), 120, 1, 10);
  const RunOutcome first = train_in("run", config());
  fs::remove_all(path("acts"));
  const RunOutcome again = train_in("run", config(), true);
  EXPECT_EQ(again.metrics, first.metrics);
  EXPECT_TRUE(said(Notice::Kind::kNote, "its data cannot be looked at"));
}

TEST_F(RunData, CheckpointAndSummaryNameTheData) {
  write_normal_store(path("acts"), 120, 1, 10);
  train_in("run", config());
  const Json summary = parsed(path("run") / "summary.json");
  const Json state = parsed(*newest_checkpoint(path("run") / "checkpoints") / "state.json");
  Json data = parsed(path("run") / "data.json");
  EXPECT_EQ(data["train"]["digest"], ActivationStore(path("acts")).digest());
  data.erase("format");
  data.erase("version");
  EXPECT_EQ(data["inputs"]["tokens"], 100) << "what is not held out, fewer than are asked for";
  data.erase("inputs");
  EXPECT_EQ(summary["data"], data);
  EXPECT_EQ(state["data"], data);
}

TEST_F(RunData, HowManyTokensNumbersRestOnIsSaid) {
  write_normal_store(path("acts"), 120, 1, 10);
  Json many = config();
  many["train"].erase("steps");
  many["train"]["tokens"] = 32 * 60 + 5;
  train_in("run", many);
  const Json summary = parsed(path("run") / "summary.json");
  const auto held = summary["held_out_tokens"].get<std::int64_t>();
  EXPECT_EQ(summary["tokens"], 32 * 60);
  EXPECT_EQ(summary["distinct_tokens"], 120 - held);
  EXPECT_DOUBLE_EQ(summary["passes"].get<double>(), 32.0 * 60 / static_cast<double>(120 - held));
  const std::string there = std::to_string(120 - held) + " tokens";
  EXPECT_TRUE(said(Notice::Kind::kNote, "the other 5 are left out"));
  EXPECT_TRUE(said(Notice::Kind::kWarning, "training on 1920 tokens takes"));
  EXPECT_TRUE(said(Notice::Kind::kWarning, " passes over " + there));
  EXPECT_TRUE(said(Notice::Kind::kNote, "calibration_tokens asks for 256, there are " + there));
  EXPECT_TRUE(said(Notice::Kind::kNote,
                   "eval.tokens asks for 512, there are " + std::to_string(held) + " tokens"));
  many["train"]["tokens"] = 32 * 5;
  many["train"]["calibration_tokens"] = 50;
  many["eval"]["tokens"] = 3;
  train_in("short", many);
  EXPECT_FALSE(said(Notice::Kind::kWarning, ""));
  EXPECT_TRUE(said(Notice::Kind::kNote, "passes over")) << "1.6 of them are no warning";
  Json endless = tiny_config({{"architecture", "topk"}, {"d_sae", 16}, {"k", 2}}, 5);
  train_in("endless", endless);
  EXPECT_TRUE(notices.empty());
  EXPECT_EQ(parsed(path("endless") / "summary.json")["distinct_tokens"], 5 * 32);
}

TEST_F(RunData, NoHeldOutTokenCountsTwice) {
  write_normal_store(path("acts"), 120, 1);
  write_normal_store(path("held"), 30, 2);
  Json more = config();
  more["data"]["held_out_path"] = path("held").string();
  more["eval"] = {{"tokens", 1000}, {"batch", 7}, {"every", 20}, {"every_tokens", 700}};
  Json exact = more;
  exact["eval"]["tokens"] = exact["eval"]["every_tokens"] = 30;
  EXPECT_EQ(train_in("more", more).metrics, train_in("exact", exact).metrics);
  EXPECT_EQ(logged(path("more")), logged(path("exact")));
  EXPECT_EQ(parsed(path("more") / "summary.json")["held_out_tokens"], 30);
}

TEST_F(RunData, MetricsOnTheWayAreInTheUnitsOfTheActivations) {
  write_normal_store(path("acts"), 120, 1);
  for (const auto& [norm, centre] : {std::pair{"none", "none"},
                                     {"unit", "none"},
                                     {"sqrt_d", "none"},
                                     {"unit", "mean"},
                                     {"none", "mean"}}) {
    Json scaled = config();
    scaled["train"]["input_norm"] = norm;
    scaled["train"]["input_centre"] = centre;
    scaled["eval"] = {{"tokens", 20}, {"batch", 20}, {"every", 20}, {"every_tokens", 20}};
    const MetricValues at_end = train_in(norm + std::string(centre), scaled).metrics;
    const MetricsRow last = read_metrics(path(norm + std::string(centre)) / "metrics.jsonl").back();
    for (const auto& [name, value] : at_end) {
      ASSERT_TRUE(last.values.contains("eval." + name)) << name;
      EXPECT_NEAR(last.values.at("eval." + name), value, 1e-4 * std::abs(value)) << norm << name;
    }
  }
}

}  // namespace
}  // namespace sae

// Runs over ranks: one folder, one ordinary result, and a way on for any other number of ranks.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "sae/base/error.h"
#include "sae/data/store.h"
#include "sae/models/sae_folder.h"
#include "sae/training/open.h"
#include "support/ranks_testing.h"
#include "support/run_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

struct Layout {
  std::int64_t latents, data;
  int ranks() const { return static_cast<int>(latents * data); }
};

class RunOverRanks : public ::testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  /// Trains until the end, or until `stop_at` steps are done.
  void train_on(const Layout& layout, const Json& config, const std::string& name,
                bool resume = false, std::int64_t stop_at = 0) {
    expect_none(on_ranks(layout.ranks(), [&](const Group& world) {
      std::int64_t done = 0;
      // One rank is told to stop: all do.
      const bool listens = world.rank() == world.size() - 1;
      train(tiny_run(config), path(name), resume,
            {.on_step = [&](const StepReport& report, std::int64_t) { done = report.step; },
             .should_stop = [&] { return listens && stop_at > 0 && done >= stop_at; },
             .on_notice = {}},
            mesh_of(world, layout.latents, layout.data));
    }));
  }

  using Tensors = std::map<std::string, at::Tensor>;

  static Tensors result_of(const fs::path& run) { return snapshot_of(*load_sae(run / "sae").sae); }

  static Tensors snapshot_of(const Autoencoder& sae) {
    Tensors all;
    for (const auto& [name, tensor] : state_of(sae)) all[name] = tensor.clone();
    return all;
  }

 private:
  TemporaryFolder folder_;
};

/// How far float32 may lead 60 steps of Adam apart by the order of sums; float64 shows to 1e-11
/// that it is nothing else (test_over_ranks.cpp).
constexpr double kRounded = 2e-3;

void expect_near(const std::map<std::string, at::Tensor>& a,
                 const std::map<std::string, at::Tensor>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    const at::Tensor left = tensor.to(at::kDouble), right = b.at(name).to(at::kDouble);
    const double apart = (left - right).abs().max().item<double>();
    EXPECT_LE(apart, tolerance * std::max(1.0, left.abs().max().item<double>())) << name;
  }
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return {names.begin(), names.end()};
}

TEST_F(RunOverRanks, EndsWithOneOrdinaryAutoencoderAndTheMetricsOfOneProcess) {
  for (const auto& [name, model] : stateful_models()) {
    const Json config = tiny_config(model);
    train(tiny_run(config), path(name + " alone"), false);
    for (const Layout& layout : {Layout{3, 1}, Layout{2, 2}}) {
      SCOPED_TRACE(name + " over " + std::to_string(layout.latents) + "x" +
                   std::to_string(layout.data));
      const std::string run = name + std::to_string(layout.ranks());
      train_on(layout, config, run);
      EXPECT_EQ(names_in(path(run) / "sae"),
                (std::vector<std::string>{"config.json", "sae.safetensors"}));
      expect_near(result_of(path(name + " alone")), result_of(path(run)), kRounded);
      const Json one = parsed(path(name + " alone") / "summary.json");
      const Json many = parsed(path(run) / "summary.json");
      EXPECT_EQ(one["held_out_tokens"], many["held_out_tokens"]);
      ASSERT_EQ(one["metrics"].size(), many["metrics"].size());
      for (const auto& [metric, value] : one["metrics"].items()) {
        if (value.is_null()) continue;
        EXPECT_NEAR(value.get<double>(), many["metrics"][metric].get<double>(), 5e-3) << metric;
      }
    }
  }
}

TEST_F(RunOverRanks, TwiceTheSameRanksWriteTheSameBytesStoppedOrNot) {
  const Json config = tiny_config(stateful_models()[6].second);  // a nested mask on BatchTopK
  train_on({2, 2}, config, "once");
  train_on({2, 2}, config, "stopped", false, 33);
  EXPECT_FALSE(TrainingRun::is_complete(path("stopped")));
  train_on({2, 2}, config, "stopped", true);
  expect_same_file(path("once") / "sae" / "sae.safetensors",
                   path("stopped") / "sae" / "sae.safetensors");
  const fs::path last = "checkpoints/step-00000060";
  EXPECT_EQ(names_in(path("once") / last),
            (std::vector<std::string>{
                "MANIFEST.json", "optimizer-0001-of-0004.safetensors",
                "optimizer-0002-of-0004.safetensors", "optimizer-0003-of-0004.safetensors",
                "optimizer-0004-of-0004.safetensors", "sae-0001-of-0002.safetensors",
                "sae-0002-of-0002.safetensors", "state.json"}));
  for (const std::string& name : names_in(path("once") / last)) {
    if (name.ends_with(".safetensors")) {
      expect_same_file(path("once") / last / name, path("stopped") / last / name);
    }
  }
}

TEST_F(RunOverRanks, AnyNumberOfRanksGoesOnFromWhatAnyOtherWrote) {
  for (const std::size_t which : {1, 3, 4, 7}) {  // TopK, Matryoshka, JumpReLU, resampling
    const auto [name, model] = stateful_models()[which];
    SCOPED_TRACE(name);
    const Json config = tiny_config(model);
    train(tiny_run(config), path(name + " alone"), false);
    train_on({2, 2}, config, name, false, 12);
    EXPECT_EQ(what_is_at(path(name) / "checkpoints" / "step-00000012"), PathKind::kCheckpoint);
    EXPECT_EQ(open_sae(path(name)).folder.sae->d_sae(), 20);
    train_on({2, 1}, config, name, true, 25);
    train(tiny_run(config), path(name), true,
          {.on_step = {},
           .should_stop = [calls = 0]() mutable { return ++calls == 12; },
           .on_notice = {}});
    train_on({3, 1}, config, name, true);
    EXPECT_TRUE(TrainingRun::is_complete(path(name)));
    expect_near(result_of(path(name + " alone")), result_of(path(name)), kRounded);
  }
}

TEST_F(RunOverRanks, RanksOfUnlikeOptionsAreToldWhichAndNothingIsWritten) {
  const std::vector<std::string> errors = on_ranks(2, [&](const Group& world) {
    Json config = tiny_config(stateful_models()[1].second);
    if (world.rank() == 1) config["train"]["lr"] = 1e-3;
    train(tiny_run(config), path("run"), false, {}, mesh_of(world, 2, 1));
  });
  EXPECT_EQ(errors[1],
            "config: train.lr: rank 0 has 0.005, rank 1 has 0.001; expected the same on all ranks");
  EXPECT_TRUE(errors[0].starts_with("others: rank 1: train.lr")) << errors[0];
  EXPECT_FALSE(fs::exists(path("run")));
}

TEST_F(RunOverRanks, ARankThatReadsANaNSaysWhereAndTheOthersThatItDid) {
  StoreWriter writer(path("acts"), 4, at::kFloat, {{"model", "test"}});
  writer.append(at::rand({400, 4}));
  writer.finish();
  // Behind the writer's back, which refuses it: a value in the middle.
  std::fstream file(path("acts") / "shard-00000.safetensors",
                    std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-200 * 16, std::ios::end);
  const float bad = NAN;
  file.write(reinterpret_cast<const char*>(&bad), sizeof(bad));
  file.close();
  Json config = tiny_config(stateful_models()[1].second);
  config["data"] = {{"kind", "store"}, {"path", path("acts").string()}, {"verify", false}};
  config["train"]["calibration_tokens"] = 1;
  config["eval"] = {{"tokens", 1}, {"batch", 1}};
  const std::vector<std::string> errors = on_ranks(3, [&](const Group& world) {
    train(tiny_run(config), path("run"), false, {}, mesh_of(world, 3, 1));
  });
  int culprit = -1;
  for (int rank = 0; rank < 3; ++rank) {
    if (errors[static_cast<std::size_t>(rank)].find("row 200 has a NaN") == std::string::npos)
      continue;
    if (!errors[static_cast<std::size_t>(rank)].starts_with("others")) culprit = rank;
  }
  ASSERT_GE(culprit, 0) << errors[0] << errors[1] << errors[2];
  for (int rank = 0; rank < 3; ++rank) {
    const std::string& error = errors[static_cast<std::size_t>(rank)];
    EXPECT_EQ(error.find("others: rank " + std::to_string(culprit)) == 0, rank != culprit) << error;
  }
}

TEST_F(RunOverRanks, RanksOfUnlikeDataAreToldSo) {
  const std::vector<std::string> errors = on_ranks(2, [&](const Group& world) {
    const std::string name = "acts" + std::to_string(world.rank());
    StoreWriter writer(path(name), 4, at::kFloat, {{"model", "test"}});
    writer.append(at::full({400, 4}, world.rank() + 1.0) + at::arange(400).unsqueeze(1));
    writer.finish();
    Json config = tiny_config(stateful_models()[1].second);
    config["data"] = {{"kind", "store"}, {"path", path(name).string()}};
    train(tiny_run(config), path("run"), false, {}, mesh_of(world, 2, 1));
  });
  EXPECT_TRUE(errors[1].starts_with("config: data: rank 0 has sha256:")) << errors[1];
}

TEST_F(RunOverRanks, WhatRanksCannotShareIsRefusedBeforeTheFirstStep) {
  const auto refused = [&](const Layout& layout, const Json& config) {
    const std::vector<std::string> errors = on_ranks(layout.ranks(), [&](const Group& world) {
      train(tiny_run(config), path("run"), false, {}, mesh_of(world, layout.latents, layout.data));
    });
    EXPECT_FALSE(fs::exists(path("run")));
    return *std::find_if(errors.begin(), errors.end(),
                         [](const std::string& error) { return error.starts_with("config"); });
  };
  Json expected = tiny_config({{"architecture", "batch_topk"},
                               {"d_sae", 20},
                               {"k", 2},
                               {"mask", {{"draw", "expected"}, {"warmup_steps", 5}}}});
  EXPECT_NE(refused({2, 1}, expected).find("model.mask.draw: got 'expected' with latents on 2"),
            std::string::npos);
  Json narrow = tiny_config({{"architecture", "topk"}, {"d_sae", 2}, {"k", 1}});
  EXPECT_NE(refused({3, 1}, narrow).find("got 3 ranks, expected at most one for each of"),
            std::string::npos);
  Json parts = tiny_config({{"architecture", "topk"}, {"d_sae", 20}, {"k", 1}});
  parts["train"]["accumulate"] = 20;
  EXPECT_NE(refused({1, 2}, parts).find("train.batch: got 32 for 2 ranks"), std::string::npos);
}

TEST_F(RunOverRanks, AMaskInExpectationTrainsWhereRanksSplitTheBatch) {
  const Json config = tiny_config({{"architecture", "batch_topk"},
                                   {"d_sae", 20},
                                   {"k", 2},
                                   {"mask",
                                    {{"draw", "expected"},
                                     {"importance", "frequency"},
                                     {"warmup_steps", 5},
                                     {"min_keep", 0}}}});
  train(tiny_run(config), path("alone"), false);
  train_on({1, 2}, config, "together");
  expect_near(result_of(path("alone")), result_of(path("together")), kRounded);
}

TEST_F(RunOverRanks, ALastBatchOfFewerTokensThanRanksIsEvaluatedToo) {
  StoreWriter writer(path("acts"), 4, at::kFloat, {{"model", "test"}});
  writer.append(at::arange(1600, at::kFloat).view({400, 4}).sin());
  writer.finish();
  Json config = tiny_config(stateful_models()[1].second);
  config["data"] = {{"kind", "store"}, {"path", path("acts").string()}, {"held_out", 0.2}};
  config["eval"] = {{"tokens", 41}, {"batch", 20}};
  train(tiny_run(config), path("alone"), false);
  for (const Layout& layout : {Layout{1, 2}, Layout{2, 2}}) {
    const std::string run = "over " + std::to_string(layout.ranks());
    train_on(layout, config, run);
    const Json one = parsed(path("alone") / "summary.json");
    const Json many = parsed(path(run) / "summary.json");
    EXPECT_EQ(many["held_out_tokens"], 41);
    EXPECT_EQ(one["metrics"]["l0"], many["metrics"]["l0"]);
    EXPECT_NEAR(one["metrics"]["explained_variance"].get<double>(),
                many["metrics"]["explained_variance"].get<double>(), 5e-3);
  }
}

TEST_F(RunOverRanks, ADamagedShardIsPassedOverForAnOlderCheckpoint) {
  const Json config = tiny_config(stateful_models()[1].second);
  train_on({2, 1}, config, "run", false, 45);  // checkpoints at 20, 40 and 45, two of them kept
  const fs::path newest = path("run") / "checkpoints" / "step-00000045";
  fs::resize_file(newest / "sae-0002-of-0002.safetensors", 100);
  EXPECT_FALSE(is_intact(newest));
  EXPECT_EQ(newest_checkpoint(path("run") / "checkpoints")->filename(), "step-00000040");
  fs::remove(path("run") / "checkpoints" / "step-00000040" / "optimizer-0001-of-0002.safetensors");
  EXPECT_EQ(newest_checkpoint(path("run") / "checkpoints"), std::nullopt);
}

TEST_F(RunOverRanks, WhatIsSentIsLoggedAndIsWhatTheFormulaSays) {
  constexpr double kBatch = 256, kRanks = 2;
  constexpr std::int64_t kK = 4;
  Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 64}, {"k", kK}}, 20);
  config["data"] = {{"kind", "synthetic"}, {"preset", "tiny"}};
  config["train"]["batch"] = static_cast<std::int64_t>(kBatch);
  config["train"]["checkpoint_every"] = 0;
  config["eval"]["every"] = 0;
  train_on({2, 1}, config, "run");
  const auto rows = read_metrics(path("run") / "metrics.jsonl");
  ASSERT_FALSE(rows.empty());
  const double d_in = static_cast<double>(load_sae(path("run") / "sae").sae->d_in());
  for (const MetricsRow& row : rows) {
    const double bytes = 1e6 * row.values.at("comm_mb");
    // x and x_hat in float32, the k largest of each token, and what is small.
    const double bound = 12 * kBatch * d_in * (kRanks - 1) / kRanks + 8 * kBatch * kK + (64 << 10);
    EXPECT_LE(bytes, bound);
    EXPECT_GE(bytes, 8 * kBatch * d_in * (kRanks - 1) / kRanks);
    EXPECT_GE(row.values.at("comm_s"), 0);
  }
}

}  // namespace
}  // namespace sae

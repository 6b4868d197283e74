// train.accumulate: a batch in parts trains as the whole batch does, for every row of the table of
// architectures, and holds no more than a part at a time.
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sae/training/trainer.h"
#include "support/sae_testing.h"
#include "training/batch_pass.h"

namespace sae {
namespace {

constexpr std::int64_t kBatch = 13;  // 13 rows of one; 7 and 6; 4, 4, 4 and 1
constexpr std::int64_t kParts[] = {2, 4, kBatch};
constexpr Step kStep{20, 5};

using Variants = std::vector<Json>;

/// Every model, once with each of `values` for `option`; as they are if they have no such option.
Variants with_each(const Variants& models, const std::string& option, const Json& values) {
  Variants all;
  for (const Json& model : models) {
    bool known = false;
    for (const Architecture& row : architectures()) {
      if (row.name != model["architecture"]) continue;
      for (const FieldDoc& field : row.options) known |= field.name == option;
    }
    for (const Json& value : values) {
      all.push_back(model);
      if (known) all.back()[option] = value;
      if (!known) break;
    }
  }
  return all;
}

Json mask(const std::string& draw, const std::string& paths) {
  return {{"draw", draw},    {"paths", paths}, {"warmup_steps", 0},
          {"min_keep", 0.3}, {"rate", 3},      {"importance", "product"}};
}

Json expected_mask() {
  return {{"draw", "expected"}, {"warmup_steps", 0}, {"importance", "frequency"}};
}

/// Small models of one architecture with everything that looks at more than one token.
Variants variants(const std::string& architecture) {
  Variants all{{{"architecture", architecture}, {"d_in", 5}, {"d_sae", 12}}};
  all = with_each(all, "k", {3});
  all = with_each(all, "sparsity", {0.25});
  all = with_each(all, "widths", {{3, 7, 12}});
  all = with_each(all, "bandwidth", {0.8});
  all = with_each(all, "threshold_init", {0.3});
  all = with_each(all, "resample_every", {4});
  all = with_each(all, "dead_after_tokens", {20});
  all = with_each(all, "aux_k", {2, 50});
  all = with_each(all, "aux_normalize", {true, false});
  all = with_each(all, "preact_coefficient", {0.5});
  all = with_each(all, "sparsity_loss", {"l0", "tanh", "target"});
  all = with_each(all, "target_l0", {2.5});
  all = with_each(all, "decoder_norm", {"unit", "free"});
  const std::size_t plain = all.size();
  for (const char* draw : {"bernoulli", "nested"}) {
    for (const char* paths : {"masked", "both"}) {
      for (std::size_t i = 0; i < plain; i += 3) {
        all.push_back(all[i]);
        all.back()["mask"] = mask(draw, paths);
      }
    }
  }
  for (std::size_t i = 0; i < plain; i += 2) {
    all.push_back(all[i]);
    all.back()["mask"] = expected_mask();
  }
  return all;
}

std::shared_ptr<Autoencoder> make(const Json& model, Storage storage) {
  std::shared_ptr<Autoencoder> sae = make_sae(model);
  set_storage(*sae, storage);
  if (sae->mask()) set_mask_statistics(*sae, 200);
  return sae;
}

/// Everything that one batch comes to.
Tensors outcome(const Json& model, Storage storage, std::int64_t parts) {
  const auto sae = make(model, storage);
  kill_latents(*sae, {0, 4, 5, 11});
  const BatchPass pass =
      run_batch(*sae, normal({kBatch, 5}, 1), kStep, {.parts = parts, .measure = true});
  Tensors all{{"total", pass.total},
              {"fired", pass.statistics.fired},
              {"l0", pass.statistics.l0()},
              {"min_positive", pass.statistics.min_positive},
              {"tokens", at::scalar_tensor(pass.statistics.tokens)}};
  for (const auto& [name, value] : pass.losses) all["loss." + name] = value;
  for (const auto& [name, value] : pass.metrics.values()) all[name] = at::scalar_tensor(value);
  for (const auto& item : sae->named_parameters()) {
    const at::Tensor& gradient = item.value().grad();
    all["gradient of " + item.key()] = gradient.defined() ? gradient : at::zeros({});
  }
  if (pass.mask.defined()) all["mask"] = pass.mask;
  if (sae->mask()) {
    all["magnitude"] = pass.statistics.magnitude;
    all["contribution"] = pass.statistics.contribution;
  }
  if (pass.errors.defined()) all["errors"] = pass.errors;
  return all;
}

/// Parameters, statistics and moments after some steps, in which two latents die.
Tensors state_after(const Json& model, std::int64_t parts, std::int64_t steps) {
  const auto sae = make(model, Storage::kAuto);
  {
    const at::NoGradGuard no_grad;
    sae->b_enc.index_fill_(0, integers({4, 11}), -20);
  }
  TrainOptions options;
  options.steps = steps;
  options.batch = kBatch;
  options.accumulate = parts;
  options.schedule.lr = 1e-2;
  options.input_norm = InputNorm::kSqrtD;
  Trainer trainer(sae, options, /*seed=*/5);
  trainer.calibrate(normal({40, 5}, 9));
  for (std::int64_t i = 0; i < steps; ++i) {
    trainer.step(normal({kBatch, 5}, 300 + static_cast<std::uint64_t>(i)));
  }
  Tensors all = snapshot(*sae);
  for (const auto& [name, value] : trainer.state()) all[name] = value.clone();
  return all;
}

class Accumulate : public ::testing::TestWithParam<std::string> {};

TEST_P(Accumulate, LossesGradientsStatisticsAndMetricsAreThoseOfTheWholeBatch) {
  for (const Json& model : variants(GetParam())) {
    for (const Storage storage : {Storage::kSparse, Storage::kDense, Storage::kAuto}) {
      const Tensors whole = outcome(model, storage, 1);
      for (const std::int64_t parts : kParts) {
        expect_close(outcome(model, storage, parts), whole,
                     model.dump() + " in " + std::to_string(parts));
      }
    }
  }
}

TEST_P(Accumulate, TheStateAfterManyStepsIsThatOfWholeBatches) {
  const Variants all = variants(GetParam());
  for (std::size_t i = 0; i < all.size(); i += 2) {
    const Tensors whole = state_after(all[i], 1, 12);
    for (const std::int64_t parts : kParts) {
      expect_close(state_after(all[i], parts, 12), whole,
                   all[i].dump() + " in " + std::to_string(parts));
    }
  }
}

TEST_P(Accumulate, AWholeBatchIsNotLookedAtTwice) {
  for (const Json& model : variants(GetParam())) {
    const auto sae = make(model, Storage::kAuto);
    kill_latents(*sae, {0, 4, 5, 11});
    const std::vector<BatchPart> plan = sae->plan({normal({kBatch, 5}, 1)}, kStep);
    ASSERT_EQ(plan.size(), 1U);
    EXPECT_FALSE(plan.front().kept.defined() || plan.front().totals) << model;
  }
}

/// Counts the bytes of the tensors that exist on this thread.
class TensorMemory : public c10::MemoryReportingInfoBase {
 public:
  bool memoryProfilingEnabled() const override { return true; }
  void reportMemoryUsage(void* /*at*/, std::int64_t size, std::size_t /*allocated*/,
                         std::size_t /*reserved*/, c10::Device /*device*/) override {
    now_ += size;
    most_ = std::max(most_, now_);
  }
  std::int64_t most() const { return most_; }

 private:
  std::int64_t now_ = 0;
  std::int64_t most_ = 0;
};

TEST_P(Accumulate, HoldsNoMoreThanAPartAtATime) {
  constexpr std::int64_t kTokens = 128;
  constexpr std::int64_t kLatents = 1000;
  constexpr std::int64_t kPlane = kTokens * kLatents * std::int64_t{sizeof(float)};  // [B, F]
  const at::Tensor x = normal({kTokens, 5}, 1).to(at::kFloat);
  for (Json model : variants(GetParam())) {
    model["d_sae"] = kLatents;
    model.erase("widths");
    const auto sae = make_autoencoder(config_from_json(model, "test"));
    sae->initialise(1);
    sae->set_encoding({Storage::kAuto, Screening::kOff});  // which holds less than [B, F] anyhow
    kill_latents(*sae, {0, 4, 5, 11});
    const auto most = [&](std::int64_t parts) {
      const auto memory = std::make_shared<TensorMemory>();
      const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, memory);
      run_batch(*sae, x, kStep, {.parts = parts});
      sae->zero_grad();
      return memory->most();
    };
    EXPECT_GT(most(1), kPlane) << model;
    EXPECT_LT(most(32), kPlane * 3 / 5) << model;
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, Accumulate, ::testing::ValuesIn(architecture_names()),
                         [](const auto& info) { return info.param; });

TEST(AccumulateBf16, KeepsKTimesBOfTheBatchAndComesCloseToFloat32) {
  // In bfloat16 many pre-activations are equal, so that order decides.
  const Json model{{"architecture", "batch_topk"}, {"d_in", 5}, {"d_sae", 12}, {"k", 3}};
  const auto sae = make_autoencoder(config_from_json(model, "test"));
  sae->initialise(2);
  kill_latents(*sae, {0, 4, 5, 11});
  const at::Tensor x = normal({kBatch, 5}, 1).to(at::kFloat);
  const double exact = run_batch(*sae, x, kStep, {}).total.item<double>();
  for (const std::int64_t parts : {std::int64_t{1}, kParts[0], kParts[1], kParts[2]}) {
    const BatchPass pass = run_batch(*sae, x, kStep, {.parts = parts, .bf16 = true});
    EXPECT_EQ(pass.statistics.fired.sum().item<double>(), 3 * kBatch) << parts;
    EXPECT_NEAR(pass.total.item<double>(), exact, 0.02 * exact) << parts;
  }
}

TEST(AccumulateTies, AreTakenInTheOrderOfTheBatch) {
  // All pre-activations alike: the first tokens take all that may be kept.
  const auto sae =
      make({{"architecture", "batch_topk"}, {"d_in", 5}, {"d_sae", 12}, {"k", 3}}, Storage::kAuto);
  {
    const at::NoGradGuard no_grad;
    sae->W_enc.fill_(0.5);
    sae->b_enc.fill_(1);
    sae->b_dec.zero_();
  }
  const at::Tensor x = at::ones({kBatch, 5}, at::kDouble);
  const std::vector<at::Tensor> parts = x.chunk(4);
  const std::vector<BatchPart> plan = sae->plan(parts, kStep);
  std::vector<at::Tensor> rows;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    rows.push_back(sae->forward(parts[i], kStep, plan[i]).latents.to_dense());
  }
  EXPECT_TRUE(at::equal(at::cat(rows), sae->forward(x, kStep).latents.to_dense()));
}

TEST(AccumulateLog, SaysTheSameInAnyNumberOfParts) {
  const Json model{
      {"architecture", "jumprelu"}, {"d_in", 5},        {"d_sae", 12},
      {"sparsity_loss", "target"},  {"target_l0", 2.5}, {"mask", mask("bernoulli", "both")}};
  const auto values = [&](std::int64_t parts) {
    TrainOptions options;
    options.steps = 3;
    options.log_every = 3;
    options.batch = kBatch;
    options.accumulate = parts;
    Trainer trainer(make(model, Storage::kAuto), options);
    MetricValues logged;
    for (std::uint64_t i = 0; i < 3; ++i) logged = trainer.step(normal({kBatch, 5}, i)).values;
    logged.erase("tokens_per_s");
    return logged;
  };
  const MetricValues whole = values(1);
  EXPECT_TRUE(whole.contains("mask.theta") && whole.contains("loss.sparsity"));
  for (const std::int64_t parts : kParts) {
    const MetricValues got = values(parts);
    ASSERT_EQ(got.size(), whole.size());
    for (const auto& [name, value] : whole) {
      EXPECT_NEAR(got.at(name), value, 1e-9 * (1 + std::abs(value))) << name << " in " << parts;
    }
  }
}

}  // namespace
}  // namespace sae

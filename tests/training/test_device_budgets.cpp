// What a training step on a GPU may cost: waits of the host for the device, operators, bytes that
// operators read and write, memory. Counted by the fake GPU.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>

#include "data/device_batches.h"
#include "evaluation/encode_all.h"
#include "sae/cuda/device_kernels.h"
#include "sae/data/data.h"
#include "sae/evaluation/evaluation.h"
#include "sae/training/trainer.h"
#include "support/fake_gpu.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

constexpr std::int64_t kWidth = 32;
constexpr std::int64_t kLatents = 1536;
constexpr std::int64_t kBatch = 32;

const Json kBernoulli{{"draw", "bernoulli"}, {"warmup_steps", 1}};
const Json kNested{{"draw", "nested"},
                   {"paths", "both"},
                   {"importance", "frequency"},
                   {"warmup_steps", 1},
                   {"min_keep", 0}};
const Json kExpected{
    {"draw", "expected"}, {"importance", "frequency"}, {"warmup_steps", 1}, {"min_keep", 0}};

/// At most so much a step by kernels of ours, in each precision. Bytes are those of arguments and
/// results, in units of h [B, F] and a weight matrix [F, D] together, both of float32.
struct OwnBudget {
  int waits;
  std::int64_t operators;
  double bytes;
};
/// By LibTorch's operators alone: bytes, and device memory, for an entry of [B, F] and of [F, D].
struct Budget {
  int waits;
  std::int64_t operators;
  double bytes_of_entry;
  double bytes_of_weight;
  double peak_of_entry;
};
struct Case {
  const char* name;
  Json model;
  OwnBudget fp32, tf32, bf16;
  Budget operators;

  const OwnBudget& own(Precision precision) const {
    return precision == Precision::kBf16 ? bf16 : precision == Precision::kTf32 ? tf32 : fp32;
  }
};

Json with_mask(Json model, const Json& mask) {
  model["mask"] = mask;
  return model;
}

const Json kTopK{{"architecture", "topk"}, {"k", 4}};
const Json kBatchTopK{{"architecture", "batch_topk"}, {"k", 4}};
const Json kMatryoshka{{"architecture", "matryoshka"}, {"k", 4}};
const Json kJumpRelu{{"architecture", "jumprelu"}, {"sparsity", 0.1}};
const Json kStandard{{"architecture", "standard"}, {"sparsity", 0.1}};
const Json kAtm{{"architecture", "atm"}, {"sparsity", 0.1}, {"mask", kBernoulli}};

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"topk", kTopK, {0, 62, 12.2}, {0, 62, 12.2}, {0, 60, 10.3}, {0, 87, 77, 142, 17}},
      {"topk, Bernoulli",
       with_mask(kTopK, kBernoulli),
       {0, 110, 13.8},
       {0, 110, 13.8},
       {0, 108, 11.8},
       {0, 143, 77, 155, 17}},
      {"topk, nested",
       with_mask(kTopK, kNested),
       {0, 95, 16.1},
       {0, 95, 16.1},
       {0, 93, 13.6},
       {0, 128, 78, 171, 17}},
      {"topk, expected",
       with_mask(kTopK, kExpected),
       {0, 94, 13.9},
       {0, 94, 13.9},
       {0, 92, 12.5},
       {1, 174, 89, 175, 17}},
      {"batch_topk", kBatchTopK, {0, 75, 30.5}, {0, 75, 30.5}, {0, 77, 28.5}, {0, 94, 93, 141, 25}},
      {"batch_topk, nested",
       with_mask(kBatchTopK, kNested),
       {0, 108, 34.3},
       {0, 108, 34.3},
       {0, 110, 31.8},
       {0, 135, 94, 170, 25}},
      {"matryoshka",
       kMatryoshka,
       {0, 127, 31.3},
       {0, 127, 31.3},
       {0, 129, 29.3},
       {0, 140, 99, 141, 25}},
      {"jumprelu", kJumpRelu, {1, 108, 12.2}, {1, 108, 12.2}, {1, 110, 11.2}, {1, 124, 17, 146, 1}},
      {"standard", kStandard, {1, 74, 11.5}, {1, 74, 11.5}, {1, 77, 10.6}, {1, 90, 17, 141, 1}},
      {"standard, nested",
       with_mask(kStandard, kNested),
       {1, 107, 15.4},
       {1, 107, 15.4},
       {1, 110, 13.9},
       {1, 131, 18, 170, 1}},
      {"atm", kAtm, {1, 122, 13.1}, {1, 122, 13.1}, {1, 125, 12.1}, {1, 146, 17, 155, 1}},
  };
  return all;
}

class DeviceBudgets : public OnFakeGpu {
 protected:
  void TearDown() override { use_device_kernels(DeviceKernels::kAuto); }

  static std::shared_ptr<Autoencoder> model_of(const Json& options) {
    Json model = options;
    model["d_in"] = kWidth;
    model["d_sae"] = kLatents;
    auto sae = make_autoencoder(config_from_json(model, "test"));
    sae->initialise(0);
    const at::NoGradGuard no_grad;
    // About two of the latents of an architecture without a k: sparse in every precision.
    if (!options.contains("k")) sae->b_enc.fill_(-31);
    sae->to(at::Device(at::kCUDA, 0));
    return sae;
  }

  /// What the second step counts: masks are past their warm-up, and what is kept is there.
  fake_gpu::Counts step_of(const Json& options, std::int64_t batch, Precision precision) const {
    TrainOptions train;
    train.steps = 100;
    train.batch = batch;
    train.log_every = 1000;
    train.schedule.lr = 1e-6;
    Trainer trainer(model_of(options), train, 0, precision);
    trainer.step(input(batch, 0));
    const at::Tensor x = input(batch, 1);
    reset_counts();
    trainer.step(x);
    return counted();
  }

  static at::Tensor input(std::int64_t batch, std::uint64_t index) {
    return (10 * normal({batch, kWidth}, index)).to(at::Device(at::kCUDA, 0), at::kFloat);
  }

  static std::int64_t total(const std::map<std::string, std::int64_t>& numbers) {
    std::int64_t sum = 0;
    for (const auto& [name, number] : numbers) sum += number;
    return sum;
  }

  static std::string listed(const std::map<std::string, std::int64_t>& numbers) {
    std::string text;
    for (const auto& [name, number] : numbers) text += name + " " + std::to_string(number) + ", ";
    return text;
  }

  static void print(const std::string& name, const fake_gpu::Counts& step,
                    const std::vector<double>& more) {
    if (!std::getenv("SAE_PRINT_BUDGETS")) return;
    std::printf("%s: %lld, %lld", name.c_str(), static_cast<long long>(total(step.waits)),
                static_cast<long long>(total(step.operators)));
    for (const double number : more) std::printf(", %.1f", number);
    std::printf("\n");
  }

  void expect_within(const Case& one, const OwnBudget& budget, Precision precision) const {
    const fake_gpu::Counts step = step_of(one.model, kBatch, precision);
    const double bytes = static_cast<double>(step.bytes) / (4.0 * kLatents * (kBatch + kWidth));
    print(name_of(precision) + ", " + one.name, step, {bytes});
    EXPECT_LE(total(step.waits), budget.waits) << listed(step.waits);
    EXPECT_LE(total(step.operators), budget.operators) << listed(step.operators);
    EXPECT_LE(bytes, budget.bytes) << listed(step.bytes_of);
  }

  void expect_within(const Case& one, const Budget& budget) const {
    const fake_gpu::Counts step = step_of(one.model, kBatch, Precision::kFp32);
    const fake_gpu::Counts twice = step_of(one.model, 2 * kBatch, Precision::kFp32);
    constexpr double kEntries = kBatch * kLatents;
    const auto more = static_cast<double>(twice.bytes - step.bytes);
    const double of_weight = (static_cast<double>(step.bytes) - more) / (kLatents * kWidth);
    const double peak = static_cast<double>(twice.peak - step.peak) / kEntries;
    print(one.name, step, {more / kEntries, of_weight, peak});
    EXPECT_LE(total(step.waits), budget.waits) << listed(step.waits);
    EXPECT_LE(total(step.operators), budget.operators) << listed(step.operators);
    EXPECT_LE(more / kEntries, budget.bytes_of_entry) << listed(step.bytes_of);
    EXPECT_LE(of_weight, budget.bytes_of_weight) << listed(step.bytes_of);
    EXPECT_LE(peak, budget.peak_of_entry);
  }
};

TEST_F(DeviceBudgets, AStepByOwnKernelsStaysWithinItsBudget) {
  ASSERT_EQ(prepare_device_kernels(at::Device(at::kCUDA, 0)), "");
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16}) {
    for (const Case& one : cases()) {
      SCOPED_TRACE(name_of(precision) + ", " + one.name);
      expect_within(one, one.own(precision), precision);
    }
  }
}

TEST_F(DeviceBudgets, AStepByOperatorsStaysWithinItsBudget) {
  use_device_kernels(DeviceKernels::kOff);
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.name);
    expect_within(one, one.operators);
  }
}

TEST_F(DeviceBudgets, LowerPrecisionWaitsNoMore) {
  use_device_kernels(DeviceKernels::kOff);
  for (const Precision precision : {Precision::kBf16, Precision::kTf32}) {
    for (const Case& one : cases()) {
      SCOPED_TRACE(one.name);
      const fake_gpu::Counts step = step_of(one.model, kBatch, precision);
      EXPECT_LE(total(step.waits), one.operators.waits) << listed(step.waits);
    }
  }
}

TEST_F(DeviceBudgets, DeadLatentsCostOneWait) {
  use_device_kernels(DeviceKernels::kOff);
  for (const Json& model : {kTopK, kBatchTopK}) {
    Json dying = model;
    dying["dead_after_tokens"] = 1;
    const fake_gpu::Counts step = step_of(dying, kBatch, Precision::kFp32);
    EXPECT_LE(total(step.waits), 1) << listed(step.waits);
  }
}

TEST_F(DeviceBudgets, AnotherNumberOfEntriesAsksForTheSameBlocksOfMemory) {
  TrainOptions train;
  train.steps = 100;
  train.batch = 8 * kBatch;
  train.log_every = 1000;
  train.schedule.lr = 1e-6;
  for (const Json& model : {kStandard, kJumpRelu}) {
    Trainer trainer(model_of(model), train);
    std::set<std::int64_t> known;
    std::int64_t fresh = 0;
    for (std::uint64_t step = 0; step < 6; ++step) {
      const at::Tensor x = input(train.batch, step);
      reset_counts();
      trainer.step(x);
      fresh = 0;
      for (const auto& [size, times] : counted().blocks) fresh += known.insert(size).second ? 1 : 0;
    }
    // What operators make of entries' values: numbers, and one byte each.
    EXPECT_LE(fresh, 2) << model.dump();
  }
}

/// Hands out plain float32 batches in pageable memory, as a user's own source does.
class Plain : public ActivationSource {
 public:
  std::int64_t d_in() const override { return kWidth; }
  at::Tensor next(std::int64_t count) override {
    return normal({count, kWidth},
                  static_cast<std::uint64_t>(std::exchange(position_, position_ + count)))
        .to(at::kFloat);
  }
  std::int64_t position() const override { return position_; }
  void seek(std::int64_t position) override { position_ = position; }
  std::string description() const override { return "plain"; }

 private:
  std::int64_t position_ = 0;
};

TEST_F(DeviceBudgets, EvaluationWaitsForNoBatch) {
  const Data data =
      open_data(config_from_json({{"kind", "synthetic"}, {"preset", "tiny"}}, "test"), 0);
  const auto sae = make_sae({{"architecture", "topk"}, {"d_in", 20}, {"d_sae", 40}, {"k", 3}});
  sae->to(at::kFloat);
  EvalOptions options;
  options.tokens = 300;
  options.batch = 64;
  const MetricValues expected = evaluate(*sae, data, options).values;
  const MetricValues brief = evaluate_reconstruction(*sae, data, 300, 64, {});
  const at::Tensor rows = data.held_out()->next(100);
  const Codes codes = encode_all(*sae, rows, 32);
  sae->to(at::Device(at::kCUDA, 0));
  const auto unwaited = [&](const char* what) {
    EXPECT_EQ(counted().waits["copy from the host"], 0) << what << ": " << listed(counted().waits);
    reset_counts();
  };
  reset_counts();
  const MetricValues values = evaluate(*sae, data, options).values;
  for (const auto& [name, value] : expected) {
    if (!std::isfinite(value)) continue;
    EXPECT_NEAR(values.at(name), value, 1e-4) << name;
  }
  unwaited("evaluate");
  for (const auto& [name, value] : evaluate_reconstruction(*sae, data, 300, 64, {})) {
    EXPECT_NEAR(brief.at(name), value, 1e-4) << name;
  }
  unwaited("evaluate_reconstruction");
  expect_close(encode_all(*sae, rows, 32).values(), codes.values(), "codes", 1e-5);
  unwaited("encode_all");
}

TEST_F(DeviceBudgets, BatchesTravelWithoutAWaitAndTheSourceStandsWhereTheyEnded) {
  Plain source;
  {
    DeviceBatches batches(source, at::Device(at::kCUDA, 0), 8, 24);
    reset_counts();
    for (std::int64_t i = 0; i < 2; ++i) {
      const at::Tensor x = batches.next();
      EXPECT_TRUE(x.is_cuda());
      EXPECT_EQ(total(counted().waits), 0) << listed(counted().waits);
      EXPECT_TRUE(at::equal(x.cpu(),
                            normal({8, kWidth}, 8 * static_cast<std::uint64_t>(i)).to(at::kFloat)));
      reset_counts();
    }
    EXPECT_EQ(source.position(), 24) << "one ahead";
  }
  EXPECT_EQ(source.position(), 16);
  DeviceBatches rest(source, at::Device(at::kCUDA, 0), 8, 11);
  EXPECT_EQ(rest.next().size(0), 8);
  EXPECT_EQ(rest.next().size(0), 3);
  EXPECT_THROW(rest.next(), std::logic_error);
}

}  // namespace
}  // namespace sae

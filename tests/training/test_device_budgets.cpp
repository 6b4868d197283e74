// What a training step on a GPU may cost: waits of the host for the device, operators, bytes that
// operators read and write, memory. Counted by the fake GPU.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "sae/cuda/device_kernels.h"
#include "sae/training/trainer.h"
#include "support/fake_gpu.h"
#include "support/sae_testing.h"
#include "training/device_batches.h"

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

/// At most so much a step by kernels of ours. Bytes are those of arguments and results, in units
/// of h [B, F] and a weight matrix [F, D] together.
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
  OwnBudget own;
  Budget operators;
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
      {"topk", kTopK, {0, 63, 14}, {0, 87, 78, 144, 17}},
      {"topk, Bernoulli", with_mask(kTopK, kBernoulli), {0, 111, 15}, {0, 143, 79, 158, 17}},
      {"topk, nested", with_mask(kTopK, kNested), {0, 96, 17}, {0, 128, 80, 174, 17}},
      {"topk, expected", with_mask(kTopK, kExpected), {1, 150, 19}, {1, 174, 90, 178, 17}},
      {"batch_topk", kBatchTopK, {0, 75, 32}, {0, 94, 95, 144, 25}},
      {"batch_topk, nested", with_mask(kBatchTopK, kNested), {0, 108, 36}, {0, 135, 96, 173, 25}},
      {"matryoshka", kMatryoshka, {0, 127, 33}, {0, 140, 101, 144, 25}},
      {"jumprelu", kJumpRelu, {1, 108, 13}, {1, 124, 19, 149, 1}},
      {"standard", kStandard, {1, 74, 12}, {1, 90, 18, 144, 1}},
      {"standard, nested", with_mask(kStandard, kNested), {1, 107, 16}, {1, 131, 19, 174, 1}},
      {"atm", kAtm, {1, 122, 14}, {1, 146, 18, 158, 1}},
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
    // About four of the latents of an architecture without a k.
    if (!options.contains("k")) sae->b_enc.fill_(-28);
    sae->to(at::Device(at::kCUDA, 0));
    return sae;
  }

  /// What the third step counts.
  fake_gpu::Counts step_of(const Json& options, std::int64_t batch, Precision precision) const {
    TrainOptions train;
    train.steps = 100;
    train.batch = batch;
    train.log_every = 1000;
    train.schedule.lr = 1e-6;
    Trainer trainer(model_of(options), train, 0, precision);
    for (std::uint64_t step = 0; step < 2; ++step) trainer.step(input(batch, step));
    const at::Tensor x = input(batch, 2);
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

  void expect_within(const Case& one, const OwnBudget& budget) const {
    const fake_gpu::Counts step = step_of(one.model, kBatch, Precision::kFp32);
    const double bytes = static_cast<double>(step.bytes) / (4.0 * kLatents * (kBatch + kWidth));
    print(one.name, step, {bytes});
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
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.name);
    expect_within(one, one.own);
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

TEST_F(DeviceBudgets, BatchesTravelWithoutAWaitAndTheSourceStandsWhereTheyEnded) {
  Plain source;
  {
    DeviceBatches batches(source, at::Device(at::kCUDA, 0), 8, 3);
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
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>

#include "sae/models/sparsity.h"

namespace sae {
namespace {

double lambda(const SparsityControl& control, std::int64_t step = 1'000'000) {
  return control.coefficient(step).item<double>();
}

TEST(SparsityControl, WarmsUpLinearlyFromZero) {
  SparsityOptions options;
  options.sparsity = 8;
  options.sparsity_warmup_steps = 4;
  const SparsityControl control(options);
  EXPECT_EQ(lambda(control, 0), 0);
  EXPECT_EQ(lambda(control, 1), 2);
  EXPECT_EQ(lambda(control, 3), 6);
  EXPECT_EQ(lambda(control, 4), 8);
  EXPECT_EQ(lambda(control, 400), 8);
  options.sparsity_warmup_steps = 0;
  EXPECT_EQ(lambda(SparsityControl(options), 0), 8);
}

TEST(SparsityControl, StaysWhereItIsWithoutATarget) {
  SparsityOptions options;
  options.sparsity = 0.5;
  SparsityControl control(options);
  for (int step = 0; step < 10; ++step) control.observe(at::scalar_tensor(1000), 0);
  EXPECT_EQ(lambda(control), 0.5);
}

TEST(SparsityControl, MovesByTheEquationsOfItsHeader) {
  SparsityOptions options;
  options.sparsity = 2;
  options.target_l0 = 10;
  options.target_rate = 0.01;
  SparsityControl control(options);
  control.observe(at::scalar_tensor(14.0), 0);  // mean 14, trend 0
  double multiplier = 1 + 0.01 * std::tanh(4.0);
  EXPECT_NEAR(lambda(control), 2 * multiplier, 1e-6);
  control.observe(at::scalar_tensor(4.0), 0);  // mean 13.5, trend -.025
  multiplier *= 1 + 0.01 * std::tanh(13.5 - 2.5 - 10);
  EXPECT_NEAR(lambda(control), 2 * multiplier, 1e-6);
  control.observe(at::scalar_tensor(30.0), 0);  // mean 14.325, trend -.02375 + .04125
  multiplier *= 1 + 0.01 * std::tanh(14.325 + 1.75 - 10);
  EXPECT_NEAR(lambda(control), 2 * multiplier, 1e-6);
}

/// Where a toy ends after a short run of 2900 steps: its L0 starts far too high, falls as lambda
/// grows and follows it over about `lag` steps.
double steered_l0(double sparsity, double target, double lag) {
  SparsityOptions options;
  options.sparsity = sparsity;
  options.target_l0 = target;
  SparsityControl control(options);
  double l0 = 300;
  for (int step = 0; step < 2900; ++step) {
    l0 += (60 / (1 + 2 * lambda(control)) - l0) / lag;
    const double noise = (step * 7919 % 13 - 6) / 300.0;
    control.observe(at::scalar_tensor(l0 * (1 + noise)), 0);
  }
  return l0;
}

TEST(SparsityControl, ReachesItsTargetFromEitherSide) {
  for (const double target : {4.0, 20.0}) {
    for (const double lag : {5.0, 100.0}) {
      EXPECT_NEAR(steered_l0(0.05, target, lag), target, 0.02 * target);
      EXPECT_NEAR(steered_l0(20, target, lag), target, 0.02 * target);
    }
  }
}

TEST(SparsityControl, StaysWithinAFactorOfAThousand) {
  SparsityOptions options;
  options.target_l0 = 1;
  options.target_rate = 1;
  SparsityControl up(options);
  SparsityControl down(options);
  for (int step = 0; step < 200; ++step) {
    up.observe(at::scalar_tensor(50.0 + step), 0);
    down.observe(at::scalar_tensor(0.0), 0);
  }
  EXPECT_NEAR(lambda(up), 1e3, 1e-3);
  EXPECT_NEAR(lambda(down), 1e-3, 1e-9);
}

TEST(SparsityControl, KeepsItsStateInOneBuffer) {
  SparsityOptions options;
  options.target_l0 = 5;
  SparsityControl control(options);
  SparsityControl other(options);
  const at::Tensor held = control.coefficient(0);
  for (int step = 0; step < 20; ++step) control.observe(at::scalar_tensor(9.0 + step % 3), 0);
  EXPECT_EQ(held.item<double>(), 1) << "a coefficient in use does not move";
  ASSERT_EQ(control.named_buffers().size(), 1U);
  other.named_buffers()["state"].copy_(control.named_buffers()["state"]);
  for (int step = 0; step < 5; ++step) {
    control.observe(at::scalar_tensor(3.0), 0);
    other.observe(at::scalar_tensor(3.0), 0);
    EXPECT_EQ(lambda(control), lambda(other));
  }
}

}  // namespace

TEST(SparsityControl, StartsToSteerOnlyWhenTheWarmUpIsOver) {
  SparsityControl control({.sparsity = 2, .sparsity_warmup_steps = 10, .target_l0 = 5.0});
  for (int step = 0; step < 10; ++step) control.observe(at::scalar_tensor(100.0), step);
  EXPECT_DOUBLE_EQ(control.coefficient(10).item<double>(), 2);
  control.observe(at::scalar_tensor(100.0), 10);
  EXPECT_GT(control.coefficient(11).item<double>(), 2);
}

}  // namespace sae

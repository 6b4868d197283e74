#include <gtest/gtest.h>

#include <string>

#include "sae/training/schedule.h"

namespace sae {
namespace {

ScheduleOptions schedule(std::int64_t warmup, LrDecay decay, double share, double end = 0) {
  ScheduleOptions options;
  options.lr = 2;
  options.lr_warmup_steps = warmup;
  options.lr_decay = decay;
  options.lr_decay_share = share;
  options.lr_end = end;
  return options;
}

TEST(Schedule, WarmsUpLinearlyFromTheFirstStep) {
  const ScheduleOptions options = schedule(4, LrDecay::kNone, 0);
  EXPECT_DOUBLE_EQ(learning_rate(options, 0, 10), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(options, 2, 10), 1.5);
  EXPECT_DOUBLE_EQ(learning_rate(options, 3, 10), 2);
  EXPECT_DOUBLE_EQ(learning_rate(options, 9, 10), 2);
}

TEST(Schedule, DecaysLinearlyToItsEndOneStepAfterTheLast) {
  const ScheduleOptions options = schedule(0, LrDecay::kLinear, 0.5, 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(options, 5, 10), 2);
  EXPECT_DOUBLE_EQ(learning_rate(options, 6, 10), 2 * (0.1 + 0.9 * 0.8));
  EXPECT_DOUBLE_EQ(learning_rate(options, 9, 10), 2 * (0.1 + 0.9 * 0.2));
  EXPECT_DOUBLE_EQ(learning_rate(options, 10, 10), 0.2);
}

TEST(Schedule, CosineIsHalfWayDownInTheMiddleOfTheDecay) {
  const ScheduleOptions options = schedule(0, LrDecay::kCosine, 1);
  EXPECT_DOUBLE_EQ(learning_rate(options, 0, 8), 2);
  EXPECT_DOUBLE_EQ(learning_rate(options, 4, 8), 1);
  EXPECT_NEAR(learning_rate(options, 8, 8), 0, 1e-15);
  EXPECT_GT(learning_rate(options, 1, 8), 2 * 7.0 / 8);  // flatter than linear at its start
}

TEST(Schedule, TakesTheSmallerWhereWarmUpAndDecayOverlap) {
  const ScheduleOptions options = schedule(10, LrDecay::kLinear, 1);
  EXPECT_DOUBLE_EQ(learning_rate(options, 2, 10), 2 * 0.3);
  EXPECT_DOUBLE_EQ(learning_rate(options, 8, 10), 2 * 0.2);
}

TEST(Schedule, AShareOfZeroNeverDecays) {
  EXPECT_DOUBLE_EQ(learning_rate(schedule(0, LrDecay::kLinear, 0), 9, 10), 2);
}

}  // namespace
}  // namespace sae

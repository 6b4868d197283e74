#include <gtest/gtest.h>

#include <cmath>

#include "sae/evaluation/consistency.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

at::Tensor units(std::int64_t rows, std::int64_t width, std::uint64_t index) {
  const at::Tensor out = normal({rows, width}, index);
  return out / out.norm(2, 1, true);
}

TEST(Consistency, OfADictionaryWithItsPermutedSelfIsWhole) {
  const at::Tensor rows = units(200, 48, 1);
  const at::Tensor order = at::argsort(normal({200}, 2));
  const at::Tensor other = 7 * rows.index_select(0, order);
  const SeedConsistency got = consistency_of({rows, rows}, {other, other});
  EXPECT_NEAR(got.pw_mcc, 1, 1e-6);
  EXPECT_EQ(got.shared, 1);
  const at::Tensor strange = units(200, 48, 3);
  EXPECT_EQ(consistency_of({rows, rows}, {other, strange}).shared, 0) << "the encoders differ";
}

TEST(Consistency, OfHalfADictionaryUnderNoise) {
  const at::Tensor rows = units(512, 96, 1);
  at::Tensor other = rows.clone();
  other.slice(0, 256).copy_(units(256, 96, 5));
  other += 0.5 / std::sqrt(96.0) * normal({512, 96}, 6);
  const SeedConsistency got = consistency_of({rows, rows}, {other, other});
  EXPECT_NEAR(got.pw_mcc, .58, 0.03);
  EXPECT_NEAR(got.shared, .50, 0.03);
}

TEST(Consistency, ByChanceDependsOnTheShape) {
  const SeedConsistency small = consistency_by_chance(512, 512, 96);
  EXPECT_NEAR(small.pw_mcc, .29, 0.02);
  EXPECT_EQ(small.shared, 0);
  EXPECT_NEAR(consistency_by_chance(1024, 1024, 384).pw_mcc, .15, 0.03);
  EXPECT_LT(consistency_by_chance(32, 32, 96).pw_mcc, small.pw_mcc);
  EXPECT_EQ(consistency_by_chance(512, 512, 96).pw_mcc, small.pw_mcc);
  EXPECT_TRUE(std::isnan(
      consistency_of({at::zeros({0, 4}), at::zeros({0, 4})}, {units(3, 4, 1), units(3, 4, 1)})
          .pw_mcc));
}

TEST(Consistency, MoreLatentsThanFitIntoMemoryAreNotMeasured) {
  const at::Tensor row = at::ones({1, 4});
  const FiringRows many{row.expand({30'000, 4}), row.expand({30'000, 4})};
  EXPECT_TRUE(std::isnan(consistency_of(many, many).pw_mcc));
  EXPECT_TRUE(std::isnan(consistency_by_chance(30'000, 30'000, 4).shared));
  const FiringRows few{row, row};
  EXPECT_NEAR(consistency_of(many, few).pw_mcc, 1, 1e-6) << "one with many fits";
}

}  // namespace
}  // namespace sae

#include <ATen/core/PhiloxRNGEngine.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "sae/base/rng.h"

namespace sae {
namespace {

using Block = std::array<std::uint32_t, 4>;

TEST(Rng, MatchesThePublishedPhiloxVectors) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, ReadsTheBlocksOfItsCounterInOrder) {
  Rng rng(0x0000000500000007ULL, Stream::kTest, 0x0000000200000003ULL);
  for (std::uint32_t block = 0; block < 3; ++block) {
    const Block expected = philox({block, 64, 3, 2}, {7, 5});
    for (const std::uint32_t word : expected) EXPECT_EQ(rng.next(), word);
  }
}

TEST(Rng, GivesTheNumbersOfLibTorchsEngine) {
  for (const std::uint64_t seed : {0ULL, 7ULL, 0x123456789abcdefULL}) {
    for (const std::uint64_t index : {0ULL, 5ULL, 0xfedcba987ULL}) {
      Rng ours(seed, Stream::kTest, index);
      at::Philox4_32 theirs(seed, index, static_cast<std::uint64_t>(Stream::kTest) << 32);
      for (int i = 0; i < 40; ++i) ASSERT_EQ(ours.next(), theirs()) << seed << " " << index;
    }
  }
}

TEST(Rng, GivesOtherNumbersForAnotherSeedStreamOrIndex) {
  const auto first = [](std::uint64_t seed, Stream stream, std::uint64_t index) {
    return Rng(seed, stream, index).next();
  };
  const std::uint32_t base = first(1, Stream::kTest, 2);
  EXPECT_EQ(first(1, Stream::kTest, 2), base);
  EXPECT_NE(first(2, Stream::kTest, 2), base);
  EXPECT_NE(first(1ULL + (1ULL << 32), Stream::kTest, 2), base);
  EXPECT_NE(first(1, Stream::kInit, 2), base);
  EXPECT_NE(first(1, Stream::kTest, 3), base);
  EXPECT_NE(first(1, Stream::kTest, 2ULL + (1ULL << 32)), base);
}

// Fixed seeds; the bounds are 5 standard errors, so a wrong distribution shows and chance does not.
constexpr int kDraws = 400'000;

TEST(Rng, DrawsUniformNumbersStrictlyInsideTheUnitInterval) {
  Rng rng(1, Stream::kTest, 0);
  std::vector<int> bins(64);
  double sum = 0;
  double square = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = rng.uniform();
    ASSERT_GT(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++bins[static_cast<std::size_t>(u * 64)];
    sum += u;
    square += (u - 0.5) * (u - 0.5);
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(1.0 / 12 / kDraws));
  EXPECT_NEAR(square / kDraws, 1.0 / 12, 5 * std::sqrt(1.0 / 180 / kDraws));
  const double expected = kDraws / 64.0;
  double chi2 = 0;
  for (const int count : bins) chi2 += (count - expected) * (count - expected) / expected;
  EXPECT_NEAR(chi2, 63, 5 * std::sqrt(2.0 * 63));
}

TEST(Rng, DrawsNormalNumbersWithTheRightMomentsAndTails) {
  Rng rng(2, Stream::kTest, 0);
  std::array<double, 4> moment{};
  double neighbours = 0;
  double previous = 0;
  int beyond_two = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double n = rng.normal();
    double power = 1;
    for (double& m : moment) m += (power *= n);
    neighbours += n * previous;
    previous = n;
    beyond_two += std::abs(n) > 2;
  }
  const double error = 5 / std::sqrt(double{kDraws});
  EXPECT_NEAR(moment[0] / kDraws, 0, error);
  EXPECT_NEAR(moment[1] / kDraws, 1, error * std::sqrt(2.0));
  EXPECT_NEAR(moment[2] / kDraws, 0, error * std::sqrt(15.0));
  EXPECT_NEAR(moment[3] / kDraws, 3, error * std::sqrt(96.0));
  EXPECT_NEAR(neighbours / kDraws, 0, error);
  const double tail = std::erfc(2 / std::sqrt(2.0));
  EXPECT_NEAR(double{1} * beyond_two / kDraws, tail, error * std::sqrt(tail * (1 - tail)));
}

TEST(Rng, DrawsBelowABoundWithoutBias) {
  Rng rng(3, Stream::kTest, 0);
  std::array<int, 7> count{};
  for (int i = 0; i < kDraws; ++i) {
    const std::uint64_t value = rng.below(7);
    ASSERT_LT(value, 7U);
    ++count[value];
  }
  const double p = 1.0 / 7;
  for (const int c : count) {
    EXPECT_NEAR(double{1} * c / kDraws, p, 5 * std::sqrt(p * (1 - p) / kDraws));
  }
  EXPECT_EQ(rng.below(1), 0U);
  // A bound of 3/4 of 2^64: without rejection the lower half would come up twice as often.
  const std::uint64_t bound = 3ULL << 62;
  int low = 0;
  for (int i = 0; i < 10'000; ++i) low += rng.below(bound) < (1ULL << 62);
  EXPECT_NEAR(low / 10'000.0, 1.0 / 3, 5 * std::sqrt(2.0 / 9 / 10'000));
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>

#include <array>

// Each needs those before it.
// clang-format off
#include "cuda_on_cpu.h"
#include "../../src/cuda/common.cuh"
#include "../../src/cuda/draw.cu"
// clang-format on

namespace {

using Block = std::array<std::uint32_t, 4>;

/// Philox4x32-10 as its paper states it, in 64-bit products.
Block plain_philox(Block counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {std::uint32_t(b >> 32) ^ counter[1] ^ key[0], std::uint32_t(b),
               std::uint32_t(a >> 32) ^ counter[3] ^ key[1], std::uint32_t(a)};
    key = {key[0] + 0x9E3779B9U, key[1] + 0xBB67AE85U};
  }
  return counter;
}

/// The host's reader of a stream: one word after the other, two to a uniform number.
class PlainStream {
 public:
  PlainStream(std::uint64_t seed, std::uint32_t stream, std::uint64_t index)
      : key_{std::uint32_t(seed), std::uint32_t(seed >> 32)},
        counter_{0, stream, std::uint32_t(index), std::uint32_t(index >> 32)} {}
  double uniform() {
    const std::uint64_t high = next() >> 6;
    const std::uint64_t low = next() >> 6;
    return (static_cast<double>((high << 26) | low) + 0.5) * 0x1p-52;
  }

 private:
  std::uint32_t next() {
    if (used_ == 4) {
      words_ = plain_philox(counter_, key_);
      ++counter_[0];
      used_ = 0;
    }
    return words_[used_++];
  }
  std::array<std::uint32_t, 2> key_;
  Block counter_;
  Block words_{};
  std::size_t used_ = 4;
};

Block device_philox(Block counter, std::array<std::uint32_t, 2> key) {
  const uint4 word =
      philox_block({counter[0], counter[1], counter[2], counter[3]}, {key[0], key[1]});
  return {word.x, word.y, word.z, word.w};
}

TEST(CudaDraw, MatchesThePublishedPhiloxVectors) {
  for (const auto& philox : {plain_philox, device_philox}) {
    EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
              (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    EXPECT_EQ(philox({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}),
              (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  }
}

std::vector<float> mask_of(std::uint64_t seed, unsigned stream, std::uint64_t index,
                           const std::vector<float>& probability) {
  std::vector<float> mask(probability.size(), -7);
  const unsigned grid = static_cast<unsigned>((probability.size() + 511) / 512);
  cpu::launch({grid}, {256}, [&] {
    bernoulli_mask(seed, stream, index, probability.data(),
                   static_cast<long long>(probability.size()), mask.data());
  });
  return mask;
}

TEST(CudaDraw, MasksTheLatentsThatTheHostMasks) {
  std::mt19937 random(3);
  for (const std::size_t F : {1U, 2U, 3U, 511U, 512U, 513U, 3001U}) {
    for (const std::uint64_t seed : {0ULL, 42ULL, 0x123456789abcdefULL}) {
      for (const std::uint64_t index : {0ULL, 7ULL, 0xfedcba987ULL}) {
        std::vector<float> probability(F);
        PlainStream probe(seed, 4, index);
        for (float& p : probability) {
          const auto draw = static_cast<float>(probe.uniform());
          switch (random() % 6) {  // equal to the draw, one step beside it, elsewhere
            case 0:
              p = draw;
              break;
            case 1:
              p = std::nextafter(draw, 2.F);
              break;
            case 2:
              p = std::nextafter(draw, -1.F);
              break;
            case 3:
              p = NAN;
              break;
            default:
              p = static_cast<float>(random() % 1001) / 1000;
          }
        }
        PlainStream host(seed, 4, index);
        std::vector<float> expected(F);
        for (std::size_t i = 0; i < F; ++i) {
          expected[i] = static_cast<float>(host.uniform()) >= probability[i] ? 1.F : 0.F;
        }
        ASSERT_EQ(mask_of(seed, 4, index, probability), expected) << F << " " << seed;
      }
    }
  }
}

TEST(CudaDraw, GivesOtherMasksForAnotherSeedStreamOrIndex) {
  const std::vector<float> half(600, 0.5F);
  const std::vector<float> base = mask_of(1, 4, 2, half);
  EXPECT_EQ(mask_of(1, 4, 2, half), base);
  EXPECT_NE(mask_of(2, 4, 2, half), base);
  EXPECT_NE(mask_of(1ULL + (1ULL << 32), 4, 2, half), base);
  EXPECT_NE(mask_of(1, 5, 2, half), base);
  EXPECT_NE(mask_of(1, 4, 3, half), base);
  EXPECT_NE(mask_of(1, 4, 2 + (1ULL << 32), half), base);
}

}  // namespace

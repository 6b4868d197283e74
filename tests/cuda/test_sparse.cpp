// Kernels of src/cuda/sparse.cu on the CPU against plain float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "cuda_on_cpu.h"
#include "numbers.h"
// The prelude goes first.
// clang-format off
#include "../../src/cuda/common.cuh"
#include "../../src/cuda/sparse.cu"
// clang-format on

namespace {

using Longs = std::vector<long long>;

Floats poisoned(long long n) { return Floats(at(n), kNaN); }

bool same_bytes(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// A sum in float64 beside the size of its terms, which its error in float32 is measured by.
struct Sum {
  double value = 0;
  double size = 0;
  double terms = 0;

  void add(double term) {
    value += term;
    size += std::abs(term);
    ++terms;
  }
  bool is(float other) const {
    if (std::isnan(value)) return std::isnan(other);
    if (std::isinf(value)) return value == other;
    const double normal = (2 + std::sqrt(terms)) * 6e-8 * size;  // of rounding to 24 bits
    const double denormal = (1 + terms) * 7e-46;                 // and to the smallest float
    return std::abs(value - other) <= normal + denormal;
  }
};

struct Pattern {
  long long B = 0;
  long long F = 0;
  Longs indices, offsets;         // token by token
  Longs entries, tokens, starts;  // latent by latent
  long long nnz() const { return static_cast<long long>(indices.size()); }
};

/// What `latents(token)`, ascending, say, and the same latent by latent.
template <class Latents>
Pattern pattern_of(long long B, long long F, const Latents& latents) {
  Pattern p;
  p.B = B;
  p.F = F;
  p.offsets = {0};
  for (long long b = 0; b < B; ++b) {
    for (const long long latent : latents(b)) p.indices.push_back(latent);
    p.offsets.push_back(p.nnz());
  }
  p.entries.resize(p.indices.size());
  std::iota(p.entries.begin(), p.entries.end(), 0);
  std::stable_sort(p.entries.begin(), p.entries.end(),
                   [&](long long a, long long b) { return p.indices[at(a)] < p.indices[at(b)]; });
  for (const long long e : p.entries) {
    p.tokens.push_back(std::upper_bound(p.offsets.begin(), p.offsets.end(), e) - p.offsets.begin() -
                       1);
  }
  for (long long i = 0; i <= F; ++i) {
    p.starts.push_back(std::count_if(p.indices.begin(), p.indices.end(),
                                     [i](long long latent) { return latent < i; }));
  }
  return p;
}

/// Tokens with so many entries of random latents.
Pattern with_entries(const Longs& counts, long long F, unsigned seed) {
  std::mt19937 random(seed);
  return pattern_of(static_cast<long long>(counts.size()), F, [&](long long b) {
    Longs all(at(F));
    std::iota(all.begin(), all.end(), 0);
    std::shuffle(all.begin(), all.end(), random);
    all.resize(at(counts[at(b)]));
    std::sort(all.begin(), all.end());
    return all;
  });
}

/// Latents with so many entries, in the first tokens each.
Pattern with_popularity(const Longs& counts) {
  const long long most = counts.empty() ? 0 : *std::max_element(counts.begin(), counts.end());
  return pattern_of(most, static_cast<long long>(counts.size()), [&](long long b) {
    Longs all;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (b < counts[i]) all.push_back(static_cast<long long>(i));
    }
    return all;
  });
}

/// How the host launches kernels that come in widths.
struct Launch {
  unsigned tiles;
  int width;  // 1 to 4, or 5: `_s`
  unsigned threads;
};
Launch launch_for(long long D) {
  const long long units = D % 4 == 0 ? D / 4 : D;
  const long long tiles = ceiling(units, 1024);
  const long long of_tile = ceiling(units, tiles);
  const long long width = D % 4 == 0 ? ceiling(of_tile, 256) : 4;
  return {static_cast<unsigned>(tiles), static_cast<int>(D % 4 == 0 ? width : 5),
          static_cast<unsigned>(ceiling(ceiling(of_tile, width), 32) * 32)};
}

/// The same with W in bfloat16: 1, 2, or 3 for `_bs`.
Launch low_launch_for(long long D) {
  if (D % 8 != 0) return {static_cast<unsigned>(ceiling(D, 1024)), 3, 256};
  const long long tiles = ceiling(D / 8, 512);
  const long long of_tile = ceiling(D / 8, tiles);
  const long long width = ceiling(of_tile, 256);
  return {static_cast<unsigned>(tiles), static_cast<int>(width),
          static_cast<unsigned>(ceiling(ceiling(of_tile, width), 32) * 32)};
}

constexpr auto kLowGatherSum = std::array{gather_sum_b1, gather_sum_b2, gather_sum_bs};
constexpr auto kGatherSum =
    std::array{gather_sum_1, gather_sum_2, gather_sum_3, gather_sum_4, gather_sum_s};
constexpr auto kScatterSum =
    std::array{scatter_sum_1, scatter_sum_2, scatter_sum_3, scatter_sum_4, scatter_sum_s};

Floats run_gather_sum(const Launch& launch, const Pattern& p, const Floats& values, const Floats& W,
                      const float* bias, long long D) {
  Floats out = poisoned(p.B * D);
  cpu::launch({static_cast<unsigned>(p.B), launch.tiles}, {launch.threads}, [&] {
    kGatherSum[at(launch.width - 1)](values.data(), p.indices.data(), p.offsets.data(), W.data(),
                                     bias, D, out.data());
  });
  return out;
}

using Bits = std::vector<unsigned short>;
Bits low_of(const Floats& all) {
  Bits bits;
  for (const float x : all) bits.push_back(to_bf16(x));
  return bits;
}
Floats rounded(Floats all) {
  for (float& x : all) x = from_bf16(to_bf16(x));
  return all;
}

Floats run_gather_sum(const Launch& launch, const Pattern& p, const Floats& values, const Bits& W,
                      const float* bias, long long D) {
  Floats out = poisoned(p.B * D);
  cpu::launch({static_cast<unsigned>(p.B), launch.tiles}, {launch.threads}, [&] {
    kLowGatherSum[at(launch.width - 1)](values.data(), p.indices.data(), p.offsets.data(), W.data(),
                                        bias, D, out.data());
  });
  return out;
}

Floats run_gather_dot(unsigned threads, const Pattern& p, const Floats& rows, const Bits& W,
                      long long D) {
  Floats out = poisoned(p.nnz());
  cpu::launch({static_cast<unsigned>(p.B)}, {threads}, [&] {
    (D % 8 == 0 ? gather_dot_b8 : gather_dot_bs)(rows.data(), p.indices.data(), p.offsets.data(),
                                                 W.data(), D, out.data());
  });
  return out;
}

Floats run_gather_dot(unsigned threads, const Pattern& p, const Floats& rows, const Floats& W,
                      long long D) {
  Floats out = poisoned(p.nnz());
  cpu::launch({static_cast<unsigned>(p.B)}, {threads}, [&] {
    (D % 4 == 0 ? gather_dot_4 : gather_dot_s)(rows.data(), p.indices.data(), p.offsets.data(),
                                               W.data(), D, out.data());
  });
  return out;
}

Floats run_scatter_sum(const Launch& launch, const Pattern& p, const Floats& values,
                       const Floats& rows, long long D) {
  const long long slots = p.nnz() == 0 ? 0 : (p.nnz() - 1) / 256;
  Floats out = poisoned(p.F * D);
  Floats partial = poisoned(slots * D);
  cpu::launch({static_cast<unsigned>(p.F + slots), launch.tiles}, {launch.threads}, [&] {
    kScatterSum[at(launch.width - 1)](values.data(), p.entries.data(), p.tokens.data(),
                                      p.starts.data(), rows.data(), p.F, D, p.nnz(), out.data(),
                                      partial.data());
  });
  if (slots == 0) return out;
  const long long units = D % 4 == 0 ? D / 4 : D;
  cpu::launch({static_cast<unsigned>(slots), static_cast<unsigned>(ceiling(units, 64))}, {64}, [&] {
    (D % 4 == 0 ? scatter_finish_4 : scatter_finish_s)(p.starts.data(), p.F, D, partial.data(),
                                                       out.data());
  });
  return out;
}

// Every width, both sides of a tile's and a warp's borders, and rows that are no multiple of four.
const Longs kWidths = {4,    12,   128, 300, 1028, 1540, 2304, 2056, 4096,
                       4100, 4104, 1,   3,   7,    130,  1025, 4099};

void expect_gathered(const Pattern& p, const Floats& values, const Floats& W, const float* bias,
                     long long D, const Floats& out) {
  for (long long i = 0; i < p.B * D; ++i) {
    const long long token = i / D;
    Sum sum;
    if (bias != nullptr) sum.add(double{bias[i % D]});
    for (long long e = p.offsets[at(token)]; e < p.offsets[at(token + 1)]; ++e) {
      sum.add(double{values[at(e)]} * double{W[at(p.indices[at(e)] * D + i % D)]});
    }
    ASSERT_TRUE(sum.is(out[at(i)])) << "D " << D << ", token " << token << ", " << i % D << ": "
                                    << out[at(i)] << " is not " << sum.value;
  }
}

TEST(CudaGatherSum, IsTheSumInFloat64InEveryWidth) {
  const Pattern p = with_entries({0, 1, 32, 127, 128, 129, 257}, 261, 1);
  const Floats values = normal(p.nnz(), 2);
  for (const long long D : kWidths) {
    for (const float scale : {1.F, 1e-41F}) {
      const Floats W = normal(p.F * D, 3, scale);
      const Floats bias = normal(D, 4, scale);
      for (const float* b_dec : {bias.data(), static_cast<const float*>(nullptr)}) {
        expect_gathered(p, values, W, b_dec, D,
                        run_gather_sum(launch_for(D), p, values, W, b_dec, D));
        expect_gathered(p, values, rounded(W), b_dec, D,
                        run_gather_sum(low_launch_for(D), p, values, low_of(W), b_dec, D));
      }
    }
  }
}

TEST(CudaGatherSum, ReadsNoRowOfPadding) {
  for (const long long D : {8LL, 7LL}) {
    Pattern p = with_entries({3, 4, 0}, 5, 1);
    Floats values = normal(p.nnz(), 2);
    Floats W = normal(p.F * D, 3);
    const Floats expected = run_gather_sum(launch_for(D), p, values, W, nullptr, D);
    W.resize(at((p.F + 1) * D), kNaN);
    for (const long long padding : {-1LL, p.F, 1LL << 40}) {
      Pattern padded = p;
      Floats with_zeros = values;
      padded.indices.insert(padded.indices.begin() + 3, {padding, padding});
      with_zeros.insert(with_zeros.begin() + 3, {0.F, -0.F});
      for (std::size_t b = 1; b < padded.offsets.size(); ++b) padded.offsets[b] += 2;
      EXPECT_TRUE(
          same_bytes(run_gather_sum(launch_for(D), padded, with_zeros, W, nullptr, D), expected));
      EXPECT_TRUE(
          same_bytes(run_gather_sum(low_launch_for(D), padded, with_zeros, low_of(W), nullptr, D),
                     run_gather_sum(launch_for(D), p, values, rounded(W), nullptr, D)));
    }
  }
}

TEST(CudaGatherSum, HasTheSameBytesWithPaddingAnywhere) {
  for (const long long D : {8LL, 7LL}) {
    const Pattern p = with_entries({200}, 210, 1);
    const Floats values = normal(p.nnz(), 2);
    const Floats W = normal(p.F * D, 3);
    const Floats expected = run_gather_sum(launch_for(D), p, values, W, nullptr, D);
    for (const std::size_t at_once : {0U, 1U, 130U, 300U}) {  // in front, whole stages of it too
      std::mt19937 random(4);
      Pattern padded = p;
      padded.indices.assign(at_once, -1);
      Floats with_zeros(at_once, 0.F);
      for (std::size_t e = 0; e < values.size(); ++e) {
        padded.indices.push_back(p.indices[e]);
        with_zeros.push_back(values[e]);
        if (random() % 2 == 0) continue;
        padded.indices.push_back(-1);
        with_zeros.push_back(0);
      }
      padded.offsets[1] = padded.nnz();
      EXPECT_TRUE(
          same_bytes(run_gather_sum(launch_for(D), padded, with_zeros, W, nullptr, D), expected));
    }
  }
}

TEST(CudaGatherSum, HasTheSameBytesInEveryLaunch) {
  const Pattern p = with_entries({40, 0, 130}, 150, 5);
  const Floats values = normal(p.nnz(), 6);
  const long long D = 520;
  const Floats W = normal(p.F * D, 7);
  const Floats bias = normal(D, 8);
  const Floats expected = run_gather_sum(launch_for(D), p, values, W, bias.data(), D);
  for (const unsigned threads : {32U, 96U, 256U}) {
    for (const int width : {1, 2, 3, 4}) {
      const auto tiles = static_cast<unsigned>(ceiling(D / 4, threads * width));
      EXPECT_TRUE(same_bytes(run_gather_sum({tiles, width, threads}, p, values, W, bias.data(), D),
                             expected));
    }
  }
}

TEST(CudaGatherSum, PassesOnWhatIsNotFinite) {
  const Pattern p = with_entries({2, 2, 2}, 2, 1);
  const Floats values = {1, kNaN, kInfinity, 1, 2, 3};
  const Floats out = run_gather_sum(launch_for(1), p, values, Floats{1, 1}, nullptr, 1);
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_EQ(out[1], kInfinity);
  EXPECT_EQ(out[2], 5);
}

void expect_dots(const Pattern& p, const Floats& rows, const Floats& W, long long D,
                 const Floats& out) {
  for (long long e = 0; e < p.nnz(); ++e) {
    const long long token =
        std::upper_bound(p.offsets.begin(), p.offsets.end(), e) - p.offsets.begin() - 1;
    Sum sum;
    for (long long d = 0; d < D; ++d) {
      sum.add(double{rows[at(token * D + d)]} * double{W[at(p.indices[at(e)] * D + d)]});
    }
    ASSERT_TRUE(sum.is(out[at(e)])) << "D " << D << ", entry " << e;
  }
}

TEST(CudaGatherDot, IsTheProductInFloat64InEveryWidth) {
  const Pattern p = with_entries({0, 1, 2, 15, 16, 17, 40}, 41, 1);
  Longs widths = kWidths;
  widths.insert(widths.end(), {8196, 2050});  // rows of several tiles
  for (const long long D : widths) {
    const Floats rows = normal(p.B * D, 2);
    const Floats W = normal(p.F * D, 3);
    expect_dots(p, rows, W, D, run_gather_dot(256, p, rows, W, D));
    expect_dots(p, rows, rounded(W), D, run_gather_dot(256, p, rows, low_of(W), D));
  }
}

TEST(CudaGatherDot, DoesNotDependOnOtherEntriesOrTheBlock) {
  for (const long long D : {4100LL, 515LL}) {
    const Pattern p = with_entries({33}, 40, 1);
    const Floats rows = normal(D, 2);
    const Floats W = normal(p.F * D, 3);
    const Floats all = run_gather_dot(256, p, rows, W, D);
    for (const unsigned threads : {32U, 96U}) {
      EXPECT_TRUE(same_bytes(run_gather_dot(threads, p, rows, W, D), all));
    }
    for (const std::size_t e : {0U, 7U, 32U}) {
      const Pattern alone = pattern_of(1, p.F, [&](long long) { return Longs{p.indices[e]}; });
      EXPECT_TRUE(same_bytes(run_gather_dot(256, alone, rows, W, D), {all[e]}));
    }
  }
}

TEST(CudaGatherDot, OfANegativeLatentIsZero) {
  for (const long long D : {8LL, 7LL, 4100LL}) {
    Pattern p = with_entries({2, 1}, 3, 1);
    p.indices[1] = -1;
    Floats rows = normal(p.B * D, 2);
    rows[0] = kInfinity;
    const Floats W = normal(p.F * D, 3);
    for (const Floats& out :
         {run_gather_dot(64, p, rows, W, D), run_gather_dot(64, p, rows, low_of(W), D)}) {
      EXPECT_TRUE(std::isinf(out[0]));
      EXPECT_EQ(out[1], 0);
      EXPECT_TRUE(std::isfinite(out[2]));
    }
  }
}

TEST(CudaGatherDot, OfNoEntriesWritesNothing) {
  const Pattern p = with_entries({0, 0}, 3, 1);
  EXPECT_TRUE(run_gather_dot(64, p, normal(8, 2), normal(12, 3), 4).empty());
}

void expect_scattered(const Pattern& p, const Floats& values, const Floats& rows, long long D,
                      const Floats& out) {
  for (long long i = 0; i < p.F * D; ++i) {
    Sum sum;
    for (long long at_entry = p.starts[at(i / D)]; at_entry < p.starts[at(i / D + 1)]; ++at_entry) {
      sum.add(double{values[at(p.entries[at(at_entry)])]} *
              double{rows[at(p.tokens[at(at_entry)] * D + i % D)]});
    }
    ASSERT_TRUE(sum.is(out[at(i)])) << "D " << D << ", latent " << i / D << ", " << i % D << ": "
                                    << out[at(i)] << " is not " << sum.value;
  }
}

TEST(CudaScatterSum, IsTheSumInFloat64ForPopularAndSilentLatents) {
  const Pattern p = with_popularity({0, 1, 255, 256, 0, 257, 512, 5, 513, 1000, 0});
  const Floats values = normal(p.nnz(), 1);
  for (const long long D : {4LL, 260LL, 1540LL, 1LL, 7LL, 1025LL}) {
    const Floats rows = normal(p.B * D, 2);
    expect_scattered(p, values, rows, D, run_scatter_sum(launch_for(D), p, values, rows, D));
  }
}

TEST(CudaScatterSum, InEveryWidthIsTheSumInFloat64) {
  const Pattern p = with_popularity({3, 0, 300});
  const Floats values = normal(p.nnz(), 1);
  for (const long long D : kWidths) {
    const Floats rows = normal(p.B * D, 2);
    expect_scattered(p, values, rows, D, run_scatter_sum(launch_for(D), p, values, rows, D));
  }
}

TEST(CudaScatterSum, FindsTheChunksOfEveryPattern) {
  std::mt19937 random(1);
  for (int example = 0; example < 60; ++example) {
    const auto below = [&](unsigned n) { return static_cast<long long>(random() % n); };
    Longs counts(at(1 + below(9)));
    for (long long& count : counts) {  // borders of chunks, more often than chance
      count = below(2) == 0 ? below(700) : std::max(0LL, 256 * below(4) + below(3) - 1);
    }
    const Pattern p = with_popularity(counts);
    Floats values(p.indices.size());
    for (float& value : values) value = static_cast<float>(random() % 8);
    const Floats rows(at(p.B), 1);  // sums of small whole numbers are exact
    const Floats out = run_scatter_sum({1, 5, 32}, p, values, rows, 1);
    for (std::size_t i = 0; i < counts.size(); ++i) {
      double sum = 0;
      for (long long e = p.starts[i]; e < p.starts[i + 1]; ++e) {
        sum += values[at(p.entries[at(e)])];
      }
      ASSERT_EQ(out[i], sum) << "example " << example << ", latent " << i;
    }
  }
}

TEST(CudaScatterSum, HasTheSameBytesInEveryLaunch) {
  const Pattern p = with_popularity({2, 600, 0, 31});
  const Floats values = normal(p.nnz(), 1);
  const long long D = 132;
  const Floats rows = normal(p.B * D, 2);
  const Floats expected = run_scatter_sum(launch_for(D), p, values, rows, D);
  for (const int width : {1, 2, 3, 4}) {
    const auto tiles = static_cast<unsigned>(ceiling(D / 4, 32 * width));
    EXPECT_TRUE(same_bytes(run_scatter_sum({tiles, width, 32}, p, values, rows, D), expected));
  }
}

TEST(CudaScatterSum, LeavesOutEntriesThatAreOfNoLatentOrOfValueZero) {
  // Of each token the first entry is of latent -1 and the last of latent 3, of 3.
  const Pattern all = pattern_of(300, 3, [](long long b) {
    return b % 2 == 0 ? Longs{-1, 0, 3} : Longs{-1, 0, 2, 3};
  });
  const Floats values = normal(all.nnz(), 1);
  const Floats rows = normal(all.B * 4, 2);
  expect_scattered(all, values, rows, 4, run_scatter_sum(launch_for(4), all, values, rows, 4));

  const Pattern p = with_popularity({2, 1});
  const Floats out = run_scatter_sum({1, 5, 32}, p, {1, 3, 0}, {2, kNaN}, 1);
  EXPECT_EQ(out, (Floats{2, 6}));
}

TEST(CudaScatterSum, OfNoEntriesIsZero) {
  const Pattern p = with_popularity({0, 0, 0});
  EXPECT_EQ(run_scatter_sum(launch_for(8), p, {}, {}, 8), Floats(24, 0.F));
}

struct LatentSums {
  Floats fired, magnitude, contribution;
};
LatentSums run_latent_sums(const Pattern& p, const Floats& values, const float* slope,
                           bool magnitude = true) {
  LatentSums out{poisoned(p.F), poisoned(p.F), poisoned(p.F)};
  cpu::launch({static_cast<unsigned>(ceiling(p.F, 8))}, {256}, [&] {
    latent_sums(values.data(), slope, p.entries.data(), p.starts.data(), p.F, out.fired.data(),
                magnitude ? out.magnitude.data() : nullptr,
                slope != nullptr ? out.contribution.data() : nullptr);
  });
  return out;
}
Floats run_latent_sum(const Pattern& p, const Floats& values) {
  Floats out = poisoned(p.F);
  cpu::launch({static_cast<unsigned>(ceiling(p.F, 8))}, {256}, [&] {
    latent_sum(values.data(), p.entries.data(), p.starts.data(), p.F, out.data());
  });
  return out;
}

TEST(CudaLatentSums, AreTheSumsInFloat64ForPopularAndSilentLatents) {
  const Pattern p = with_popularity({0, 1, 31, 32, 33, 1023, 1024, 1025, 3000, 0, 2});
  const Floats values = normal(p.nnz(), 1);
  const Floats slope = normal(p.nnz(), 2);
  const LatentSums out = run_latent_sums(p, values, slope.data());
  for (std::size_t i = 0; i < at(p.F); ++i) {
    Sum magnitude;
    Sum contribution;
    double fired = 0;
    for (long long position = p.starts[i]; position < p.starts[i + 1]; ++position) {
      const std::size_t e = at(p.entries[at(position)]);
      fired += values[e] > 0;
      magnitude.add(double{values[e]});
      contribution.add(std::abs(double{slope[e]} * double{values[e]}));
    }
    EXPECT_EQ(out.fired[i], fired);
    EXPECT_TRUE(magnitude.is(out.magnitude[i]));
    EXPECT_TRUE(contribution.is(out.contribution[i]));
  }
  EXPECT_TRUE(same_bytes(run_latent_sum(p, values), out.magnitude));
}

TEST(CudaLatentSums, WriteWhatIsAskedForOnly) {
  const Pattern p = with_popularity({2, 1500, 0});
  const Floats values = normal(p.nnz(), 1);
  const LatentSums all = run_latent_sums(p, values, values.data());
  const LatentSums some = run_latent_sums(p, values, nullptr, /*magnitude=*/false);
  EXPECT_TRUE(same_bytes(some.fired, all.fired));
  EXPECT_TRUE(same_bytes(some.magnitude, poisoned(p.F)));
  EXPECT_TRUE(same_bytes(some.contribution, poisoned(p.F)));
}

TEST(CudaLatentSums, AddInAnOrderThatDependsOnTheCountAlone) {
  for (const long long count : {100LL, 2000LL}) {
    const Floats values = normal(count, 3);
    const Floats first = run_latent_sum(with_popularity({count}), values);
    for (const std::size_t place : {3U, 8U, 12U}) {
      Longs counts(14, 0);
      counts[place] = count;
      EXPECT_EQ(run_latent_sum(with_popularity(counts), values)[place], first[0]);
    }
  }
}

TEST(CudaLatentSums, PassOnWhatIsNotFinite) {
  const Pattern p = with_popularity({3, 2, 1100});
  Floats values(at(p.nnz()), 1);
  values[at(p.entries[1])] = kNaN;
  values[at(p.entries[4])] = kInfinity;
  values[at(p.entries[900])] = -1;
  const LatentSums out = run_latent_sums(p, values, values.data());
  EXPECT_EQ(out.fired, (Floats{2, 2, 1099}));  // NaN is not above 0
  EXPECT_TRUE(std::isnan(out.magnitude[0]));
  EXPECT_EQ(out.magnitude[1], kInfinity);
  EXPECT_EQ(out.magnitude[2], 1098);
  EXPECT_EQ(out.contribution[2], 1100);
}

double run_squared_error(const float* x_hat, const float* x, long long n, float* error) {
  const long long blocks = ceiling(n, 4096);
  std::vector<double> partial(at(blocks), kNaN);
  double total = kNaN;
  cpu::launch({static_cast<unsigned>(blocks)}, {256},
              [&] { squared_error(x_hat, x, n, error, partial.data()); });
  cpu::launch({1}, {256}, [&] { squared_error_finish(partial.data(), blocks, &total); });
  return total;
}

TEST(CudaSquaredError, IsTheSumOfSquaresWhereverArraysLie) {
  for (const long long n : {0LL, 1LL, 3LL, 4095LL, 4096LL, 4097LL, 20000LL}) {
    const Floats x_hat = normal(n + 1, 1, 1e20F);
    const Floats x = normal(n + 1, 2, 1e20F);
    Floats error = poisoned(n + 1);
    const double aligned = run_squared_error(x_hat.data(), x.data(), n, error.data());
    double sum = 0;
    for (std::size_t i = 0; i < at(n); ++i) {
      ASSERT_EQ(error[i], x_hat[i] - x[i]);
      sum += double{error[i]} * double{error[i]};
    }
    EXPECT_TRUE(std::isnan(error[at(n)])) << "written behind its end";
    EXPECT_NEAR(aligned, sum, 1e-13 * sum);
    EXPECT_EQ(run_squared_error(x_hat.data(), x.data(), n, nullptr), aligned);

    Floats shifted_x_hat = x_hat;
    Floats shifted_x = x;
    shifted_x_hat.insert(shifted_x_hat.begin(), kNaN);
    shifted_x.insert(shifted_x.begin(), kNaN);
    EXPECT_EQ(run_squared_error(shifted_x_hat.data() + 1, shifted_x.data() + 1, n, nullptr),
              aligned);
  }
}

TEST(CudaSquaredError, PassesOnWhatIsNotFinite) {
  Floats x(5000, 1);
  const Floats x_hat(5000, 2);
  x[4500] = kInfinity;
  EXPECT_EQ(run_squared_error(x_hat.data(), x.data(), 5000, nullptr), kInfinity);
  x[3] = kNaN;
  EXPECT_TRUE(std::isnan(run_squared_error(x_hat.data(), x.data(), 5000, nullptr)));
}

void expect_tokens(const Pattern& p) {
  Longs tokens(p.indices.size(), -7);
  cpu::launch({static_cast<unsigned>(ceiling(p.nnz(), 256))}, {256}, [&] {
    by_latent_tokens(p.offsets.data(), p.entries.data(), p.B, p.nnz(), tokens.data());
  });
  EXPECT_EQ(tokens, p.tokens);
}

TEST(CudaByLatent, FindsTheTokenOfEveryEntry) {
  expect_tokens(with_entries({0, 3, 0, 0, 40, 1, 7, 0}, 301, 1));
  expect_tokens(with_entries({255}, 255, 2));
  expect_tokens(with_entries({1}, 1, 3));
  expect_tokens(with_popularity({0, 0, 300, 0, 17, 0}));
  expect_tokens(pattern_of(5, 4, [](long long) { return Longs{-1, 0, 2, 4, 9}; }));
}

}  // namespace

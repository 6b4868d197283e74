// Kernels of src/cuda/nested.cu on the CPU against plain float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "cuda_on_cpu.h"
#include "numbers.h"
// The prelude goes first.
// clang-format off
#include "../../src/cuda/common.cuh"
#include "../../src/cuda/nested.cu"
// clang-format on

namespace {

using Longs = std::vector<long long>;
using Doubles = std::vector<double>;

/// A batch, its codes, and the order and chances of latents.
struct Example {
  long long B, F, D;
  Longs indices, offsets, order;
  Floats x, bias, W, values;
  Doubles chance;
  long long nnz() const { return static_cast<long long>(indices.size()); }
};

/// Tokens with so many entries of random latents; `plateaus`: chances that many latents share.
Example example_of(const Longs& counts, long long F, long long D, unsigned seed,
                   bool plateaus = false) {
  Example e{static_cast<long long>(counts.size()), F, D, {}, {0}, {}, {}, {}, {}, {}, {}};
  std::mt19937 random(seed);
  Longs all(at(F));
  std::iota(all.begin(), all.end(), 0);
  Longs by_rank = all;
  std::shuffle(by_rank.begin(), by_rank.end(), random);
  Longs rank(at(F));
  for (std::size_t r = 0; r < by_rank.size(); ++r) rank[at(by_rank[r])] = static_cast<long long>(r);
  e.chance.resize(at(F));
  for (std::size_t r = 0; r < by_rank.size(); ++r) {
    const double q = 1 - static_cast<double>(r) / static_cast<double>(F);
    e.chance[at(by_rank[r])] = plateaus ? std::ceil(4 * q) / 4 : q;
  }
  for (const long long count : counts) {
    std::shuffle(all.begin(), all.end(), random);
    Longs of_token(all.begin(), all.begin() + count);
    std::sort(of_token.begin(), of_token.end());
    const long long first = e.nnz();
    e.indices.insert(e.indices.end(), of_token.begin(), of_token.end());
    e.offsets.push_back(e.nnz());
    Longs places(at(count));
    std::iota(places.begin(), places.end(), first);
    std::sort(places.begin(), places.end(), [&](long long a, long long b) {
      return rank[at(e.indices[at(a)])] < rank[at(e.indices[at(b)])];
    });
    e.order.insert(e.order.end(), places.begin(), places.end());
  }
  e.x = normal(e.B * D, seed + 1);
  e.bias = normal(D, seed + 2);
  e.W = normal(F * D, seed + 3);
  e.values = normal(e.nnz(), seed + 4);
  return e;
}

struct Result {
  Floats x_hat, whole, later, dots;
  double square = 0;
};

/// Slices of `columns` columns by blocks of `threads`, everything poisoned before.
Result run(const Example& e, long long columns, unsigned threads, bool gradients = true) {
  const bool wide = e.D % 4 == 0;
  const long long of_unit = wide ? 4 : 1;
  Result out{Floats(at(e.B * e.D), kNaN), Floats(at(e.B * e.D), kNaN),
             Floats(at(e.nnz() * e.D), kNaN), Floats(at(e.nnz()), kNaN), 0};
  Floats dots;
  long long tiles = 0;
  for (long long column = 0; column < e.D; column += columns) {
    const long long width = std::min(columns, e.D - column);
    const long long own = ceiling(columns / of_unit, threads);
    std::vector<double> squares(at(own * e.B), std::nan(""));
    Floats later(at(e.nnz() * width), kNaN);
    Floats of_tiles(at(own * e.nnz()), kNaN);
    cpu::launch({static_cast<unsigned>(e.B), static_cast<unsigned>(own)}, {threads}, [&] {
      (wide ? nested_errors_4 : nested_errors_s)(
          e.x.data(), e.bias.data(), e.values.data(), e.indices.data(), e.order.data(),
          e.offsets.data(), e.chance.data(), e.W.data(), e.D, column, width, squares.data(),
          out.x_hat.data(), gradients ? out.whole.data() : nullptr, later.data(), of_tiles.data());
    });
    for (const double square : squares) out.square += square;
    for (long long entry = 0; entry < e.nnz(); ++entry) {
      std::copy_n(later.begin() + entry * width, width, out.later.begin() + entry * e.D + column);
    }
    dots.insert(dots.end(), of_tiles.begin(), of_tiles.end());
    tiles += own;
  }
  if (!gradients) return out;
  cpu::launch({static_cast<unsigned>(ceiling(e.nnz(), 256))}, {256},
              [&] { nested_dots(dots.data(), tiles, e.nnz(), -0.5F, out.dots.data()); });
  return out;
}

void expect_near(float got, double expected, double size, const char* what) {
  if (std::isnan(expected)) {
    ASSERT_TRUE(std::isnan(got)) << what;
    return;
  }
  ASSERT_NEAR(got, expected, 1e-5 * (1 + size)) << what;
}

/// As the formulas are written, in float64.
void expect_right(const Example& e, const Result& found) {
  double square = 0;
  double scale = 0;  // of squares
  for (long long b = 0; b < e.B; ++b) {
    const long long begin = e.offsets[at(b)];
    const long long n = e.offsets[at(b + 1)] - begin;
    const auto entry = [&](long long m) { return e.order[at(begin + m - 1)]; };  // from 1
    const auto chance = [&](long long m) {
      return m == 0 ? 1.0 : m > n ? 0.0 : e.chance[at(e.indices[at(entry(m))])];
    };
    std::vector<Doubles> error(at(n + 1), Doubles(at(e.D)));
    for (long long d = 0; d < e.D; ++d) {
      error[0][at(d)] = double{e.x[at(b * e.D + d)]} - double{e.bias[at(d)]};
      for (long long m = 1; m <= n; ++m) {
        const double row = e.W[at(e.indices[at(entry(m))] * e.D + d)];
        error[at(m)][at(d)] = error[at(m - 1)][at(d)] - double{e.values[at(entry(m))]} * row;
      }
      double size = 0;
      for (long long m = 0; m <= n; ++m) size = std::max(size, std::abs(error[at(m)][at(d)]));
      expect_near(found.x_hat[at(b * e.D + d)], double{e.x[at(b * e.D + d)]} - error[at(n)][at(d)],
                  size, "x_hat");
    }
    std::vector<Doubles> later(at(n + 1), Doubles(at(e.D)));
    for (long long d = 0; d < e.D; ++d) {
      double s = 0;
      double size = 0;
      for (long long m = n; m >= 0; --m) {
        const double p = chance(m) - chance(m + 1);
        square += p * error[at(m)][at(d)] * error[at(m)][at(d)];
        scale += error[at(m)][at(d)] * error[at(m)][at(d)];
        s += p * error[at(m)][at(d)];
        size = std::max(size, std::abs(error[at(m)][at(d)]));
        later[at(m)][at(d)] = s;
        const float got =
            m == 0 ? found.whole[at(b * e.D + d)] : found.later[at(entry(m) * e.D + d)];
        expect_near(got, s, size, "s");
      }
    }
    for (long long m = 1; m <= n; ++m) {
      double dot = 0;
      double size = 0;
      for (long long d = 0; d < e.D; ++d) {
        const double term =
            later[at(m)][at(d)] * double{e.W[at(e.indices[at(entry(m))] * e.D + d)]};
        dot += term;
        size += std::abs(term);
      }
      expect_near(found.dots[at(entry(m))], -0.5 * dot, size, "dot");
    }
  }
  if (std::isnan(square)) {
    EXPECT_TRUE(std::isnan(found.square));
  } else {
    EXPECT_NEAR(found.square, square, 1e-5 * (1 + scale));
  }
}

TEST(CudaNested, IsTheErrorAndItsGradientsInFloat64InEveryWidth) {
  for (const long long D : {1LL, 3LL, 4LL, 33LL, 128LL, 260LL, 1100LL}) {
    SCOPED_TRACE(D);
    const Example e = example_of({0, 1, 5, 63, 64, 65, 130, 0}, 150, D, 1);
    expect_right(e, run(e, D, 256));
  }
}

TEST(CudaNested, IsRightOfLatentsOfOneChance) {
  const Example e = example_of({20, 3, 40}, 64, 24, 2, /*plateaus=*/true);
  expect_right(e, run(e, 24, 32));
}

TEST(CudaNested, IsTheSameBySlicesAndSmallBlocksUpToTheOrderOfItsDots) {
  for (const long long D : {132LL, 67LL}) {
    const Example e = example_of({9, 0, 70}, 80, D, 3);
    const Result whole = run(e, D, 256);
    expect_right(e, whole);
    for (const long long columns : {32LL, 64LL}) {
      const Result parts = run(e, columns, 32);
      expect_right(e, parts);
      EXPECT_EQ(parts.x_hat, whole.x_hat);
      EXPECT_EQ(parts.whole, whole.whole);
      EXPECT_EQ(parts.later, whole.later);
    }
    const Result again = run(e, D, 256);
    EXPECT_EQ(again.dots, whole.dots);
    EXPECT_EQ(again.square, whole.square);
  }
}

TEST(CudaNested, WithoutGradientsWritesNoneOfThem) {
  const Example e = example_of({4, 7}, 9, 8, 4);
  const Result with = run(e, 8, 32);
  const Result without = run(e, 8, 32, /*gradients=*/false);
  EXPECT_EQ(without.x_hat, with.x_hat);
  EXPECT_EQ(without.square, with.square);
  for (const float value : without.whole) EXPECT_TRUE(std::isnan(value));
  for (const float value : without.later) EXPECT_TRUE(std::isnan(value));
}

TEST(CudaNested, OfZerosAndOfNoEntriesIsTheErrorOfTheBias) {
  Example e = example_of({3, 2}, 5, 8, 5);
  std::fill(e.values.begin(), e.values.end(), 0.F);  // padding
  expect_right(e, run(e, 8, 32));
  const Example none = example_of({0, 0, 0}, 5, 8, 6);
  expect_right(none, run(none, 8, 32));
}

TEST(CudaNested, KeepsWhatIsNotFiniteInItsTokenAndColumn) {
  Example e = example_of({3, 3, 3}, 5, 8, 7);
  e.x[8 + 2] = kNaN;
  const Result found = run(e, 8, 32);
  EXPECT_TRUE(std::isnan(found.square));
  for (long long i = 0; i < e.B * e.D; ++i) {
    EXPECT_EQ(std::isnan(found.whole[at(i)]), i == 8 + 2) << i;
  }
  for (long long entry = 0; entry < e.nnz(); ++entry) {
    EXPECT_EQ(std::isnan(found.dots[at(entry)]), entry / 3 == 1) << entry;
  }
}

}  // namespace

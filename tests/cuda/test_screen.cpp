#include <gtest/gtest.h>

// Each needs those before it.
// clang-format off
#include "cuda_on_cpu.h"
#include "../../src/cuda/common.cuh"
#include "../../src/cuda/screen.cu"
// clang-format on

namespace {

constexpr double kUnit = 0x1p-24;

/// x [B, D] and W [F, D] with biases.
struct Layer {
  long long B, F, D;
  std::vector<float> x, W, bias;
  float* row_of_x(long long b) { return x.data() + b * D; }
  float* row_of_W(long long j) { return W.data() + j * D; }
};

Layer random_layer(long long B, long long F, long long D, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Layer layer{B,
              F,
              D,
              std::vector<float>(static_cast<std::size_t>(B * D)),
              std::vector<float>(static_cast<std::size_t>(F * D)),
              std::vector<float>(static_cast<std::size_t>(F))};
  for (float& v : layer.x) v = normal(random);
  for (float& v : layer.W) v = normal(random) / std::sqrt(static_cast<float>(D));
  for (float& v : layer.bias) v = normal(random) / 4;
  return layer;
}

struct Rounded {
  std::vector<unsigned short> low;
  std::vector<float> norm, residual;
};
Rounded round_all(const std::vector<float>& x, long long D) {
  const auto rows = x.size() / static_cast<std::size_t>(D);
  Rounded rounded{std::vector<unsigned short>(x.size(), 0x7FFF), std::vector<float>(rows, -7),
                  std::vector<float>(rows, -7)};
  cpu::launch({static_cast<unsigned>(rows)}, {256}, [&] {
    round_rows(x.data(), D, rounded.low.data(), rounded.norm.data(), rounded.residual.data());
  });
  return rounded;
}

/// The same without the kernel, whose blocks are slow here.
Rounded round_plainly(const std::vector<float>& x, long long D) {
  Rounded rounded;
  for (std::size_t i = 0; i < x.size(); i += static_cast<std::size_t>(D)) {
    Squares squares;
    for (std::size_t d = i; d < i + static_cast<std::size_t>(D); ++d) {
      rounded.low.push_back(round_one(x[d], squares));
    }
    rounded.norm.push_back(norm_above(squares.whole));
    rounded.residual.push_back(norm_above(squares.residual));
  }
  return rounded;
}

/// How a product of bfloat16 matrices may err within the bound: with random signs, all upwards, all
/// downwards, or by sums cut at 24 bits, four at a time.
enum class Errors { kRandom, kUp, kDown, kCut };

/// A float cut towards zero at bit `exponent` - 23.
double cut(double v, int exponent) {
  const double unit = std::ldexp(1.0, exponent - 23);
  return std::trunc(v / unit) * unit;
}

float low_product(const unsigned short* x, const unsigned short* w, long long D, Errors errors,
                  std::mt19937& random) {
  double sum = 0, squares_x = 0, squares_w = 0, cut_sum = 0;
  for (long long d = 0; d < D; d += 4) {
    double term[5] = {cut_sum, 0, 0, 0, 0};
    int exponent = -10000;
    for (long long c = d; c < std::min(d + 4, D); ++c) {
      const double a = from_bf16(x[c]);
      const double b = from_bf16(w[c]);
      term[1 + c - d] = a * b;
      sum += a * b;
      squares_x += a * a;
      squares_w += b * b;
    }
    for (const double t : term) {
      if (t != 0 && std::isfinite(t)) exponent = std::max(exponent, std::ilogb(t));
    }
    cut_sum = 0;
    for (const double t : term) cut_sum += std::isfinite(t) && t != 0 ? cut(t, exponent) : t;
  }
  const double n = static_cast<double>(D + 16) * kUnit;
  const double most = 4 * n / (1 - n) * std::sqrt(squares_x) * std::sqrt(squares_w);
  if (errors == Errors::kCut) return static_cast<float>(cut_sum);
  if (std::isfinite(most)) {
    const bool up = errors == Errors::kUp || (errors == Errors::kRandom && random() % 2 == 0);
    sum += up ? 0.999 * most : -0.999 * most;
  }
  return static_cast<float>(sum);
}

struct Kept {
  std::vector<long long> index;
  std::vector<float> value;
};
bool operator==(const Kept& a, const Kept& b) {
  return a.index == b.index && std::memcmp(a.value.data(), b.value.data(), 4 * a.value.size()) == 0;
}

struct Screened {
  Kept kept;
  std::vector<int> counts;
};

/// The launches as screen.cu lists them, scratch and results poisoned before.
Screened screened_topk(const Layer& layer, int k, int room, Errors errors, unsigned grid_y = 1) {
  const auto [B, F, D] = std::tuple(layer.B, layer.F, layer.D);
  const auto tokens = static_cast<unsigned>(B);
  const Rounded x = round_plainly(layer.x, D);
  const Rounded W = round_plainly(layer.W, D);
  std::vector<unsigned short> low(static_cast<std::size_t>(B * F));
  std::mt19937 random(1);
  for (long long b = 0; b < B; ++b) {
    for (long long j = 0; j < F; ++j) {
      low[static_cast<std::size_t>(b * F + j)] =
          to_bf16(low_product(&x.low[static_cast<std::size_t>(b * D)],
                              &W.low[static_cast<std::size_t>(j * D)], D, errors, random));
    }
  }
  std::vector<float> largest(2, -7);
  cpu::launch({1}, {512},
              [&] { screen_largest(W.norm.data(), W.residual.data(), F, largest.data()); });
  EXPECT_EQ(largest[0], *std::max_element(W.norm.begin(), W.norm.end()));
  EXPECT_EQ(largest[1], *std::max_element(W.residual.begin(), W.residual.end()));
  const auto places = static_cast<std::size_t>(B) * static_cast<std::size_t>(room);
  std::vector<long long> candidates(places, -77);
  std::vector<float> values(places, NAN);
  std::vector<int> counts(tokens, -77);
  const auto entries = static_cast<std::size_t>(B * k);
  Kept kept{std::vector<long long>(entries, -77), std::vector<float>(entries, NAN)};
  cpu::launch({tokens}, {512}, [&] {
    screen_rows(low.data(), layer.bias.data(), x.norm.data(), x.residual.data(), W.norm.data(),
                W.residual.data(), largest.data(), F, k, D, room, candidates.data(), counts.data());
  });
  cpu::launch({tokens, grid_y}, {256}, [&] {
    screen_exact(layer.x.data(), layer.W.data(), layer.bias.data(), candidates.data(),
                 counts.data(), room, D, values.data());
  });
  cpu::launch({tokens}, {512}, [&] {
    screen_pick(layer.x.data(), layer.W.data(), layer.bias.data(), candidates.data(), counts.data(),
                values.data(), room, F, k, D, kept.index.data(), kept.value.data());
  });
  return {kept, counts};
}

/// All pre-activations, by the kernel that computes candidates' ones.
std::vector<float> exact_values(const Layer& layer) {
  const int F = static_cast<int>(layer.F);
  const auto places = static_cast<std::size_t>(layer.B * layer.F);
  std::vector<long long> all(places);
  for (std::size_t i = 0; i < places; ++i) all[i] = static_cast<long long>(i) % layer.F;
  std::vector<int> counts(static_cast<std::size_t>(layer.B), F);
  std::vector<float> values(places, NAN);
  cpu::launch({static_cast<unsigned>(layer.B), 2}, {256}, [&] {
    screen_exact(layer.x.data(), layer.W.data(), layer.bias.data(), all.data(), counts.data(), F,
                 layer.D, values.data());
  });
  return values;
}

/// row_topk's rule, plainly.
Kept plain_topk(const Layer& layer, int k) {
  const std::vector<float> h = exact_values(layer);
  Kept kept;
  for (long long b = 0; b < layer.B; ++b) {
    const float* row = h.data() + b * layer.F;
    const auto of = [&](long long j) { return row[j] > 0 ? row[j] : 0.F; };
    std::vector<long long> order(static_cast<std::size_t>(layer.F));
    for (std::size_t j = 0; j < order.size(); ++j) order[j] = static_cast<long long>(j);
    std::stable_sort(order.begin(), order.end(),
                     [&](long long i, long long j) { return of(i) > of(j); });
    std::sort(order.begin(), order.begin() + k);
    for (int j = 0; j < k; ++j) {
      kept.index.push_back(order[static_cast<std::size_t>(j)]);
      kept.value.push_back(of(kept.index.back()));
    }
  }
  return kept;
}

std::vector<int> expect_exact(const Layer& layer, int k, int room, Errors errors) {
  const Screened screened = screened_topk(layer, k, room, errors);
  const Kept plain = plain_topk(layer, k);
  EXPECT_EQ(screened.kept.index, plain.index);
  EXPECT_TRUE(screened.kept == plain);
  return screened.counts;
}

TEST(CudaScreen, RoundsRowsToTheNearestBfloat16WithNormsNotBelowTheTruth) {
  for (const long long D : {1LL, 3LL, 4LL, 768LL, 1030LL}) {
    std::mt19937 random(static_cast<unsigned>(D));
    std::normal_distribution<float> normal;
    constexpr std::size_t kRows = 8;
    std::vector<float> x(kRows * static_cast<std::size_t>(D));
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float scale[kRows] = {1, 1e30F, 1e-30F, 1e-41F, 0, 1, 1, 3e37F};
      x[i] = normal(random) * scale[i / static_cast<std::size_t>(D)];
    }
    x[static_cast<std::size_t>(5 * D)] = NAN;
    x[static_cast<std::size_t>(6 * D)] = -INFINITY;
    const Rounded rounded = round_all(x, D);
    for (std::size_t row = 0; row < kRows; ++row) {
      long double whole = 0, residual = 0;
      for (std::size_t i = row * static_cast<std::size_t>(D);
           i < (row + 1) * static_cast<std::size_t>(D); ++i) {
        const float low = from_bf16(rounded.low[i]);
        if (std::isnan(x[i])) {
          ASSERT_TRUE(std::isnan(low));
          continue;
        }
        // Neither neighbour is nearer, and of two at the same distance it is the even one.
        for (const int step : {-1, 1}) {
          const auto other = static_cast<unsigned short>(rounded.low[i] + step);
          if (std::isfinite(low) && std::isfinite(from_bf16(other)) && low != 0) {
            const double own = std::fabs(double{low} - x[i]);
            const double its = std::fabs(double{from_bf16(other)} - x[i]);
            ASSERT_TRUE(own < its || (own == its && rounded.low[i] % 2 == 0)) << x[i];
          }
        }
        const long double left = static_cast<long double>(x[i]) - low;
        whole += static_cast<long double>(x[i]) * x[i];
        residual += left * left;
      }
      if (row == 5 || row == 6) {
        EXPECT_EQ(rounded.norm[row], INFINITY);
        EXPECT_EQ(rounded.residual[row], INFINITY);
        continue;
      }
      if (whole > 1e76L) continue;  // perhaps beyond the largest float
      EXPECT_GE(rounded.norm[row], std::sqrt(whole)) << D << " " << row;
      EXPECT_GE(rounded.residual[row], std::sqrt(residual)) << D << " " << row;
      EXPECT_LE(rounded.norm[row], 1.000001L * std::sqrt(whole) + 1e-44L);
      EXPECT_LE(rounded.residual[row], 1.000001L * std::sqrt(residual) + 1e-44L);
    }
  }
}

TEST(CudaScreen, ComputesCandidatesInFloat32WithinTheBoundOfTheirSums) {
  for (const long long D : {1LL, 2LL, 4LL, 30LL, 127LL, 128LL, 129LL, 700LL}) {
    Layer layer = random_layer(2, 21, D, static_cast<unsigned>(D));
    for (long long d = 1; d < D; d += 2) {  // large terms that cancel
      layer.row_of_x(0)[d] = 1000;
      layer.row_of_x(0)[d - 1] = 1000;
      layer.row_of_W(3)[d] = -layer.row_of_W(3)[d - 1];
    }
    const std::vector<float> values = exact_values(layer);
    for (long long b = 0; b < 2; ++b) {
      for (long long j = 0; j < 21; ++j) {
        double sum = 0, size = 0;
        for (long long d = 0; d < D; ++d) {
          const double term = double{layer.row_of_x(b)[d]} * layer.row_of_W(j)[d];
          sum += term;
          size += std::fabs(term);
        }
        const double bias = layer.bias[static_cast<std::size_t>(j)];
        const double n = static_cast<double>(D + 16) * kUnit;
        EXPECT_NEAR(values[static_cast<std::size_t>(b * 21 + j)], sum + bias,
                    n / (1 - n) * size + kUnit * (std::fabs(sum) + std::fabs(bias)) * 1.01);
      }
    }
  }
}

TEST(CudaScreen, BoundsTheExactValueWhateverTheErrorsOfTheProduct) {
  for (const Errors errors : {Errors::kRandom, Errors::kUp, Errors::kDown, Errors::kCut}) {
    for (const long long D : {3LL, 64LL, 770LL}) {
      Layer layer = random_layer(3, 60, D, static_cast<unsigned>(D));
      for (long long d = 0; d < D; ++d) {  // one row that cancels, one large, one tiny
        layer.row_of_W(0)[d] *= d % 2 == 0 ? 1e4F : -1e4F;
        layer.row_of_W(1)[d] *= 1e18F;
        layer.row_of_W(2)[d] *= 1e-25F;
        layer.row_of_x(1)[d] = 3 + layer.row_of_x(1)[d] / 1000;
        layer.row_of_x(2)[d] *= 1e-15F;
      }
      const std::vector<float> exact = exact_values(layer);
      const Rounded x = round_plainly(layer.x, D);
      const Rounded W = round_plainly(layer.W, D);
      std::mt19937 random(2);
      for (std::size_t b = 0; b < 3; ++b) {
        for (std::size_t j = 0; j < 60; ++j) {
          const float p = from_bf16(
              to_bf16(low_product(&x.low[b * static_cast<std::size_t>(D)],
                                  &W.low[j * static_cast<std::size_t>(D)], D, errors, random)));
          const Interval interval = interval_of(
              p, layer.bias[j],
              share_of(bound_of(x.norm[b], x.residual[b], D), W.norm[j], W.residual[j]));
          ASSERT_LE(interval.lower, exact[b * 60 + j]) << b << " " << j << " D " << D;
          ASSERT_GE(interval.upper, exact[b * 60 + j]) << b << " " << j << " D " << D;
        }
      }
    }
  }
}

TEST(CudaScreen, KeepsWhatExactPreActivationsKeep) {
  unsigned seed = 20;
  for (const Errors errors : {Errors::kRandom, Errors::kUp, Errors::kDown, Errors::kCut}) {
    for (const auto& [F, D, k] :
         {std::tuple(700LL, 32LL, 16), std::tuple(2500LL, 20LL, 40), std::tuple(2051LL, 7LL, 33)}) {
      const std::vector<int> counts = expect_exact(random_layer(2, F, D, ++seed), k, 512, errors);
      for (const int count : counts) {
        EXPECT_GE(count, k);
        EXPECT_LE(count, 4 * k);  // of thousands
      }
    }
  }
}

TEST(CudaScreen, KeepsWhatExactPreActivationsKeepForAllShapes) {
  expect_exact(random_layer(1, 1, 1, 1), 1, 1, Errors::kRandom);
  expect_exact(random_layer(3, 5, 3, 2), 5, 8, Errors::kRandom);
  expect_exact(random_layer(2, 512, 4, 3), 512, 512, Errors::kRandom);
  expect_exact(random_layer(2, 3000, 4, 4), 512, 2048, Errors::kRandom);
  expect_exact(random_layer(2, 6000, 4, 5), 1, 16, Errors::kRandom);
}

TEST(CudaScreen, BreaksTiesByTheLowerLatent) {
  Layer layer = random_layer(2, 3000, 8, 6);
  for (long long j = 0; j < layer.F; ++j) {
    std::copy_n(layer.row_of_W(j % 7), 8, layer.row_of_W(j));
    layer.bias[static_cast<std::size_t>(j)] = 0.5F * static_cast<float>(j % 2);
  }
  expect_exact(layer, 30, 3000, Errors::kRandom);
  const std::vector<int> counts = expect_exact(layer, 30, 100, Errors::kRandom);
  EXPECT_EQ(counts, (std::vector<int>{-1, -1}));  // hundreds are equal
}

TEST(CudaScreen, FillsUpWithZerosWhereTooFewArePositive) {
  Layer layer = random_layer(2, 2500, 8, 7);
  for (float& b : layer.bias) b = -100;
  for (const std::size_t j : {1U, 2U, 5U, 2400U}) layer.bias[j] = 100;
  layer.bias[7] = NAN;
  expect_exact(layer, 10, 64, Errors::kRandom);
  expect_exact(layer, 4, 64, Errors::kRandom);
  for (float& b : layer.bias) b = -100;
  expect_exact(layer, 10, 64, Errors::kRandom);
}

TEST(CudaScreen, ComputesTokensWithNanInfinitiesOrNoRoomAsAWhole) {
  Layer layer = random_layer(5, 2100, 12, 8);
  layer.row_of_x(0)[3] = NAN;
  layer.row_of_x(1)[5] = INFINITY;
  for (int d = 0; d < 12; ++d) layer.row_of_x(2)[d] = 0;  // only biases differ
  layer.row_of_W(9)[1] = INFINITY;
  layer.row_of_W(10)[1] = -INFINITY;
  layer.row_of_W(11)[2] = NAN;
  layer.bias[12] = INFINITY;
  layer.bias[13] = -INFINITY;
  layer.bias[14] = NAN;
  const std::vector<int> counts = expect_exact(layer, 20, 128, Errors::kRandom);
  EXPECT_EQ(counts[0], -1);
  EXPECT_EQ(counts[1], -1);
  EXPECT_GE(counts[3], 20);  // latents with NaN cost others nothing
  EXPECT_EQ(expect_exact(layer, 20, 21, Errors::kRandom)[3], -1);
}

TEST(CudaScreen, IsExactForHugeTinyAndUnequalNorms) {
  for (const float scale : {1e19F, 1e-19F, 1e-38F, 3e35F}) {
    Layer layer = random_layer(1, 2100, 8, 9);
    for (float& v : layer.x) v *= scale;
    expect_exact(layer, 16, 256, Errors::kRandom);
    for (long long j = 0; j < layer.F; ++j) {
      for (int d = 0; d < 8; ++d) layer.row_of_W(j)[d] *= j % 100 == 0 ? 50.F : 1.F;
    }
    for (float& b : layer.bias) b = 0;
    expect_exact(layer, 16, 256, Errors::kRandom);
  }
}

TEST(CudaScreen, IsExactWhereTheSampleMisleads) {
  Layer layer = random_layer(2, 8192, 4, 10);  // sampled: every 512 latents, 32
  for (long long j = 0; j < layer.F; ++j) {
    for (int d = 0; d < 4; ++d) layer.row_of_W(j)[d] *= 0.01F;
    layer.bias[static_cast<std::size_t>(j)] = j % 512 < 32 ? 1.F : 0.F;
  }
  expect_exact(layer, 40, 512, Errors::kRandom);
  expect_exact(layer, 512, 4096, Errors::kRandom);
  for (float& b : layer.bias) b = 1 - b;
  expect_exact(layer, 40, 512, Errors::kRandom);
}

TEST(CudaScreen, GivesTheSameBytesForAnyRoomAndLaunch) {
  const Layer layer = random_layer(2, 1500, 37, 11);
  const Screened screened = screened_topk(layer, 12, 128, Errors::kRandom);
  EXPECT_TRUE(screened_topk(layer, 12, 128, Errors::kRandom, 3).kept == screened.kept);
  EXPECT_TRUE(screened_topk(layer, 12, 1500, Errors::kCut).kept == screened.kept);
  EXPECT_TRUE(screened_topk(layer, 12, 1, Errors::kUp).kept == screened.kept);
}

}  // namespace

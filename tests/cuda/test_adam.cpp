// Kernels of src/cuda/adam.cu on the CPU against plain float64.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cuda_on_cpu.h"
#include "numbers.h"
// The prelude goes first.
// clang-format off
#include "../../src/cuda/common.cuh"
#include "../../src/cuda/adam.cu"
// clang-format on

namespace {

using Doubles = std::vector<double>;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

struct Options {
  double lr = 1e-2;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double clip_norm = 0;
  float updates = 3;  // already incremented
};

/// A parameter of `size` elements in rows of n, its moments and gradient.
struct Parameter {
  long long size;
  long long n;
  bool unit;
  Floats g, w, m, v;

  long long rows() const { return ceiling(size, n); }
  long long length(long long row) const { return std::min(n, size - row * n); }
};

Parameter parameter_of(long long size, long long n, bool unit, unsigned seed,
                       float gradient_scale = 1) {
  Parameter p{size,
              n,
              unit,
              normal(size, seed, gradient_scale),
              normal(size, seed + 1),
              normal(size, seed + 2, 0.1F * gradient_scale),
              normal(size, seed + 3)};
  for (float& v : p.v) v = v * v * gradient_scale * gradient_scale;
  if (!unit) return p;
  for (long long row = 0; row < p.rows(); ++row) {
    double square = 0;
    for (long long j = 0; j < n; ++j) square += std::pow(double{p.w[at(row * n + j)]}, 2);
    for (long long j = 0; j < n; ++j) p.w[at(row * n + j)] /= static_cast<float>(std::sqrt(square));
  }
  return p;
}

struct Products {
  Doubles gg, gw;
};
Products run_products(const Parameter& p) {
  Products out{Doubles(at(p.rows()), kNone), Doubles(at(p.rows()), kNone)};
  cpu::launch({static_cast<unsigned>(p.rows())}, {256}, [&] {
    adam_products(p.g.data(), p.unit ? p.w.data() : nullptr, p.size, p.n, out.gg.data(),
                  out.gw.data());
  });
  return out;
}

void run_norm(const Products& products, bool unit, double& total, bool first) {
  cpu::launch({1}, {512}, [&] {
    adam_norm(products.gg.data(), unit ? products.gw.data() : nullptr,
              static_cast<long long>(products.gg.size()), unit, &total, first);
  });
}

AdamScalars run_scalars(double total, const Options& o, float* norm = nullptr) {
  AdamScalars scalars{};
  cpu::launch({1}, {32}, [&] {
    adam_scalars(&total, &o.updates, o.lr, o.beta1, o.beta2, o.epsilon, o.clip_norm, &scalars,
                 norm);
  });
  return scalars;
}

void run_update(Parameter& p, const Products& products, const AdamScalars& scalars,
                unsigned short* low = nullptr) {
  cpu::launch({static_cast<unsigned>(p.rows())}, {256}, [&] {
    adam_update(p.g.data(), p.w.data(), p.m.data(), p.v.data(), low,
                p.unit ? products.gw.data() : nullptr, &scalars, p.size, p.n, p.unit);
  });
}

/// A step of all parameters as the host launches it. Returns the gradient's norm.
float step(std::vector<Parameter>& parameters, const Options& options,
           std::vector<std::vector<unsigned short>>* low = nullptr) {
  double total = kNone;
  std::vector<Products> products;
  for (const Parameter& p : parameters) {
    products.push_back(run_products(p));
    run_norm(products.back(), p.unit, total, /*first=*/products.size() == 1);
  }
  float norm = kNaN;
  const AdamScalars scalars = run_scalars(total, options, &norm);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    unsigned short* to = nullptr;
    if (low != nullptr) {
      low->emplace_back(at(parameters[i].size), 0x7FFF);
      to = low->back().data();
    }
    run_update(parameters[i], products[i], scalars, to);
  }
  return norm;
}

struct Reference {
  Doubles w, m, v;
};

/// The same in float64, written as the formulas are.
double reference_step(const std::vector<Parameter>& parameters, const Options& o,
                      std::vector<Reference>& out) {
  double square = 0;
  std::vector<Doubles> projected;
  for (const Parameter& p : parameters) {
    Doubles& g = projected.emplace_back(p.g.begin(), p.g.end());
    for (long long row = 0; p.unit && row < p.rows(); ++row) {
      double parallel = 0;
      for (long long j = row * p.n; j < (row + 1) * p.n; ++j) {
        parallel += double{p.g[at(j)]} * double{p.w[at(j)]};
      }
      for (long long j = row * p.n; j < (row + 1) * p.n; ++j) {
        g[at(j)] -= parallel * double{p.w[at(j)]};
      }
    }
    for (const double x : g) square += x * x;
  }
  const double norm = std::sqrt(square);
  const double scale = o.clip_norm > 0 && norm > o.clip_norm ? o.clip_norm / norm : 1;
  const double t = double{o.updates};
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    Reference& r = out.emplace_back();
    for (std::size_t j = 0; j < at(p.size); ++j) {
      const double g = projected[i][j] * scale;
      r.m.push_back(o.beta1 * double{p.m[j]} + (1 - o.beta1) * g);
      r.v.push_back(o.beta2 * double{p.v[j]} + (1 - o.beta2) * g * g);
      r.w.push_back(double{p.w[j]} -
                    o.lr / (1 - std::pow(o.beta1, t)) * r.m[j] /
                        (std::sqrt(r.v[j]) / std::sqrt(1 - std::pow(o.beta2, t)) + o.epsilon));
    }
    for (long long row = 0; p.unit && row < p.rows(); ++row) {
      double sum = 0;
      for (long long j = row * p.n; j < (row + 1) * p.n; ++j) sum += r.w[at(j)] * r.w[at(j)];
      for (long long j = row * p.n; j < (row + 1) * p.n; ++j) r.w[at(j)] /= std::sqrt(sum);
    }
  }
  return norm;
}

void expect_near(const Floats& values, const Doubles& expected, double scale, const char* what) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(values[i], expected[i], 1e-6 * (scale + std::abs(expected[i]))) << what << " " << i;
  }
}

/// One step of both, with everything compared; sizes of moments are relative to the gradient's.
void expect_step(std::vector<Parameter> parameters, const Options& options,
                 double gradient_scale = 1) {
  std::vector<Reference> expected;
  const double norm = reference_step(parameters, options, expected);
  std::vector<std::vector<unsigned short>> low;
  const float own_norm = step(parameters, options, &low);
  EXPECT_NEAR(own_norm, norm, 1e-6 * norm);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    expect_near(p.w, expected[i].w, 1, "w");
    expect_near(p.m, expected[i].m, gradient_scale, "m");
    expect_near(p.v, expected[i].v, gradient_scale * gradient_scale, "v");
    for (std::size_t j = 0; j < at(p.size); ++j) ASSERT_EQ(low[i][j], to_bf16(p.w[j])) << j;
  }
}

// Short rows, odd ones, both sides of what a block reads at once and of what it keeps on chip.
const std::vector<long long> kLengths = {1,    2,    3,    4,    7,    64,   255,  256,  257,
                                         1023, 1024, 1028, 2304, 4095, 4096, 4097, 4100, 9000};

TEST(CudaAdam, StepsFreeRowsOfEveryLength) {
  for (const long long n : kLengths) {
    SCOPED_TRACE(n);
    expect_step({parameter_of(3 * n, n, /*unit=*/false, 1)}, {});
  }
}

TEST(CudaAdam, StepsUnitRowsOfEveryLength) {
  for (const long long n : kLengths) {
    if (n == 1) continue;  // all of its gradient is along the row
    SCOPED_TRACE(n);
    expect_step({parameter_of(3 * n, n, /*unit=*/true, 1)}, {});
  }
}

TEST(CudaAdam, StepsAVectorInRowsOfWhichTheLastIsShorter) {
  for (const long long size : {1LL, 4095LL, 4096LL, 4097LL, 8195LL}) {
    SCOPED_TRACE(size);
    expect_step({parameter_of(size, 4096, /*unit=*/false, 1)}, {});
  }
  expect_step({parameter_of(20, 7, /*unit=*/false, 1)}, {});
}

TEST(CudaAdam, ClipsAllParametersByOneNorm) {
  for (const double clip_norm : {0.0, 0.5, 1e6}) {
    expect_step({parameter_of(37 * 20, 4096, false, 1), parameter_of(37, 4096, false, 5),
                 parameter_of(37 * 20, 20, true, 9), parameter_of(20, 4096, false, 13)},
                {.clip_norm = clip_norm});
  }
}

TEST(CudaAdam, CorrectsTheBiasOfTheFirstStepAndOfLateOnes) {
  for (const float updates : {1.F, 2.F, 1000.F, 1e6F}) {
    expect_step({parameter_of(100, 100, true, 1)}, {.updates = updates});
  }
  Parameter p = parameter_of(8, 8, false, 1);
  std::fill(p.m.begin(), p.m.end(), 0.F);
  std::fill(p.v.begin(), p.v.end(), 0.F);
  std::vector<Parameter> parameters{p};
  step(parameters, {.updates = 1});
  for (std::size_t j = 0; j < p.w.size(); ++j) {  // whatever the gradient, by lr
    EXPECT_NEAR(parameters[0].w[j] - p.w[j], p.g[j] > 0 ? -1e-2 : 1e-2, 1e-6);
  }
}

TEST(CudaAdam, OfAZeroGradientKeepsUnitRowsAndLeavesNoNaN) {
  Parameter p = parameter_of(40, 20, true, 1, 0);
  std::vector<Parameter> parameters{p};
  EXPECT_EQ(step(parameters, {.clip_norm = 1}), 0);
  for (std::size_t j = 0; j < p.w.size(); ++j) {
    EXPECT_NEAR(parameters[0].w[j], p.w[j], 1e-7);
    EXPECT_EQ(parameters[0].m[j], 0);
    EXPECT_EQ(parameters[0].v[j], 0);
  }
}

TEST(CudaAdam, OfARowOfZerosHasNoNaN) {
  Parameter p = parameter_of(8, 4, true, 1, 0);
  std::fill(p.w.begin(), p.w.end(), 0.F);
  std::vector<Parameter> parameters{p};
  step(parameters, {});
  EXPECT_EQ(parameters[0].w, p.w);
}

TEST(CudaAdam, StepsByTinyAndHugeGradients) {
  for (const bool unit : {false, true}) {
    for (const float scale : {1e-15F, 1e15F}) {  // whose squares are no denormal and finite
      SCOPED_TRACE(scale);
      expect_step({parameter_of(300, 100, unit, 1, scale)}, {.epsilon = 1e-20}, scale);
      expect_step({parameter_of(300, 100, unit, 1, scale)}, {.clip_norm = 1}, scale);
    }
  }
  // Squares beyond float32: their sums are float64, so clipping works still.
  Parameter p = parameter_of(64, 64, false, 1, 1e25F);
  std::fill(p.m.begin(), p.m.end(), 0.F);
  std::fill(p.v.begin(), p.v.end(), 0.F);
  expect_step({p}, {.clip_norm = 1});
  // Without, v is infinite and the weights rest, as on the CPU.
  std::vector<Parameter> parameters{p};
  step(parameters, {});
  EXPECT_EQ(parameters[0].w, p.w);
  EXPECT_TRUE(std::all_of(parameters[0].v.begin(), parameters[0].v.end(),
                          [](float v) { return v == kInfinity; }));
}

TEST(CudaAdam, PassesOnWhatIsNotFinite) {
  for (const float bad : {kNaN, kInfinity}) {
    for (const bool unit : {false, true}) {
      std::vector<Parameter> parameters{parameter_of(60, 20, unit, 1)};
      parameters[0].g[25] = bad;
      const float norm = step(parameters, {.clip_norm = 1});
      if (std::isnan(bad) || unit) {
        EXPECT_TRUE(std::isnan(norm));
      } else {
        EXPECT_EQ(norm, kInfinity);
      }
      EXPECT_TRUE(std::isnan(parameters[0].w[25]));
      for (std::size_t j = 20; j < 40; ++j) {
        EXPECT_EQ(std::isnan(parameters[0].w[j]), unit || j == 25) << j;
      }
      for (const std::size_t j : {0U, 19U, 40U, 59U}) {
        EXPECT_TRUE(std::isfinite(parameters[0].w[j]));
      }
    }
  }
}

TEST(CudaAdam, WritesNoCopyUnlessAsked) {
  std::vector<Parameter> with{parameter_of(4100, 4100, true, 1)};
  std::vector<Parameter> without = with;
  std::vector<std::vector<unsigned short>> low;
  step(with, {}, &low);
  step(without, {});
  EXPECT_EQ(with[0].w, without[0].w);
}

TEST(CudaAdam, TheCopyIsRoundedTiesToEven) {
  Parameter p = parameter_of(8, 8, false, 1, 0);
  const auto bits = [](unsigned x) { return std::bit_cast<float>(x); };
  p.w = {bits(0x3F808000), bits(0x3F818000), bits(0x3F808001),
         bits(0x3F807FFF), bits(0xBF818000), 0,
         bits(0x7F7FFFFF), bits(0x00008000)};
  std::vector<Parameter> parameters{p};
  std::vector<std::vector<unsigned short>> low;
  step(parameters, {}, &low);
  EXPECT_EQ(low[0], (std::vector<unsigned short>{0x3F80, 0x3F82, 0x3F81, 0x3F80, 0xBF82, 0, 0x7F80,
                                                 0x0000}));
}

/// Sums of squares in float64, and whether a float is the root of one, from above and closely.
void expect_norm(float norm, double square) {
  EXPECT_GE(double{norm} * double{norm}, square);
  EXPECT_LE(double{norm}, std::sqrt(square) * (1 + 3e-7));
}

TEST(CudaAdamRounded, IsTheStepWithTheCopyAndTheNormsOfItsRows) {
  for (const long long n : kLengths) {
    SCOPED_TRACE(n);
    std::vector<Parameter> plain{parameter_of(3 * n, n, false, 1)};
    Parameter p = plain[0];
    std::vector<std::vector<unsigned short>> low;
    double total = kNone;
    run_norm(run_products(p), false, total, true);
    const AdamScalars scalars = run_scalars(total, {.clip_norm = 1});
    step(plain, {.clip_norm = 1}, &low);
    std::vector<unsigned short> rounded(at(p.size), 0x7FFF);
    Floats norm(3, kNaN);
    Floats residual(3, kNaN);
    cpu::launch({3}, {256}, [&] {
      adam_update_rounded(p.g.data(), p.w.data(), p.m.data(), p.v.data(), rounded.data(),
                          norm.data(), residual.data(), &scalars, p.size, p.n);
    });
    EXPECT_EQ(p.w, plain[0].w);
    EXPECT_EQ(p.m, plain[0].m);
    EXPECT_EQ(p.v, plain[0].v);
    EXPECT_EQ(rounded, low[0]);
    for (long long row = 0; row < 3; ++row) {
      double whole = 0;
      double left = 0;
      for (long long j = row * n; j < (row + 1) * n; ++j) {
        whole += std::pow(double{p.w[at(j)]}, 2);
        left += std::pow(double{p.w[at(j)]} - double{from_bf16(rounded[at(j)])}, 2);
      }
      expect_norm(norm[at(row)], whole * (1 - 1e-14));
      expect_norm(residual[at(row)], left * (1 - 1e-14));
    }
  }
}

TEST(CudaAdamRounded, OfWhatIsNotFiniteHasInfiniteNorms) {
  for (const float bad : {kNaN, kInfinity}) {
    Parameter p = parameter_of(60, 20, false, 1);
    p.w[25] = bad;
    const AdamScalars scalars = run_scalars(1, {});
    std::vector<unsigned short> low(60);
    Floats norm(3, kNaN);
    Floats residual(3, kNaN);
    cpu::launch({3}, {256}, [&] {
      adam_update_rounded(p.g.data(), p.w.data(), p.m.data(), p.v.data(), low.data(), norm.data(),
                          residual.data(), &scalars, p.size, p.n);
    });
    EXPECT_EQ(norm[1], kInfinity);
    EXPECT_EQ(residual[1], kInfinity);
    for (const std::size_t row : {0U, 2U}) EXPECT_TRUE(std::isfinite(norm[row] + residual[row]));
  }
}

TEST(CudaAdamProducts, AreTheProductsInFloat64) {
  for (const long long n : kLengths) {
    Parameter p = parameter_of(2 * n, n, true, 1);
    p.g = normal(2 * n, 7, 1e19F);  // whose squares float32 has not
    const Products products = run_products(p);
    for (long long row = 0; row < 2; ++row) {
      double gg = 0;
      double gw = 0;
      double size = 0;
      for (long long j = row * n; j < (row + 1) * n; ++j) {
        gg += double{p.g[at(j)]} * double{p.g[at(j)]};
        gw += double{p.g[at(j)]} * double{p.w[at(j)]};
        size += std::abs(double{p.g[at(j)]} * double{p.w[at(j)]});
      }
      EXPECT_NEAR(products.gg[at(row)], gg, 1e-13 * gg);
      EXPECT_NEAR(products.gw[at(row)], gw, 1e-13 * size);
    }
    p.unit = false;
    const Products squares = run_products(p);
    EXPECT_EQ(squares.gg, products.gg);
    EXPECT_TRUE(std::isnan(squares.gw[0])) << "written unasked";
  }
}

TEST(CudaAdamNorm, AddsParametersInTheirOrder) {
  for (const long long count : {1LL, 511LL, 513LL, 3000LL}) {
    Products products{Doubles(at(count)), Doubles(at(count))};
    double free = 0;
    double unit = 0;
    std::mt19937 random(1);
    for (std::size_t i = 0; i < at(count); ++i) {
      products.gg[i] = std::uniform_real_distribution<>()(random);
      products.gw[i] = 2 * std::uniform_real_distribution<>()(random) - 1;
      free += products.gg[i];
      unit += std::max(0.0, products.gg[i] - products.gw[i] * products.gw[i]);
    }
    double total = kNone;
    run_norm(products, true, total, true);
    EXPECT_NEAR(total, unit, 1e-12 * unit);
    run_norm(products, false, total, false);
    EXPECT_NEAR(total, free + unit, 1e-12 * (free + unit));
  }
  double total = 5;
  run_norm({}, false, total, false);
  EXPECT_EQ(total, 5);
}

TEST(CudaAdamScalars, AreTheStepsOwn) {
  float norm = kNaN;
  const AdamScalars scalars = run_scalars(
      16, {.lr = 0.5, .beta1 = 0.75, .beta2 = 0.5, .clip_norm = 1, .updates = 2}, &norm);
  EXPECT_EQ(norm, 4);
  EXPECT_EQ(scalars.scale, 0.25F);
  EXPECT_FLOAT_EQ(scalars.step, 0.5F / 0.4375F);
  EXPECT_FLOAT_EQ(scalars.inverse_root, 1 / std::sqrt(0.75F));
  EXPECT_EQ(scalars.keep1, 0.75F);
  EXPECT_EQ(scalars.take1, 0.25F);
  EXPECT_EQ(scalars.take2, 0.5F);
  EXPECT_EQ(run_scalars(16, {.clip_norm = 4}).scale, 1);
  EXPECT_EQ(run_scalars(16, {.clip_norm = 0}).scale, 1);
  EXPECT_EQ(run_scalars(kNone, {.clip_norm = 1}).scale, 1);
  EXPECT_EQ(run_scalars(std::numeric_limits<double>::infinity(), {.clip_norm = 1}).scale, 0);
}

}  // namespace

// The closed forms of mask_theory.h: against all masks, all widths, simulated averages and AtmMask.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <vector>

#include "sae/base/rng.h"
#include "sae/models/atm_mask.h"
#include "sae/models/mask_theory.h"
#include "sae/sparse/nested_error.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

constexpr double kHalf = std::numbers::sqrt2 / 2;

/// Some tokens, their activations, and latents of other norms than 1 that are masked independently.
struct Bernoulli {
  static constexpr std::int64_t kLatents = 6;
  at::Tensor x = normal({3, 4}, 1);
  at::Tensor f = normal({3, kLatents}, 2).clamp_min(0).requires_grad_(true);
  at::Tensor p = tensor({0, 0.1, 0.35, 0.5, 0.9, 1});
  at::Tensor W_dec = normal({kLatents, 4}, 3).requires_grad_(true);

  /// The mean over all 2^F masks, [B].
  at::Tensor enumerated() const {
    at::Tensor sum = at::zeros({3}, at::kDouble);
    for (std::int64_t bits = 0; bits < 1 << kLatents; ++bits) {
      const at::Tensor m = integers({bits}).bitwise_right_shift(at::arange(kLatents)).fmod(2);
      const at::Tensor chance = at::where(m > 0, 1 - p, p).prod();
      sum = sum + chance * (x - at::mm(f * m.to(at::kDouble), W_dec)).square().sum(1);
    }
    return sum;
  }

  std::vector<at::Tensor> gradients(const at::Tensor& errors) const {
    return torch::autograd::grad({errors.sum()}, {f, W_dec});
  }
};

TEST(MaskTheory, TheExpectedErrorAndItsGradientsAreTheMeanOverAllMasks) {
  const Bernoulli of;
  const at::Tensor closed = expected_masked_error(of.x, of.f, of.p, of.W_dec);
  const at::Tensor all = of.enumerated();
  expect_close(closed, all, "error", 1e-12);
  const std::vector<at::Tensor> got = of.gradients(closed);
  const std::vector<at::Tensor> wanted = of.gradients(all);
  expect_close(got[0], wanted[0], "f", 1e-12);
  expect_close(got[1], wanted[1], "W_dec", 1e-12);
  expect_close(expected_masked_slope(of.x, of.f, of.p, of.W_dec), -wanted[0], "slope", 1e-12);
}

TEST(MaskTheory, AnAbsorbedParentIsPulledUpByWhatItsChildOwes) {
  const at::Tensor W_dec = tensor({1, 0, kHalf, kHalf}).view({2, 2});
  const at::Tensor x = tensor({1, 1}).view({1, 2});
  const at::Tensor f = tensor({0, std::numbers::sqrt2}).view({1, 2});
  for (const double p : {0.0, 0.1, 0.4}) {
    const at::Tensor slope = expected_masked_slope(x, f, tensor({0, p}), W_dec);
    EXPECT_NEAR(slope[0][0].item<double>(), 2 * p * std::numbers::sqrt2 * kHalf, 1e-12);
    EXPECT_NEAR(slope[0][1].item<double>(), 0, 1e-12) << "a mask does not shrink activations";
  }
}

using Pair = std::array<std::array<double, 2>, 2>;  // two decoder rows
constexpr Pair kFaithful{{{1, 0}, {0, 1}}};
constexpr Pair kAbsorbed{{{1, 0}, {kHalf, kHalf}}};

/// E_m of error and L1 penalty on the child's token (1, 1), over the two masks of the child.
double masked_loss(const Pair& rows, const std::array<double, 2>& f, double p, double sparsity) {
  double loss = 0;
  for (const double m : {0.0, 1.0}) {
    double error = 0;
    for (std::size_t d = 0; d < 2; ++d) {
      const double e = 1 - f[0] * rows[0][d] - m * f[1] * rows[1][d];
      error += e * e;
    }
    loss += (m > 0 ? 1 - p : p) * (error + sparsity * (f[0] + m * f[1]));
  }
  return loss;
}

/// Its least value over the activations `active`, each in turn at the vertex of its parabola.
double least_loss(const Pair& rows, std::vector<std::size_t> active, double p, double sparsity) {
  std::array<double, 2> f{};
  for (int sweep = 0; sweep < 3; ++sweep) {
    for (const std::size_t i : active) {
      const auto at = [&](double value) {
        f[i] = value;
        return masked_loss(rows, f, p, sparsity);
      };
      const double low = at(0);
      const double middle = at(1);
      const double high = at(2);
      f[i] = std::max(0.0, 1 - (high - low) / (2 * (high - 2 * middle + low)));
    }
  }
  return masked_loss(rows, f, p, sparsity);
}

TEST(MaskTheory, TheFaithfulPairIsBetterFromTheMaskProbabilityOfTheThresholdOn) {
  for (const double sparsity : {0.05, 0.2, 0.5, 0.8, 1.5}) {
    const auto gain = [&](double p) {
      return least_loss(kAbsorbed, {1}, p, sparsity) - least_loss(kFaithful, {0, 1}, p, sparsity);
    };
    double low = 0;
    double high = 0.99;
    ASSERT_LT(gain(low), 0) << "without a mask absorption pays";
    ASSERT_GT(gain(high), 0);
    for (int i = 0; i < 60; ++i) {
      const double middle = (low + high) / 2;
      (gain(middle) < 0 ? low : high) = middle;
    }
    EXPECT_NEAR(pair_mask_threshold(sparsity), low, 1e-12) << sparsity;
  }
  EXPECT_EQ(pair_mask_threshold(0), 0);
}

/// The parent's activation at the least masked loss where the child's row is free, by proximal
/// gradient steps in f_a and v = f_b d_b.
double parent_of_best_pair(double p, double sparsity) {
  constexpr double kRate = 0.1;
  double parent = 1;
  std::array<double, 2> v{0, 1};
  for (int i = 0; i < 20'000; ++i) {
    const std::array<double, 2> e{1 - parent - v[0], 1 - v[1]};  // where the child is not masked
    const double down = 2 * (1 - p) * e[0] + 2 * p * (1 - parent) - sparsity;
    const std::array<double, 2> moved{v[0] + kRate * 2 * (1 - p) * e[0],
                                      v[1] + kRate * 2 * (1 - p) * e[1]};
    parent = std::max(0.0, parent + kRate * down);
    const double norm = std::hypot(moved[0], moved[1]);
    const double kept = std::max(0.0, 1 - kRate * (1 - p) * sparsity / norm);
    v = {kept * moved[0], kept * moved[1]};
  }
  return parent;
}

TEST(MaskTheory, WhereRowsAreTrainedTheParentOfTheBestPairFiresFromTheThresholdOfThePullOn) {
  for (const double sparsity : {0.05, 0.2, 0.5, 0.8}) {
    const double threshold = pair_pull_threshold(sparsity);
    EXPECT_EQ(parent_of_best_pair(threshold - 1e-3, sparsity), 0) << sparsity;
    EXPECT_GT(parent_of_best_pair(threshold + 1e-3, sparsity), 1e-4) << sparsity;
    EXPECT_LT(threshold, 0.36 * pair_mask_threshold(sparsity)) << sparsity;
    // The pull of the slope on the absorbed parent is what its activation costs there.
    const at::Tensor W_dec = tensor({1, 0, kHalf, kHalf}).view({2, 2});
    const at::Tensor f = tensor({0, std::numbers::sqrt2 - sparsity / 2}).view({1, 2});
    const at::Tensor slope =
        expected_masked_slope(tensor({1, 1}).view({1, 2}), f, tensor({0, threshold}), W_dec);
    EXPECT_NEAR(slope[0][0].item<double>(), sparsity, 1e-12);
  }
}

/// A mask of this importance that has seen one step.
AtmMask theory_mask(const std::vector<double>& importance, AtmMaskOptions options) {
  options.importance = Importance::kMagnitude;
  options.warmup_steps = 0;
  options.min_keep = 0;
  AtmMask mask(std::ssize(importance), options);
  BatchStatistics batch;
  batch.tokens = 1;
  batch.magnitude = tensor(importance).to(at::kFloat);
  batch.fired = at::ones_like(batch.magnitude);
  batch.contribution = at::ones_like(batch.magnitude);
  mask.observe(batch);
  return mask;
}

TEST(MaskTheory, TheMaskOfThePaperReachesTheThresholdUpToAnL1WeightOfTwoThirds) {
  AtmMaskOptions options;
  options.rate = 0.5;
  const AtmMask mask = theory_mask({1, 0, 1, 1}, options);
  const double most = mask.mask_probability(0).max().item<double>();
  EXPECT_NEAR(most, 1 - std::exp(-0.5), 1e-6) << "of a latent without importance";
  EXPECT_LT(pair_mask_threshold(0.67), most);
  EXPECT_GT(pair_mask_threshold(0.69), most);
}

TEST(MaskTheory, AMaskThatIsDrawnHasTheExpectedErrorOnAverage) {
  AtmMaskOptions options;
  options.rate = 2;
  const AtmMask mask = theory_mask({1, 2, 3, 4, 9, 0}, options);
  const Bernoulli of;
  const at::NoGradGuard no_grad;
  const at::Tensor p = mask.mask_probability(0).to(at::kDouble);
  ASSERT_GT(p.max().item<double>(), 0.5);
  std::vector<at::Tensor> errors;
  for (std::int64_t step = 0; step < 2000; ++step) {
    const at::Tensor m = mask.sample(3, step).to(at::kDouble);
    errors.push_back((of.x - at::mm(of.f * m, of.W_dec)).square().sum(1));
  }
  const at::Tensor drawn = at::stack(errors);
  const at::Tensor distance =
      (drawn.mean(0) - expected_masked_error(of.x, of.f, p, of.W_dec)).abs();
  EXPECT_TRUE((distance <= 4 * drawn.std(0) / std::sqrt(2000.0)).all().item<bool>()) << distance;
}

constexpr std::int64_t kWidths = 40;

/// P(floor(F^u) = w) for w = 1 .. F; F itself has none.
double chance_of_width(std::int64_t w) {
  if (w == kWidths) return 0;
  return std::log((w + 1.0) / static_cast<double>(w)) / std::log(static_cast<double>(kWidths));
}

TEST(MaskTheory, ARankHasTheChanceOfAllWidthsThatHoldIt) {
  AtmMaskOptions options;
  options.draw = MaskDraw::kExpected;
  options.nested_weight = 0.7;
  std::vector<double> falling(kWidths);
  for (std::int64_t i = 0; i < kWidths; ++i) falling[i] = static_cast<double>(kWidths - i);
  const at::Tensor chance = theory_mask(falling, options).nesting({}).chance;
  for (std::int64_t rank = 1; rank <= kWidths; ++rank) {
    double all = 0;
    for (std::int64_t w = rank; w <= kWidths; ++w) all += chance_of_width(w);
    EXPECT_NEAR(nested_chance(rank, kWidths), all, 1e-12) << rank;
    EXPECT_NEAR(nested_chance(rank, kWidths, 0.7), 0.3 + 0.7 * all, 1e-12) << rank;
    EXPECT_NEAR(nested_chance(rank, kWidths, 0.7), chance[rank - 1].item<double>(), 1e-12) << rank;
  }
  EXPECT_EQ(nested_chance(1, 1), 1);
}

/// The error of a pair on the child's token under nested masks, by enumeration of the widths.
double nested_loss(const Pair& rows, const std::array<double, 2>& f, std::int64_t parent_rank,
                   std::int64_t child_rank, double weight) {
  const auto error = [&](std::int64_t width) {
    double sum = 0;
    for (std::size_t d = 0; d < 2; ++d) {
      const double a = width >= parent_rank ? f[0] * rows[0][d] : 0;
      const double b = width >= child_rank ? f[1] * rows[1][d] : 0;
      sum += (1 - a - b) * (1 - a - b);
    }
    return sum;
  };
  double loss = (1 - weight) * error(kWidths);
  for (std::int64_t w = 1; w <= kWidths; ++w) loss += weight * chance_of_width(w) * error(w);
  return loss;
}

TEST(MaskTheory, NestedMasksRewardAFaithfulPairByTheRatioOfItsRanks) {
  for (const double weight : {1.0, 0.5, 0.3}) {
    for (const auto& [a, b] : {std::pair{1, 2}, {2, 20}, {4, 40}, {39, 40}, {7, 7}, {30, 3}}) {
      const double gain = nested_loss(kAbsorbed, {0, std::numbers::sqrt2}, a, b, weight) -
                          nested_loss(kFaithful, {1, 1}, a, b, weight);
      EXPECT_NEAR(nested_pair_gain(a, b, kWidths, weight), gain, 1e-12) << a << " " << b;
    }
  }
  EXPECT_NEAR(nested_pair_gain(2, 20, kWidths), nested_pair_gain(4, 40, kWidths), 1e-12);
  EXPECT_NEAR(nested_pair_gain(1, 10, 16384), std::log(10) / std::log(16384), 1e-12);
}

/// The product's own error of a pair of which the parent is latent 1, the child latent `child`.
double product_error(const Pair& rows, const std::array<double, 2>& f, std::int64_t child,
                     const Nesting& nesting) {
  at::Tensor W_dec = at::zeros({kWidths, 2}, at::kDouble);
  at::Tensor codes = at::zeros({1, kWidths}, at::kDouble);
  for (const auto& [latent, i] : {std::pair<std::int64_t, std::size_t>{1, 0}, {child, 1}}) {
    W_dec[latent] = tensor({rows[i][0], rows[i][1]});
    codes[0][latent] = f[i];
  }
  return nested_error(tensor({1, 1}).view({1, 2}), sparse_codes(codes), nesting, W_dec,
                      at::zeros({2}, at::kDouble))
      .error.item<double>();
}

TEST(MaskTheory, InExpectationASecondLatentPaysFromTheRatioOfRanksThatItsPriceAsks) {
  AtmMaskOptions options;
  options.draw = MaskDraw::kExpected;
  options.nested_weight = 0.8;
  std::vector<double> falling(kWidths);
  for (std::int64_t i = 0; i < kWidths; ++i) falling[i] = static_cast<double>(kWidths - i);
  const Nesting nesting = theory_mask(falling, options).nesting({});
  for (const double price : {0.1, 0.2, 0.5}) {
    int faithful = 0;
    for (std::int64_t child = 2; child < kWidths;
         ++child) {  // of rank child + 1; the parent's is 2
      const double gain = product_error(kAbsorbed, {0, std::numbers::sqrt2}, child, nesting) -
                          product_error(kFaithful, {1, 1}, child, nesting);
      EXPECT_NEAR(gain, nested_pair_gain(2, child + 1, kWidths, 0.8), 1e-12);
      const double ratio = static_cast<double>(child + 1) / 2;
      EXPECT_EQ(gain > price, ratio > nested_pair_ratio(price, kWidths, 0.8)) << price << child;
      faithful += gain > price;
    }
    EXPECT_GT(faithful, 0);
    EXPECT_LT(faithful, kWidths - 2) << "some pairs are worth it and some are not";
  }
  EXPECT_TRUE(std::isinf(nested_pair_ratio(0.1, kWidths, 0)));
}

TEST(MaskTheory, TheMemoryOfAnAverageIsThatOfItsWeights) {
  for (const double decay : {0.0, 0.9, 0.99}) {
    double sum = 0;
    double squares = 0;
    double weight = 1;
    for (int step = 1; step <= 3000; ++step, weight *= decay) {
      sum += weight;
      squares += weight * weight;
      if (step == 1 || step == 30) {
        EXPECT_NEAR(average_memory(512, decay, step) / (512 * sum * sum / squares), 1, 1e-12);
      }
    }
    EXPECT_NEAR(average_memory(512, decay) / (512 * sum * sum / squares), 1, 1e-12);
  }
  EXPECT_NEAR(average_memory(2048, 0.99), 407'552, 1e-6);
}

TEST(MaskTheory, SimulatedAveragesDeviateAndStandInTheWrongOrderAsTheirMemorySays) {
  constexpr std::int64_t kPairs = 800;
  constexpr std::int64_t kBatch = 40;
  constexpr double kRates[] = {0.2, 0.185};
  AtmMaskOptions options;
  options.importance = Importance::kFrequency;
  options.decay = 0.9;
  AtmMask mask(2 * kPairs, options);
  Rng rng(11, Stream::kTest, 0);
  BatchStatistics batch;
  batch.tokens = kBatch;
  batch.magnitude = batch.contribution = at::zeros({2 * kPairs});
  for (int step = 1; step <= 45; ++step) {
    batch.fired = at::zeros({2 * kPairs});
    auto* fired = batch.fired.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < 2 * kPairs; ++i) {
      for (std::int64_t b = 0; b < kBatch; ++b) fired[i] += rng.uniform() < kRates[i / kPairs];
    }
    mask.observe(batch);
    if (step != 5 && step != 45) continue;
    const double memory = average_memory(kBatch, options.decay, step);
    const at::Tensor found = mask.importance().to(at::kDouble).view({2, kPairs});
    for (const int which : {0, 1}) {
      const double deviation = found[which].std().item<double>() / kRates[which];
      EXPECT_NEAR(deviation / rate_deviation(kRates[which], memory), 1, 4 / std::sqrt(2.0 * kPairs))
          << step;
    }
    const double wrong = (found[0] < found[1]).to(at::kDouble).mean().item<double>();
    const double expected = wrong_order_chance(kRates[0], kRates[1], memory);
    ASSERT_GT(expected, 0.2);
    EXPECT_NEAR(wrong, expected, 4 * std::sqrt(expected * (1 - expected) / kPairs)) << step;
  }
  EXPECT_EQ(wrong_order_chance(0.1, 0.1, 100), 0.5);
}

TEST(MaskTheory, RefusesWhatItDoesNotHoldFor) {
  EXPECT_THROW(pair_mask_threshold(2), std::invalid_argument);
  EXPECT_THROW(pair_mask_threshold(-0.1), std::invalid_argument);
  EXPECT_THROW(pair_pull_threshold(2), std::invalid_argument);
  EXPECT_THROW(nested_chance(0, 4), std::invalid_argument);
  EXPECT_THROW(nested_chance(5, 4), std::invalid_argument);
  EXPECT_THROW(nested_chance(2, 4, 1.1), std::invalid_argument);
  EXPECT_THROW(nested_pair_ratio(-1, 4), std::invalid_argument);
  EXPECT_THROW(average_memory(0, 0.9), std::invalid_argument);
  EXPECT_THROW(average_memory(5, 1), std::invalid_argument);
  EXPECT_THROW(rate_deviation(0, 100), std::invalid_argument);
  EXPECT_THROW(wrong_order_chance(0.1, 0.2, 0), std::invalid_argument);
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "evaluation/logistic.h"
#include "sae/base/rng.h"
#include "support/golden_file.h"

namespace sae {
namespace {

TEST(Logistic, WithoutFeaturesTheInterceptIsTheLogOdds) {
  LogisticProblem problem;
  problem.inside = {3};
  problem.outside = {5};
  const LogisticFit fit = fit_logistic(problem);
  EXPECT_TRUE(fit.w.empty());
  EXPECT_NEAR(fit.b, std::log(3.0 / 5.0), 1e-12);
}

TEST(Logistic, BalancedWeightsMakeTheInterceptOfNothingZero) {
  const std::vector<float> x(10, 0);
  const std::vector<std::uint8_t> labels = {1, 0, 0, 0, 0, 0, 0, 1, 0, 0};
  const LogisticProblem problem = logistic_problem(x, labels, /*balanced=*/true);
  EXPECT_EQ(problem.rows(), 1) << "rows of zeros are one";
  EXPECT_DOUBLE_EQ(problem.inside[0], 5);
  EXPECT_DOUBLE_EQ(problem.outside[0], 5);
  const LogisticFit fit = fit_logistic(problem);
  EXPECT_NEAR(fit.b, 0, 1e-14);
  EXPECT_EQ(fit.w[0], 0);
}

TEST(Logistic, OneFeatureThatTellsTheClassesApartSolvesItsOwnEquation) {
  // x = +1 inside, -1 outside: b = 0 by symmetry and w = 2 sigma(-w).
  const std::vector<float> x = {1, -1};
  const std::vector<std::uint8_t> labels = {1, 0};
  const LogisticFit fit = fit_logistic(logistic_problem(x, labels, false));
  EXPECT_NEAR(fit.w[0], 2 / (1 + std::exp(fit.w[0])), 1e-14);
  EXPECT_NEAR(fit.b, 0, 1e-14);
}

TEST(Logistic, TheGradientVanishesOnBadlyScaledData) {
  Rng rng(0, Stream::kTest, 1);
  std::vector<float> x;
  std::vector<std::uint8_t> labels;
  for (int i = 0; i < 400; ++i) {
    const double base = rng.normal();
    labels.push_back(base + 0.3 * rng.normal() > 1 ? 1 : 0);
    x.push_back(static_cast<float>(1e3 * base));
    x.push_back(static_cast<float>(1e-3 * rng.normal()));
    x.push_back(rng.uniform() < 0.9 ? 0.0F : static_cast<float>(base));
  }
  const LogisticFit fit = fit_logistic(logistic_problem(x, labels, true));
  EXPECT_LT(fit.gradient, 1e-8);
  EXPECT_LT(fit.iterations, 60);
}

TEST(Logistic, OneClassAloneIsRefused) {
  const std::vector<float> x = {1, 2};
  const std::vector<std::uint8_t> labels = {1, 1};
  EXPECT_THROW(fit_logistic(logistic_problem(x, labels, false)), std::invalid_argument);
  EXPECT_THROW(logistic_problem(x, {}, false), std::invalid_argument);
}

TEST(Logistic, CountsGiveScoresAndEmptyOnesGiveZero) {
  Confusion counts;
  EXPECT_EQ(counts.f1(), 0);
  EXPECT_EQ(counts.recall(), 0);
  for (int i = 0; i < 3; ++i) counts.add(true, true);
  counts.add(true, false);
  for (int i = 0; i < 2; ++i) counts.add(false, true);
  for (int i = 0; i < 4; ++i) counts.add(false, false);
  EXPECT_DOUBLE_EQ(counts.f1(), 6.0 / 9);
  EXPECT_DOUBLE_EQ(counts.precision(), 0.75);
  EXPECT_DOUBLE_EQ(counts.recall(), 0.6);
  EXPECT_DOUBLE_EQ(counts.accuracy(), 0.7);
}

TEST(Logistic, HasScikitLearnsSolutionAtATightTolerance) {
  const GoldenFile golden("selection");
  const at::Tensor codes = golden["train"];
  const at::Tensor y = golden.longs("train_y");
  const at::Tensor latents = golden.longs("latents");
  const at::Tensor w = golden.doubles("w");
  const at::Tensor b = golden.doubles("b");
  for (std::int64_t c = 0; c < 26; ++c) {
    const at::Tensor mine = (y == c).to(at::kByte).contiguous();
    for (std::int64_t k = 1; k <= 10; ++k) {
      const at::Tensor x = codes.index_select(1, latents[c].slice(0, 0, k)).contiguous();
      const LogisticFit fit = fit_logistic(logistic_problem(
          {x.const_data_ptr<float>(), static_cast<std::size_t>(x.numel())},
          {mine.const_data_ptr<std::uint8_t>(), static_cast<std::size_t>(mine.numel())}, true));
      EXPECT_NEAR(fit.b, b[c][k - 1].item<double>(), 1e-6) << c << " " << k;
      for (std::int64_t j = 0; j < k; ++j) {
        EXPECT_NEAR(fit.w[static_cast<std::size_t>(j)], w[c][k - 1][j].item<double>(), 1e-6)
            << c << " " << k << " " << j;
      }
    }
  }
}

}  // namespace
}  // namespace sae

#include <cmath>

#include "sae/metrics/reconstruction.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

TEST(ReconstructionMetrics, AgreeWithTheirFormulas) {
  const at::Tensor x = normal({40, 6}, 1) + 3;
  const at::Tensor x_hat = x + 0.3 * normal({40, 6}, 2);
  const at::Tensor f = normal({40, 9}, 3).clamp_min(0) * (at::arange(9, at::kDouble) > 0);
  ReconstructionMetrics metrics(9);
  for (std::int64_t first : {0, 10, 20}) {  // parts of unequal size
    const std::int64_t last = first == 20 ? 40 : first + 10;
    metrics.add(x.slice(0, first, last), x_hat.slice(0, first, last),
                sparse_codes(f.slice(0, first, last)));
  }
  const double error = (x - x_hat).square().sum(1).mean().item<double>();
  const double spread = (x - x.mean(0)).square().sum(1).mean().item<double>();
  const MetricValues values = metrics.values();
  EXPECT_EQ(metrics.tokens(), 40);
  EXPECT_NEAR(values.at("mse"), error, 1e-12);
  EXPECT_NEAR(values.at("explained_variance"), 1 - error / spread, 1e-10);
  EXPECT_NEAR(values.at("nmse"), error / x.square().sum(1).mean().item<double>(), 1e-12);
  EXPECT_NEAR(values.at("cosine"), at::cosine_similarity(x, x_hat).mean().item<double>(), 1e-12);
  EXPECT_NEAR(values.at("l2_ratio"), (x_hat.norm(2, 1) / x.norm(2, 1)).mean().item<double>(),
              1e-12);
  EXPECT_NEAR(values.at("l0"), (f > 0).sum(1).to(at::kDouble).mean().item<double>(), 1e-12);
  EXPECT_NEAR(values.at("never_fired"), 1.0 / 9, 1e-12);
  expect_close(metrics.firing_frequency(), (f > 0).to(at::kDouble).mean(0));
}

TEST(ReconstructionMetrics, DenseAndSparseCodesCountTheSame) {
  const at::Tensor x = normal({8, 3}, 1);
  const at::Tensor f = normal({8, 5}, 2).clamp_min(0);
  ReconstructionMetrics dense(5), sparse(5);
  dense.add(x, 0.5 * x, Codes::from_dense(f));
  sparse.add(x, 0.5 * x, sparse_codes(f));
  EXPECT_EQ(dense.values(), sparse.values());
}

TEST(ReconstructionMetrics, TokensOfZeroHaveNoDirectionAndNoRatio) {
  const at::Tensor x = at::tensor({3.0, 4.0, 0.0, 0.0}, at::kDouble).view({2, 2});
  const at::Tensor x_hat = at::tensor({6.0, 8.0, 1.0, 0.0}, at::kDouble).view({2, 2});
  ReconstructionMetrics metrics(1);
  metrics.add(x, x_hat, sparse_codes(at::ones({2, 1}, at::kDouble)));
  EXPECT_NEAR(metrics.values().at("cosine"), 1, 1e-12);
  EXPECT_NEAR(metrics.values().at("l2_ratio"), 2, 1e-12);
  EXPECT_NEAR(metrics.values().at("mse"), (25 + 1) / 2.0, 1e-12);

  ReconstructionMetrics nothing(1);
  nothing.add(at::zeros({2, 2}), at::ones({2, 2}), sparse_codes(at::ones({2, 1})));
  EXPECT_TRUE(std::isnan(nothing.values().at("cosine")));
  EXPECT_TRUE(std::isnan(nothing.values().at("l2_ratio")));
}

TEST(ReconstructionMetrics, HaveNoVarianceToExplainWhereTokensAreEqual) {
  for (const double size : {1e-3, 1.0, 37.0, 1e4}) {
    const at::Tensor x = (size * normal({1, 5}, 9)).to(at::kFloat).expand({300, 5});
    ReconstructionMetrics metrics(1);
    metrics.add(x, 0.9 * x, sparse_codes(at::ones({300, 1})));
    EXPECT_TRUE(std::isnan(metrics.values().at("explained_variance"))) << size;
    EXPECT_NEAR(metrics.values().at("nmse"), 0.01, 1e-6) << size;
  }
}

TEST(ReconstructionMetrics, HaveNoValuesWithoutTokens) {
  const ReconstructionMetrics metrics(4);
  EXPECT_TRUE(metrics.values().empty());
  EXPECT_EQ(metrics.firing_frequency().sizes(), at::IntArrayRef({4}));
}

TEST(ReconstructionMetrics, ExplainedVarianceSurvivesALargeMean) {
  // Summing squares in float32 would lose all of a variance of 3 beside a mean of 1000.
  const at::Tensor x = (normal({200, 3}, 1) + 1000).to(at::kFloat);
  const at::Tensor x_hat = at::full({200, 3}, 1000.0F);
  ReconstructionMetrics metrics(1);
  metrics.add(x, x_hat, sparse_codes(at::ones({200, 1})));
  const at::Tensor exact = x.to(at::kDouble);
  const double expected = 1 - (exact - 1000).square().sum().item<double>() /
                                  (exact - exact.mean(0)).square().sum().item<double>();
  EXPECT_NEAR(metrics.values().at("explained_variance"), expected, 1e-3);
}

}  // namespace
}  // namespace sae

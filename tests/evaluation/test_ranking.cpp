#include <cmath>
#include <limits>

#include "sae/evaluation/ranking.h"
#include "sae/metrics/reconstruction.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

/// A healthy autoencoder's numbers, with some of them changed.
std::string judged(const MetricValues& changed, std::int64_t d_sae = 100) {
  MetricValues values = {{"mse", 2}, {"explained_variance", 0.7}, {"l0", 4}, {"never_fired", 0.2}};
  for (const auto& [name, value] : changed) values[name] = value;
  return why_degenerate(values, d_sae);
}

TEST(Ranking, TakesUsualCodesAndPoorOnes) {
  EXPECT_EQ(judged({}), "");
  EXPECT_EQ(judged({{"explained_variance", 0.01}, {"never_fired", 0.8}}), "");
  EXPECT_EQ(judged({{"never_fired", 0.97}, {"l0", 20}}, 16384), "")
      << "491 latents are a dictionary";
  EXPECT_EQ(judged({{"l0", 0.7}}), "");
  EXPECT_EQ(judged({{"l0", 0.3}, {"true_l0", 0.4}}), "") << "where the features are that rare";
}

TEST(Ranking, LeavesOutWhatHardlyFires) {
  EXPECT_EQ(judged({{"l0", 0}, {"never_fired", 1}}), "none of its latents ever fires");
  EXPECT_EQ(judged({{"l0", 0.12}}), "L0 0.120: most activations have no active latent");
  EXPECT_EQ(judged({{"l0", 1}, {"never_fired", 0.99}}),
            "only 1 of 100 latents ever fire, and these on 100 % of the activations");
  EXPECT_EQ(judged({{"l0", 3}, {"never_fired", 0.94}}),
            "only 6 of 100 latents ever fire, and these on 50 % of the activations");
}

TEST(Ranking, LeavesOutWhatExplainsNothing) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(judged({{"explained_variance", -0.25}}),
            "explained variance -0.250: no better than the mean activation");
  EXPECT_EQ(judged({{"explained_variance", 0}}),
            "explained variance 0.000: no better than the mean activation");
  EXPECT_EQ(judged({{"explained_variance", nan}}),
            "the activations do not vary, so there is nothing to explain");
  EXPECT_EQ(judged({{"mse", nan}, {"explained_variance", nan}}), "its codes are not finite");
}

TEST(Ranking, LeavesOutDictionariesWithoutAWorldsFeatures) {
  EXPECT_EQ(judged({{"uniqueness", 0.01}}), "all of its decoder rows are nearest to one feature");
  EXPECT_EQ(judged({{"absorption_missing", 5}, {"absorption_parents", 2}}),
            "5 of 7 parent features have no latent that fires with them");
  EXPECT_EQ(judged({{"absorption_missing", 2}, {"absorption_parents", 5}}), "");
}

TEST(Ranking, LooksAtTheCodesOfWords) {
  const at::Tensor plain = at::eye(4).repeat({2, 1});
  for (const bool sparse : {false, true}) {
    const auto judge = [&](const at::Tensor& dense) {
      const Codes codes = Codes::from_dense(dense);
      return why_degenerate(sparse ? codes.to_sparse() : codes, "words");
    };
    EXPECT_EQ(judge(plain), "");
    EXPECT_EQ(judge(at::zeros({8, 4})), "8 of 8 words have no active latent");
    EXPECT_EQ(judge(plain * (at::arange(4) < 1)), "6 of 8 words have no active latent");
    EXPECT_EQ(judge(plain * (at::arange(4) < 2)), "") << "half of them";
    EXPECT_EQ(judge(at::ones({8, 4}) * at::tensor({0.0F, 2.0F, 0.0F, 1.0F})),
              "its codes are the same for all words");
    at::Tensor broken = plain.clone();
    broken[3][1] = NAN;
    EXPECT_EQ(judge(broken), "its codes are not finite");
  }
}

TEST(Ranking, LooksAtTheDirectionsOfLatentsThatFire) {
  const Codes codes = Codes::from_dense(at::tensor({1.0F, 2.0F, 0.0F}).view({1, 3}));
  const at::Tensor row = at::tensor({1.0F, 2.0F});
  const at::Tensor other = at::tensor({-2.0F, 1.0F});
  EXPECT_EQ(why_degenerate(codes, at::stack({row, 3 * row, other})),
            "the decoder rows of all latents that fire are one direction");
  EXPECT_EQ(why_degenerate(codes, at::stack({row, other, other})), "");
}

}  // namespace
}  // namespace sae

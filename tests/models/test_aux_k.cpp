#include <gtest/gtest.h>

#include "sae/models/aux_k.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

// W_enc = W_dec = identity: latent 0 fires, the dead ones would carry what is left of x.
std::shared_ptr<Autoencoder> make(const Json& more) {
  Json model{{"architecture", "topk"}, {"d_in", 4}, {"d_sae", 4}, {"k", 1}};
  model.update(more);
  const std::shared_ptr<Autoencoder> sae = make_sae(model);
  const at::NoGradGuard no_grad;
  sae->W_enc.copy_(at::eye(4));
  sae->W_dec.copy_(at::eye(4));
  sae->b_enc.zero_();
  sae->b_dec.zero_();
  return sae;
}

at::Tensor inputs() { return tensor({9, 3, 2, 1, 9, 1, -2, 2}).view({2, 4}); }

Losses losses_of(const Autoencoder& sae) { return sae.losses(sae.forward(inputs(), {}), {}); }

double aux_k(const Json& options, const std::vector<std::int64_t>& dead) {
  const auto sae = make(options);
  kill_latents(*sae, dead);
  const Losses losses = losses_of(*sae);
  EXPECT_EQ(losses.size(), 2U);
  EXPECT_EQ(losses.back().first, "aux_k");
  return losses.back().second.item<double>();
}

TEST(AuxK, IsAbsentWhereNothingIsDeadOrItsWeightIsZero) {
  EXPECT_EQ(losses_of(*make(Json::object())).size(), 1U);
  const auto off = make({{"aux_coefficient", 0}});
  kill_latents(*off, {1, 2});
  EXPECT_EQ(losses_of(*off).size(), 1U);
}

TEST(AuxK, RebuildsTheResidualFromTheLargestDeadLatents) {
  // Residuals (0 3 2 1) and (0 1 -2 2). With all three dead and aux_k = 2, the rebuilt parts are
  // (3 2) and (1 2): errors 1 and 4. Around their mean (0 2 0 1.5) the residuals vary by
  // 1 + 4 + .25, twice.
  const Json normalised{{"aux_coefficient", 0.5}, {"aux_k", 2}};
  EXPECT_NEAR(aux_k(normalised, {1, 2, 3}), 0.5 * 5 / 10.5, 1e-12);
  Json plain = normalised;
  plain["aux_normalize"] = false;
  EXPECT_NEAR(aux_k(plain, {1, 2, 3}), 0.5 * 5 / 2, 1e-12);
  // One dead latent of two wanted: half the weight; errors 4 + 1 and 4 + 4.
  EXPECT_NEAR(aux_k(plain, {1}), 0.5 * 0.5 * 13 / 2, 1e-12);
  EXPECT_NEAR(aux_k(normalised, {1}), 0.5 * 13 / 10.5, 1e-12);
  // Null means d_in / 2 = 2.
  EXPECT_NEAR(aux_k({{"aux_coefficient", 0.5}}, {1, 2, 3}), 0.5 * 5 / 10.5, 1e-12);
}

TEST(AuxK, KeepsItsWeightAgainstTheErrorAtEverySizeOfInputsUnlessItIsNormalised) {
  for (const bool normalised : {false, true}) {
    const auto sae = make({{"aux_normalize", normalised}});
    kill_latents(*sae, {1, 2, 3});
    const auto weight = [&](double size) {
      const Losses losses = sae->losses(sae->forward(size * inputs(), {}), {});
      return losses[1].second.item<double>() / losses[0].second.item<double>();
    };
    EXPECT_NEAR(weight(30), normalised ? weight(1) / 900 : weight(1), 1e-12);
  }
}

TEST(AuxK, IsZeroWhereResidualsDoNotVary) {
  const auto sae = make({{"aux_k", 1}});
  kill_latents(*sae, {1, 2, 3});
  const at::Tensor same = inputs().slice(0, 0, 1);
  for (const at::Tensor& x : {same, same.expand({3, 4})}) {
    const Losses losses = sae->losses(sae->forward(x, {}), {});
    ASSERT_EQ(losses.size(), 2U);
    EXPECT_EQ(losses.back().second.item<double>(), 0);
    EXPECT_EQ(gradients(*sae, losses.back().second).at("W_dec").abs().max().item<double>(), 0);
  }
}

TEST(AuxK, ReachesEncoderAndDecoderOfTheDeadAndNothingOfTheLiving) {
  const auto sae = make({{"aux_k", 2}});
  kill_latents(*sae, {1, 2, 3});
  {
    const at::NoGradGuard no_grad;
    sae->W_dec.mul_(0.5);  // else the residual is rebuilt exactly, and the gradient is zero
  }
  const Losses losses = losses_of(*sae);
  const Tensors gradient = gradients(*sae, losses.back().second);
  for (const char* name : {"W_enc", "W_dec"}) {
    const std::vector<double> rows = numbers(gradient.at(name).abs().sum(1));
    EXPECT_EQ(rows[0], 0) << name << ": the residual is a constant";
    for (std::size_t i = 1; i < 4; ++i) EXPECT_GT(rows[i], 0) << name << " " << i;
  }
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>

#include <cmath>

#include "sae/models/standard.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

constexpr Step kDue{20, 3};

/// A Standard of 4 inputs that resamples every 10 steps.
std::shared_ptr<Standard> make(std::int64_t d_sae, const std::vector<std::int64_t>& dead) {
  const std::shared_ptr<Autoencoder> sae = make_sae(
      {{"architecture", "standard"}, {"d_in", 4}, {"d_sae", d_sae}, {"resample_every", 10}});
  kill_latents(*sae, dead);
  return std::dynamic_pointer_cast<Standard>(sae);
}

at::Tensor resample(Autoencoder& sae, const at::Tensor& x, Step step) {
  return sae.resample(x, squared_errors(sae.forward(x, step)), step);
}

TEST(Standard, ResamplesOnlyWhenDueAndOnlyDeadLatents) {
  const auto sae = make(6, {1, 4});
  const at::Tensor x = normal({8, 4}, 1);
  const Tensors before = snapshot(*sae);
  for (const std::int64_t step : {0, 1, 9, 11, 25}) {
    EXPECT_FALSE(resample(*sae, x, {step, 3}).defined()) << step;
    EXPECT_FALSE(sae->resamples({step, 3})) << step;
  }
  expect_same(snapshot(*sae), before);
  EXPECT_EQ(indices(resample(*sae, x, kDue)), (std::vector<std::int64_t>{1, 4}));
  const at::Tensor living = integers({0, 2, 3, 5});
  for (const char* name : {"W_enc", "b_enc", "W_dec"}) {
    EXPECT_TRUE(at::equal(sae->named_parameters()[name].index_select(0, living),
                          before.at(name).index_select(0, living)));
  }
  EXPECT_TRUE(at::equal(sae->b_dec, before.at("b_dec")));
  EXPECT_FALSE(sae->dead().any().item<bool>());
  EXPECT_FALSE(resample(*sae, x, kDue).defined()) << "nothing is dead any more";
}

TEST(Standard, NeverResamplesUnlessAsked) {
  const std::shared_ptr<Autoencoder> sae =
      make_sae({{"architecture", "standard"}, {"d_in", 4}, {"d_sae", 6}});
  kill_latents(*sae, {0});
  EXPECT_FALSE(resample(*sae, normal({8, 4}, 1), kDue).defined());
}

TEST(Standard, GivesADeadLatentTheDirectionOfABadlyReconstructedInput) {
  const auto sae = make(6, {1, 4});
  at::Tensor x = sae->b_dec.detach().expand({8, 4}).clone();
  {
    const at::NoGradGuard no_grad;
    sae->b_enc.fill_(-100);  // nothing fires, so x_hat = b_dec: only token 5 has an error
  }
  x[5] += tensor({0, 3, 0, -4});
  const double norm =
      sae->W_enc.norm(2, 1).index_select(0, integers({0, 2, 3, 5})).mean().item<double>();
  const at::Tensor which = resample(*sae, x, kDue);
  for (const std::int64_t i : {1, 4}) {
    expect_close(sae->W_dec[i], tensor({0, 0.6, 0, -0.8}));
    expect_close(sae->W_enc[i], 0.2 * norm * tensor({0, 0.6, 0, -0.8}));
    EXPECT_EQ(sae->b_enc[i].item<double>(), 0);
    EXPECT_EQ(sae->silent_tokens()[i].item<std::int64_t>(), 0);
  }
}

TEST(Standard, DrawsInputsInProportionToTheirSquaredErrors) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < 2000; ++i) all.push_back(i);
  const auto sae = make(2000, all);
  at::Tensor x = sae->b_dec.detach().expand({3, 4}).clone();
  {
    const at::NoGradGuard no_grad;
    sae->b_enc.fill_(-100);
  }
  x[0] += tensor({1, 0, 0, 0});
  x[2] += tensor({0, 2, 0, 0});  // 4 times the squared error
  resample(*sae, x, kDue);
  const double share = (sae->W_dec.select(1, 1) > 0.5).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(share, 0.8, 4 * std::sqrt(0.16 / 2000));
  expect_close(sae->W_dec.norm(2, 1), at::ones({2000}, at::kDouble));
  // Nobody is alive to take a norm from.
  expect_close(sae->W_enc.norm(2, 1), 0.2 * at::ones({2000}, at::kDouble));
}

TEST(Standard, ResamplesByASeedAndAStep) {
  const at::Tensor x = normal({64, 4}, 1);
  const auto resampled = [&](Step step) {
    const auto sae = make(6, {1, 4, 5});
    resample(*sae, x, step);
    return sae->W_dec.detach();
  };
  EXPECT_TRUE(at::equal(resampled({20, 3}), resampled({20, 3})));
  EXPECT_FALSE(at::equal(resampled({20, 3}), resampled({30, 3})));
  EXPECT_FALSE(at::equal(resampled({20, 3}), resampled({20, 4})));
}

TEST(Standard, SteersItsCoefficientByTheActivePerToken) {
  const std::shared_ptr<Autoencoder> sae = make_sae({{"architecture", "standard"},
                                                     {"d_in", 4},
                                                     {"d_sae", 6},
                                                     {"sparsity", 0.5},
                                                     {"target_l0", 0.5}});
  const at::Tensor x = normal({64, 4}, 1);
  const auto sparsity = [&] {
    const Forward pass = sae->forward(x, {});
    const double loss = sae->losses(pass, {})[1].second.item<double>();
    sae->observe(sae->statistics(pass), {});
    return loss;
  };
  const double first = sparsity();
  EXPECT_GT(sparsity(), first) << "L0 is above 0.5, so lambda grows";
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>

#include "sae/base/error.h"
#include "sae/models/jumprelu.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

// One latent, one input, no bias: h = x and x_hat = f. Threshold 1/2, window (3/8, 5/8).
const std::vector<double> kInputs{0.25, 0.375, 0.4375, 0.5, 0.5625, 0.625, 0.75, -1};

Json model() {
  return {{"architecture", "jumprelu"}, {"d_in", 1},    {"d_sae", 1}, {"bandwidth", 0.25},
          {"threshold_init", 0.5},      {"sparsity", 0}};
}

std::shared_ptr<JumpRelu> make(const Json& options) {
  const std::shared_ptr<Autoencoder> sae = make_sae(options);
  const at::NoGradGuard no_grad;
  sae->W_enc.fill_(1);
  sae->W_dec.fill_(1);
  sae->b_enc.zero_();
  sae->b_dec.zero_();
  if (sae->named_parameters().contains("log_threshold")) {
    sae->named_parameters()["log_threshold"].fill_(std::log(0.5));  // exact in float64
  }
  return std::dynamic_pointer_cast<JumpRelu>(sae);
}

at::Tensor inputs() { return tensor(kInputs).view({-1, 1}); }

double threshold_gradient(JumpRelu& sae) {
  const Forward pass = sae.forward(inputs(), {});
  const Tensors gradient = gradients(sae, total(sae.losses(pass, {})));
  return gradient.count("threshold") > 0 ? gradient.at("threshold").item<double>()
                                         : gradient.at("log_threshold").item<double>();
}

constexpr Storage kBoth[] = {Storage::kSparse, Storage::kDense};

TEST(JumpRelu, ActivatesStrictlyAboveItsThreshold) {
  const auto sae = make(model());
  for (const Storage storage : kBoth) {
    set_storage(*sae, storage);
    const std::vector<double> expected{0, 0, 0, 0, 0.5625, 0.625, 0.75, 0};
    EXPECT_EQ(numbers(sae->forward(inputs(), {}).latents.to_dense()), expected);
    EXPECT_EQ(numbers(sae->encode(inputs()).to_dense()), expected);
  }
  set_storage(*sae, Storage::kSparse);
  EXPECT_EQ(sae->encode(inputs()).values().size(0), 3) << "inference stores what fires";
  EXPECT_EQ(sae->forward(inputs(), {}).latents.values().size(0), 5)
      << "training also what lies in the window, whose edge 3/8 is outside";
}

TEST(JumpRelu, TheErrorMovesTheThresholdFromInsideTheWindowOnly) {
  // df/dtheta = -(theta / eps) = -2 at h = 7/16, 1/2 and 9/16. The error's slope there is
  // 2 (f - x) / B = -2 x / 8 for the two silent ones, 0 for the one that fires.
  const double expected = -2 * (-2 * (0.4375 + 0.5) / 8);
  for (const char* threshold_as : {"value", "log"}) {
    Json options = model();
    options["threshold_as"] = threshold_as;
    const auto sae = make(options);
    for (const Storage storage : kBoth) {
      set_storage(*sae, storage);
      // d theta / d log theta = theta
      EXPECT_NEAR(threshold_gradient(*sae),
                  std::string(threshold_as) == "log" ? 0.5 * expected : expected, 1e-12);
    }
  }
}

TEST(JumpRelu, TheSparsityLossMovesTheThresholdByTheRectangle) {
  Json options = model();
  const double error = threshold_gradient(*make(options));
  options["sparsity"] = 0.5;
  const auto sae = make(options);
  const Losses losses = sae->losses(sae->forward(inputs(), {}), {});
  EXPECT_EQ(losses[1].first, "sparsity");
  EXPECT_NEAR(losses[1].second.item<double>(), 0.5 * 3 / 8, 1e-12);
  // dH/dtheta = -1 / eps = -4 at three of eight tokens.
  EXPECT_NEAR(threshold_gradient(*sae) - error, 0.5 * 3 * -4 / 8, 1e-12);

  options["sparsity_loss"] = "target";
  options["target_l0"] = 0.25;  // L0 = 3/8: (1.5 - 1)^2, slope 2 * .5 / .25 in L0
  const auto target = make(options);
  EXPECT_NEAR(target->losses(target->forward(inputs(), {}), {})[1].second.item<double>(),
              0.5 * 0.25, 1e-12);
  EXPECT_NEAR(threshold_gradient(*target) - error, 0.5 * 4 * (3 * -4.0 / 8), 1e-12);
}

TEST(JumpRelu, ATrainedThresholdBelowZeroCountsAsZero) {
  const auto sae = make(model());
  {
    const at::NoGradGuard no_grad;
    sae->named_parameters()["threshold"].fill_(-3);
  }
  EXPECT_EQ(sae->threshold().item<double>(), 0);
  for (const Storage storage : kBoth) {
    set_storage(*sae, storage);
    const at::Tensor f = sae->encode(inputs()).to_dense();
    EXPECT_TRUE(at::equal(f, inputs().relu()));
  }
}

TEST(JumpRelu, OnlyDeadLatentsArePulledTowardsTheirThreshold) {
  Json options = model();
  options["preact_coefficient"] = 2;
  const auto sae = make(options);
  EXPECT_EQ(sae->losses(sae->forward(inputs(), {}), {}).size(), 2U) << "nothing is dead";
  kill_latents(*sae, {0});
  const Losses losses = sae->losses(sae->forward(inputs(), {}), {});
  ASSERT_EQ(losses.size(), 3U);
  EXPECT_EQ(losses[2].first, "preact");
  EXPECT_NEAR(losses[2].second.item<double>(), 2 * (0.25 + 0.125 + 0.0625 + 1.5) / 8, 1e-12);
}

TEST(JumpRelu, TargetL0SteersLambdaUnlessItIsTheLossItself) {
  for (const char* kind : {"l0", "target"}) {
    Json options = model();
    options["sparsity"] = 1;
    options["sparsity_loss"] = kind;
    options["target_l0"] = 0.125;
    const auto sae = make(options);
    const Forward pass = sae->forward(inputs(), {});
    const double before = sae->losses(pass, {})[1].second.item<double>();
    sae->observe(sae->statistics(pass), {});
    const double after = sae->losses(pass, {})[1].second.item<double>();
    if (std::string(kind) == "l0") {
      EXPECT_GT(after, before);
    } else {
      EXPECT_EQ(after, before);
    }
  }
}

TEST(JumpRelu, TheTargetLossNeedsATarget) {
  Json options = model();
  options["sparsity_loss"] = "target";
  try {
    make(options);
    FAIL() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("model.target_l0: missing"), std::string::npos);
  }
}

}  // namespace
}  // namespace sae

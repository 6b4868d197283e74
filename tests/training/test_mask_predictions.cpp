// What mask_theory.h predicts of training, tried on worlds of known features.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <numbers>

#include "sae/data/world.h"
#include "sae/models/mask_theory.h"
#include "sae/training/optimizer.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

enum class Start { kFaithful, kAbsorbed };
enum class Rows { kFixed, kTrained };

/// Preset `pair`, d_in 50: feature 1 fires only with feature 0; two more fire on their own.
std::shared_ptr<const World> pair_world() {
  WorldOptions options;
  options.preset = "pair";
  return std::make_shared<const World>(options);
}

/// An `atm` with one latent for each feature, of which that of the child is masked with chance p.
std::shared_ptr<Autoencoder> pair_sae(const World& world, double sparsity, double p, Start start) {
  auto sae = make_autoencoder(config_from_json({{"architecture", "atm"},
                                                {"d_in", world.d_in()},
                                                {"d_sae", world.features()},
                                                {"sparsity", sparsity},
                                                {"mask",
                                                 {{"importance", "magnitude"},
                                                  {"threshold", 0},
                                                  {"rate", -std::log1p(-p)},
                                                  {"warmup_steps", 0},
                                                  {"min_keep", 0}}}},
                                               "test"));
  const at::NoGradGuard no_grad;
  // The child lacks all importance and the others have as much as theta or more.
  buffer(*sae, "mask.magnitude").copy_(tensor({1, 0, 1, 1}));
  buffer(*sae, "mask.updates").fill_(10'000);
  const at::Tensor& d = world.dictionary();
  sae->W_dec.copy_(d);
  sae->W_enc.copy_(d);
  if (start == Start::kAbsorbed) {
    sae->W_dec[1] = (d[0] + d[1]) / std::numbers::sqrt2;
    sae->W_enc[1] = std::numbers::sqrt2 * d[1];
    sae->W_enc[0] = d[0] - 1.2 * d[1];
  }
  return sae;
}

struct PairOutcome {
  double loss = 0;      ///< masked error and penalty, the exact mean over masks
  bool silent = false;  ///< the parent's latent, on its child's tokens
};

PairOutcome train_pair(double sparsity, double p, Start start, Rows rows) {
  const auto world = pair_world();
  const auto sae = pair_sae(*world, sparsity, p, start);
  WorldSource samples(world, /*data_seed=*/1);
  Adam adam(sae, {.clip_norm = 0});
  const at::Tensor W_dec = sae->W_dec.detach().clone();
  const std::int64_t steps = rows == Rows::kFixed ? 120 : 250;
  for (std::int64_t i = 0; i < steps; ++i) {
    const Step step{.index = i, .seed = 7, .total = steps};
    total(sae->losses(sae->forward(samples.next(128), step), step)).backward();
    adam.step(1e-2 * (1 - static_cast<double>(i) / static_cast<double>(steps)));
    const at::NoGradGuard no_grad;
    if (rows == Rows::kFixed) sae->W_dec.copy_(W_dec);
    sae->b_dec.zero_();
  }
  const at::NoGradGuard no_grad;
  const at::Tensor x = WorldSource(world, /*data_seed=*/1, SampleSet::kHeldOut).next(4000);
  const at::Tensor f = sae->encode(x).to_dense();
  const at::Tensor masked = sae->mask()->mask_probability(0);
  const at::Tensor loss =
      expected_masked_error(x, f, masked, sae->W_dec) + sparsity * at::mv(f, 1 - masked);
  const at::Tensor together = (world->dictionary()[0] + world->dictionary()[1]).unsqueeze(0);
  return {loss.mean(at::kDouble).item<double>(),
          sae->encode(together).to_dense()[0][0].item<double>() == 0};
}

/// From both starts at the same mask probability.
struct PairOutcomes {
  PairOutcome faithful, absorbed;

  double gain() const { return absorbed.loss - faithful.loss; }
};

PairOutcomes train_pairs(double sparsity, double p, Rows rows) {
  PairOutcomes found{train_pair(sparsity, p, Start::kFaithful, rows),
                     train_pair(sparsity, p, Start::kAbsorbed, rows)};
  EXPECT_TRUE(found.absorbed.silent) << "no gradient reaches a silent parent: " << p;
  return found;
}

TEST(MaskPredictions, OfAPairTheSolutionThatEndsLowerFlipsAtTheThreshold) {
  for (const double sparsity : {0.05, 0.2, 0.5, 0.8}) {
    const double threshold = pair_mask_threshold(sparsity);
    for (const double side : {-0.01, 0.01}) {
      const PairOutcomes found = train_pairs(sparsity, threshold + side, Rows::kFixed);
      EXPECT_EQ(found.gain() > 0, side > 0) << sparsity << " " << found.gain();
      EXPECT_FALSE(found.faithful.silent);
    }
  }
}

TEST(MaskPredictions, OfAPairWithTrainedRowsItFlipsAtTheThresholdOfThePull) {
  constexpr double kSparsity = 0.5;
  const PairOutcomes below = train_pairs(kSparsity, 0.05, Rows::kTrained);
  EXPECT_TRUE(below.faithful.silent) << "a faithful pair slides into an absorbed one";
  // Nearer to it a parent may fall silent by the chance of the draws, and stays so.
  const PairOutcomes above = train_pairs(kSparsity, 0.25, Rows::kTrained);
  ASSERT_LT(pair_pull_threshold(kSparsity), 0.25);
  ASSERT_GT(pair_mask_threshold(kSparsity), 0.25);
  EXPECT_FALSE(above.faithful.silent);
  EXPECT_GT(above.gain(), 0.001);
}

}  // namespace
}  // namespace sae

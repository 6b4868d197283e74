// target_l0: what it steers is the L0 of inference, whatever is masked in training.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "sae/models/sparsity.h"
#include "sae/training/trainer.h"
#include "support/sae_testing.h"
#include "training/batch_pass.h"

namespace sae {
namespace {

constexpr double kTarget = 2;
constexpr std::int64_t kInputs = 8;

Json masked(Json model, const std::string& draw, const std::string& paths,
            const std::string& inference = "none") {
  model["mask"] = {{"draw", draw},
                   {"paths", paths},
                   {"inference", inference},
                   {"warmup_steps", 50},
                   {"importance", "frequency"}};
  return model;
}

/// The model without a mask and under every mask.
std::vector<Json> variants_of(const Json& model, const std::vector<std::string>& inferences) {
  std::vector<Json> all{model};
  for (const char* draw : {"bernoulli", "nested"}) {
    for (const char* paths : {"masked", "both"}) {
      for (const std::string& inference : inferences) {
        all.push_back(masked(model, draw, paths, inference));
      }
    }
  }
  return all;
}

double measured_l0(const Autoencoder& sae, const at::Tensor& x) {
  return (sae.encode(x).to_dense() > 0).sum().item<double>() / static_cast<double>(x.size(0));
}

Json jumprelu() {
  return {{"architecture", "jumprelu"}, {"d_in", kInputs},  {"d_sae", 16},
          {"sparsity_loss", "target"},  {"bandwidth", 0.2}, {"threshold_init", 0.1},
          {"target_l0", kTarget},       {"sparsity", 100}};
}

TEST(TargetL0, IsHeldAgainstTheLatentsThatInferenceHas) {
  const at::Tensor x = normal({40, kInputs}, 3);
  for (const Json& model : variants_of(jumprelu(), {"none", "expected", "hard"})) {
    const auto sae = make_sae(model);
    if (sae->mask()) set_mask_statistics(*sae, 200);
    const double l0 = measured_l0(*sae, x);
    for (const std::int64_t parts : {1, 3}) {
      const BatchPass pass = run_batch(*sae, x, {200, 1}, {.parts = parts});
      EXPECT_EQ(pass.losses[1].first, "sparsity");
      const double wanted = 100 * std::pow(l0 / kTarget - 1, 2);
      EXPECT_NEAR(pass.losses[1].second.item<double>(), wanted, 1e-6 * wanted)
          << model << " in " << parts;
      EXPECT_NEAR(l0_at_inference(pass.statistics, sae->mask().get(), sae->spread()).item<double>(),
                  l0, 1e-6 * l0)
          << model;
    }
  }
}

TEST(TargetL0, IsMetAtInferenceUnderEveryMask) {
  Json steered = {{"architecture", "standard"}, {"d_in", kInputs},      {"d_sae", 16},
                  {"target_l0", kTarget},       {"target_rate", 0.002}, {"sparsity", 0.5}};
  for (const Json& plain : {jumprelu(), steered}) {
    for (const Json& model : variants_of(plain, {"none"})) {
      auto sae = make_autoencoder(config_from_json(model, "test"));
      sae->initialise(3);
      TrainOptions options;
      options.steps = 2000;
      options.batch = 256;
      options.schedule.lr = 2e-3;
      Trainer trainer(sae, options);
      while (!trainer.finished()) {
        const auto step = static_cast<std::uint64_t>(trainer.steps_done());
        trainer.step(normal({256, kInputs}, 1000 + step % 64).to(at::kFloat));
      }
      const at::Tensor x = normal({20000, kInputs}, 5).to(at::kFloat);
      EXPECT_NEAR(measured_l0(*sae, x), kTarget, 0.05 * kTarget) << model;
    }
  }
}

}  // namespace
}  // namespace sae

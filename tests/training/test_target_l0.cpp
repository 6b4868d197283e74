// target_l0: what it steers is the L0 of inference, whatever is masked in training.
#include <gtest/gtest.h>

#include <cmath>

#include "support/run_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

constexpr double kTarget = 2;

/// L0 on held-out data of a run on a small world, with the mask of inference.
double held_out_l0(const Json& model) {
  Json config = tiny_config(model, 1500);
  config["model"].update({{"d_sae", 24}, {"target_l0", kTarget}});
  config["train"].update({{"batch", 128}, {"lr_decay", "linear"}, {"checkpoint_every", 0}});
  config["eval"] = {{"tokens", 4096}};
  const TemporaryFolder folder;
  return train(tiny_run(config), folder.path() / "run", /*resume=*/false).metrics.at("l0");
}

Json masked(Json model, const std::string& draw, const std::string& paths,
            const std::string& inference = "none") {
  model["mask"] = {{"draw", draw},           {"paths", paths}, {"warmup_steps", 50},
                   {"inference", inference}, {"rate", 2},      {"importance", "frequency"}};
  return model;
}

class TargetL0 : public testing::TestWithParam<std::string> {
 protected:
  Json model() const {
    if (GetParam() == "standard") return {{"architecture", "standard"}, {"target_rate", 0.01}};
    return {{"architecture", "jumprelu"}, {"sparsity_loss", "target"}, {"bandwidth", 0.2}};
  }
};

TEST_P(TargetL0, IsMetByWhatInferenceUsesUnderEveryMask) {
  EXPECT_NEAR(held_out_l0(model()), kTarget, 0.05 * kTarget) << "without a mask";
  for (const char* draw : {"bernoulli", "nested"}) {
    for (const char* paths : {"masked", "both"}) {
      EXPECT_NEAR(held_out_l0(masked(model(), draw, paths)), kTarget, 0.05 * kTarget)
          << draw << " " << paths;
    }
  }
}

TEST_P(TargetL0, IsMetUnderTheMaskOfInference) {
  EXPECT_NEAR(held_out_l0(masked(model(), "bernoulli", "both", "hard")), kTarget, 0.1 * kTarget);
}

INSTANTIATE_TEST_SUITE_P(EveryArchitectureThatHasOne, TargetL0,
                         testing::Values("standard", "jumprelu"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace sae

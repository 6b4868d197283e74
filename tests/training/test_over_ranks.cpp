// Training over ranks: what many processes train together is what one trains alone.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "sae/training/trainer.h"
#include "support/ranks_testing.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

constexpr std::int64_t kBatch = 14, kInputs = 5, kSteps = 20;
constexpr std::int64_t kLatents = 13;  // neither 2 nor 3 divides it

struct Layout {
  std::int64_t latents, data;
};

/// A run's result, as one process has it.
struct Trained {
  Tensors state;
  std::vector<MetricValues> reports;
};

Json small(const char* architecture, const Json& more) {
  Json model{{"architecture", architecture},
             {"d_in", kInputs},
             {"d_sae", kLatents},
             {"dead_after_tokens", kBatch}};  // silent in one batch: dead
  model.update(more);
  return model;
}

Json masked(const char* draw, const char* paths, const char* importance) {
  return {{"draw", draw}, {"paths", paths},        {"importance", importance},
          {"rate", 2},    {"warmup_steps", 3},     {"min_keep", 0.3},
          {"cycle", 6},   {"active_fraction", 0.5}};
}

std::vector<Json> models() {
  const Json bernoulli = masked("bernoulli", "masked", "product");
  const Json both = masked("bernoulli", "both", "mean");
  Json nested{{"draw", "nested"}, {"paths", "both"}, {"warmup_steps", 3}, {"min_keep", 0.1}};
  Json ranked{{"draw", "ranked"}, {"importance", "frequency"}, {"warmup_steps", 3}};
  Json expected_at_inference = bernoulli;
  expected_at_inference["inference"] = "expected";
  return {
      small("standard", {{"sparsity", 0.3}}),
      small("standard", {{"sparsity", 0.3}, {"target_l0", 3}, {"target_rate", 0.05}}),
      small("standard", {{"sparsity", 2}, {"resample_every", 4}, {"decoder_norm", "free"}}),
      small("topk", {{"k", 3}, {"aux_k", 2}}),
      small("topk", {{"k", 9}, {"aux_normalize", false}}),  // more than a rank of three has
      small("topk", {{"k", 3}, {"mask", both}}),
      small("topk", {{"k", 4}, {"mask", nested}}),
      small("batch_topk", {{"k", 2.5}}),
      small("batch_topk", {{"k", 3}, {"mask", ranked}}),
      small("matryoshka", {{"k", 3}, {"widths", {2, 7, kLatents}}}),
      small("matryoshka", {{"k", 3}, {"widths", {1, 5, kLatents}}, {"mask", both}}),
      small("jumprelu", {{"sparsity", 0.1},
                         {"bandwidth", 0.8},
                         {"threshold_init", 3},
                         {"preact_coefficient", 0.5}}),
      small("jumprelu",
            {{"sparsity", 1}, {"bandwidth", 0.8}, {"sparsity_loss", "target"}, {"target_l0", 3}}),
      small("jumprelu", {{"sparsity", 0.1},
                         {"bandwidth", 0.8},
                         {"sparsity_loss", "tanh"},
                         {"target_l0", 3},
                         {"threshold_as", "log"},
                         {"mask", expected_at_inference}}),
      small("atm", {{"sparsity", 0.3}, {"decoder_norm", "free"}, {"mask", both}}),
      small("atm", {{"sparsity", 0.3}, {"mask", expected_at_inference}, {"target_l0", 3}}),
      small("topk", {{"k", 3}, {"freeze", "soft_decoder"}}),
      small("standard", {{"sparsity", 0.3}, {"freeze", "encoder"}, {"decoder_norm", "free"}}),
      small("batch_topk", {{"k", 3}, {"freeze", "decoder"}, {"mask", both}}),
  };
}

at::Tensor batch_of(std::int64_t step) {
  return 1.5 * normal({kBatch, kInputs}, 1000 + static_cast<std::uint64_t>(step)) + 0.2;
}

TrainOptions options_for(std::int64_t accumulate) {
  TrainOptions options;
  options.steps = kSteps;
  options.batch = kBatch;
  options.accumulate = accumulate;
  options.adam.clip_norm = 0.5;  // binds
  options.schedule.lr = 0.02;
  options.log_every = 5;
  options.input_norm = InputNorm::kSqrtD;
  options.input_centre = InputCentre::kMean;
  return options;
}

Trained train_on(const Mesh& mesh, const Json& model, std::int64_t accumulate) {
  const auto sae = make_autoencoder(config_from_json(model, "test"), mesh);
  sae->initialise(3);
  to_double(*sae);
  Trainer trainer(sae, options_for(accumulate), /*seed=*/5);
  trainer.calibrate(batch_of(-1));
  const Rows own = rows_of(kBatch, mesh.data.rank(), mesh.data.size());
  Trained trained;
  while (!trainer.finished()) {
    const at::Tensor x = batch_of(trainer.steps_done()).slice(0, own.begin, own.end);
    StepReport report = trainer.step(x);
    for (const char* name : {"tokens_per_s", "comm_mb", "comm_s"}) report.values.erase(name);
    if (!report.values.empty()) trained.reports.push_back(std::move(report.values));
  }
  for (const auto& [name, tensor] : snapshot(*sae)) {
    trained.state[name] =
        Autoencoder::is_by_latent(name, tensor) ? sae->spread().all_latents(tensor) : tensor;
  }
  return trained;
}

/// To 1e-11 where everything is float64; averages of masks are float32, whatever the weights.
void expect_same(const Trained& one, const Trained& many) {
  ASSERT_EQ(one.state.size(), many.state.size());
  for (const auto& [name, tensor] : one.state) {
    const at::Tensor& other = many.state.at(name);
    ASSERT_EQ(tensor.sizes(), other.sizes()) << name;
    const double allowed = tensor.scalar_type() == at::kFloat ? 1e-6 : 1e-11;
    const at::Tensor value = tensor.to(at::kDouble);
    const double apart = (value - other.to(at::kDouble)).abs().max().item<double>();
    EXPECT_LE(apart, allowed * std::max(1.0, value.abs().max().item<double>())) << name;
  }
  ASSERT_EQ(one.reports.size(), many.reports.size());
  for (std::size_t i = 0; i < one.reports.size(); ++i) {
    ASSERT_EQ(one.reports[i].size(), many.reports[i].size());
    for (const auto& [name, value] : one.reports[i]) {
      const double other = many.reports[i].at(name);
      if (std::isnan(value) && std::isnan(other)) continue;
      const double allowed = name.starts_with("mask.") || name == "drift" ? 1e-5 : 1e-11;
      EXPECT_NEAR(value, other, allowed * std::max(1.0, std::abs(value)))
          << name << " of report " << i;
    }
  }
}

/// A model whose pre-activations of batches of -1, 0 and 1 are whole numbers, most of them equal to
/// others; without any that is positive if `none`.
std::shared_ptr<Autoencoder> coarse(const Mesh& mesh, const Json& model, bool none) {
  const auto sae = make_autoencoder(config_from_json(model, "test"), mesh);
  to_double(*sae);
  const at::NoGradGuard no_grad;
  const at::Tensor all = normal({kLatents, kInputs}, 50).sign();
  sae->W_enc.copy_(sae->spread().own_latents(all));
  sae->W_dec.copy_(sae->spread().own_latents(normal({kLatents, kInputs}, 51)));
  sae->b_enc.fill_(none ? -100 : 0);
  // The first latents, all of the first rank's among three, never fire.
  const at::Tensor silent = at::arange(kLatents) < 5;
  sae->b_enc.masked_fill_(sae->spread().own_latents(silent), -100);
  return sae;
}

/// How often each latent fires in a batch, and x_hat of all tokens.
std::pair<at::Tensor, at::Tensor> fired_and_x_hat(const Mesh& mesh, const Json& model, bool none) {
  const auto sae = coarse(mesh, model, none);
  const at::Tensor all = normal({kBatch, kInputs}, 52).sign();
  const Rows own = rows_of(kBatch, mesh.data.rank(), mesh.data.size());
  const at::Tensor x = all.slice(0, own.begin, own.end);
  std::vector<BatchPart> plan = sae->plan({x}, {3, 5});
  const Forward pass = sae->forward(x, {3, 5}, plan[0]);
  at::Tensor fired = sae->statistics(pass).fired.to(at::kDouble);
  sae->spread().sum_tokens({&fired});
  return {sae->spread().all_latents(fired), sae->spread().all_tokens(pass.x_hat)};
}

class OverRanks : public testing::TestWithParam<Layout> {};

TEST_P(OverRanks, TheSameEntriesAreKeptWhereManyAreEqualOrNoneIsPositive) {
  const Layout layout = GetParam();
  const std::vector<Json> all{small("topk", {{"k", 3}}),
                              small("topk", {{"k", 9}}),
                              small("batch_topk", {{"k", 2.5}}),
                              small("standard", Json::object()),
                              small("matryoshka", {{"k", 2}, {"widths", {4, kLatents}}}),
                              small("jumprelu", {{"threshold_init", 1}})};
  std::mutex mutex;
  expect_none(on_ranks(static_cast<int>(layout.latents * layout.data), [&](const Group& world) {
    const Mesh mesh = mesh_of(world, layout.latents, layout.data);
    for (const Json& model : all) {
      for (const bool none : {false, true}) {
        const auto [fired, x_hat] = fired_and_x_hat({}, model, none);
        const auto [together, x_hat_together] = fired_and_x_hat(mesh, model, none);
        const std::lock_guard lock(mutex);
        SCOPED_TRACE(model.dump());
        EXPECT_TRUE(at::equal(fired, together)) << fired << together;
        EXPECT_LE((x_hat - x_hat_together).abs().max().item<double>(), 1e-12);
        EXPECT_EQ(fired.sum().item<double>() > 0, !none);
      }
    }
  }));
}

TEST_P(OverRanks, EveryArchitectureTrainsAsInOneProcess) {
  const Layout layout = GetParam();
  for (const std::int64_t accumulate : {1, 2}) {
    std::vector<Trained> alone;
    for (const Json& model : models()) alone.push_back(train_on({}, model, accumulate));
    const auto reports = [&](const char* name) {
      return std::any_of(alone.begin(), alone.end(), [&](const Trained& one) {
        return std::any_of(one.reports.begin(), one.reports.end(),
                           [&](const MetricValues& values) { return values.contains(name); });
      });
    };
    EXPECT_TRUE(reports("loss.aux_k") && reports("loss.preact")) << "nothing is dead in any";
    std::mutex mutex;
    expect_none(on_ranks(static_cast<int>(layout.latents * layout.data), [&](const Group& world) {
      const Mesh mesh = mesh_of(world, layout.latents, layout.data);
      for (std::size_t i = 0; i < alone.size(); ++i) {
        const Json model = models()[i];
        const Trained together = train_on(mesh, model, accumulate);
        const std::lock_guard lock(mutex);
        SCOPED_TRACE(model.dump() + " in " + std::to_string(accumulate) + " parts");
        expect_same(alone[i], together);
      }
    }));
  }
}

// 2 and 3 ranks of latents, 2 of tokens, 2 of each.
INSTANTIATE_TEST_SUITE_P(Layouts, OverRanks,
                         testing::Values(Layout{2, 1}, Layout{3, 1}, Layout{1, 2}, Layout{2, 2}),
                         [](const testing::TestParamInfo<Layout>& info) {
                           return std::to_string(info.param.latents) + "x" +
                                  std::to_string(info.param.data);
                         });

}  // namespace
}  // namespace sae

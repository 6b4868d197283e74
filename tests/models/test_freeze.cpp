// Frozen weights: on any architecture, whatever else it has, and nothing else changes.
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "sae/base/error.h"
#include "sae/models/architectures.h"
#include "sae/models/standard.h"
#include "sae/training/trainer.h"
#include "support/convert_testing.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

constexpr std::int64_t kBatch = 16, kInputs = 5, kLatents = 12;

at::Tensor cosines(const at::Tensor& rows, const at::Tensor& start) {
  return (rows * start).sum(1) / (rows.norm(2, 1) * start.norm(2, 1));
}

TEST(HoldToStart, TurnsARowToTheBorderOfItsConeAndKeepsItsNorm) {
  const at::Tensor start = at::stack({tensor({1, 0, 0}), tensor({1, 0, 0}), tensor({0, 1, 0}),
                                      tensor({0, 0, 1}), tensor({0, 0, 0}), tensor({0.6, 0.8, 0})});
  const at::Tensor rows = at::stack({tensor({1.2, 1.6, 0}),     // cosine .6
                                     tensor({0.9, 0, 0.2}),     // within
                                     tensor({0, -1, 1}),        // cosine -.7
                                     tensor({0, 0, -3}),        // opposite
                                     tensor({0.3, -0.4, 0}),    // held by nothing
                                     tensor({-0.8, 0.6, 0})});  // at a right angle
  const at::Tensor before = rows.clone();
  hold_to_start(rows, start);
  const double root = std::sqrt(2);
  expect_close(rows[0], tensor({1.6, 1.2, 0}));
  EXPECT_TRUE(at::equal(rows[1], before[1]));
  expect_close(rows[2], tensor({0, 0.8 * root, 0.6 * root}));
  expect_close(rows[3], tensor({0, 0, 3}));
  EXPECT_TRUE(at::equal(rows[4], before[4]));
  expect_close(rows[5], 0.8 * tensor({0.6, 0.8, 0}) + 0.6 * tensor({-0.8, 0.6, 0}));
}

TEST(HoldToStart, NoDirectionOfTheConeIsNearer) {
  at::Tensor start = normal({40, 6}, 1);
  start = start / start.norm(2, 1, true);
  const at::Tensor before = normal({40, 6}, 2);
  at::Tensor rows = before.clone();
  hold_to_start(rows, start);
  expect_close(rows.norm(2, 1), before.norm(2, 1));
  const at::Tensor outside = cosines(before, start) < kSoftCosine;
  ASSERT_GT(outside.sum().item<std::int64_t>(), 20);
  for (std::uint64_t trial = 0; trial < 200; ++trial) {  // others on the cone's border
    at::Tensor across = normal({40, 6}, 100 + trial);
    across = across - (across * start).sum(1, true) * start;
    across = across / across.norm(2, 1, true);
    const at::Tensor other = before.norm(2, 1, true) * (0.8 * start + 0.6 * across);
    const at::Tensor further = (other - before).norm(2, 1) >= (rows - before).norm(2, 1) - 1e-12;
    EXPECT_TRUE(further.masked_select(outside).all().item<bool>());
  }
  at::Tensor again = rows.clone();
  hold_to_start(again, start);
  expect_close(again, rows);
}

Json small_model(const std::string& architecture, const std::string& freeze) {
  Json model{{"architecture", architecture}, {"d_in", kInputs}, {"d_sae", kLatents}};
  const Json small{{"k", 3},
                   {"sparsity", 0.25},
                   {"widths", {3, 7, kLatents}},
                   {"bandwidth", 0.8},
                   {"threshold_init", 0.3},
                   {"dead_after_tokens", 1000},
                   {"preact_coefficient", 0.5}};
  for (const Architecture& row : architectures()) {
    if (row.name != architecture) continue;
    for (const FieldDoc& field : row.options) {
      if (small.contains(field.name)) model[field.name] = small[field.name];
    }
  }
  model["freeze"] = freeze;
  return model;
}

Json with_mask(Json model, const Json& mask) {
  model["mask"] = mask;
  return model;
}

class Frozen : public ::testing::TestWithParam<std::tuple<std::string, at::DeviceType>> {
 protected:
  std::string architecture() const { return std::get<0>(GetParam()); }
  at::Device device() const { return at::Device(std::get<1>(GetParam())); }
  at::Tensor here(const at::Tensor& t) const { return t.to(device()); }

  void SetUp() override {
    if (device().is_cuda() && !at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }

  std::vector<Json> variants(const std::string& freeze) const {
    const Json model = small_model(architecture(), freeze);
    const Json drawn{{"warmup_steps", 0}, {"min_keep", 0.3}, {"rate", 3}, {"paths", "both"}};
    const Json expected{{"warmup_steps", 0}, {"draw", "expected"}};
    std::vector<Json> all{with_mask(model, drawn), with_mask(model, expected)};
    if (device().is_cuda()) return all;
    if (architecture() != "atm") all.push_back(model);
    for (std::size_t i = 0; i < 2; ++i) {
      all.push_back(all[i]);
      all.back()["decoder_norm"] = "free";
    }
    return all;
  }

  /// Losses by name and gradients of a model that is the same whatever is frozen.
  std::pair<std::map<std::string, double>, Tensors> computed(Json model, const std::string& freeze,
                                                             Storage storage) const {
    model["freeze"] = freeze;
    const std::shared_ptr<Autoencoder> sae = make_sae(model);
    sae->to(device());
    set_storage(*sae, storage);
    if (sae->mask()) set_mask_statistics(*sae, 200);
    kill_latents(*sae, {0, 4});
    const Step step{3, 5};
    const Losses losses = sae->losses(sae->forward(here(normal({kBatch, kInputs}, 1)), step), step);
    std::map<std::string, double> values;
    for (const auto& [name, value] : losses) values[name] = value.item<double>();
    total(losses).backward();
    Tensors gradient;
    for (const auto& item : sae->named_parameters()) {
      if (item.value().grad().defined()) gradient[item.key()] = item.value().grad().clone();
    }
    return {values, gradient};
  }

  Trainer trained(const Json& model) const {
    const std::shared_ptr<Autoencoder> sae = make_autoencoder(config_from_json(model, "test"));
    sae->initialise(3);
    to_double(*sae);
    sae->to(device());
    TrainOptions options;
    options.steps = 12;
    options.batch = kBatch;
    options.schedule.lr = 0.1;
    Trainer trainer(sae, options, /*seed=*/5);
    const at::ScalarType type = sae->W_enc.scalar_type();
    while (!trainer.finished()) {
      trainer.step(here(1.5 * normal({kBatch, kInputs}, 50 + trainer.steps_done())).to(type));
    }
    return trainer;
  }
};

TEST_P(Frozen, LossesAndOtherGradientsAreThoseOfTheModelThatIsNot) {
  for (const auto& [freeze, parameter] :
       {std::pair{"decoder", "W_dec"}, {"encoder", "W_enc"}, {"soft_decoder", ""}}) {
    for (const Json& model : variants(freeze)) {
      for (const Storage storage : {Storage::kSparse, Storage::kDense}) {
        SCOPED_TRACE(model.dump());
        const auto [losses, gradient] = computed(model, freeze, storage);
        auto [expected_losses, expected] = computed(model, "none", storage);
        EXPECT_EQ(losses, expected_losses);
        EXPECT_EQ(expected.erase(parameter), std::string(parameter).empty() ? 0U : 1U);
        EXPECT_EQ(gradient.count(parameter), 0U);
        expect_close(gradient, expected);
      }
    }
  }
}

TEST_P(Frozen, TrainingLeavesWhatIsFrozenToTheBitAndMovesTheRest) {
  for (const auto& [freeze, parameter] :
       {std::pair{"decoder", "W_dec"}, {"encoder", "W_enc"}, {"none", ""}}) {
    for (const Json& model : variants(freeze)) {
      SCOPED_TRACE(model.dump());
      const auto start = make_autoencoder(config_from_json(model, "test"));
      start->initialise(3);
      const Trainer trainer = trained(model);
      const Tensors after = clones(trainer.autoencoder()->named_parameters());
      for (const auto& item : start->named_parameters()) {
        const at::Tensor before = item.value().to(after.at(item.key()).options());
        EXPECT_EQ(at::equal(after.at(item.key()), before), item.key() == parameter) << item.key();
      }
      for (const auto& [name, tensor] : trainer.state()) {
        EXPECT_FALSE(name.starts_with(std::string(parameter) + ".")) << name << " has moments";
      }
    }
  }
}

TEST_P(Frozen, RowsOfASoftDecoderStayInTheirConesAndWouldLeaveThem) {
  for (const Json& model : variants("soft_decoder")) {
    SCOPED_TRACE(model.dump());
    const auto start = make_autoencoder(config_from_json(model, "test"));
    start->initialise(3);
    const at::Tensor rows = here(start->W_dec.detach()).to(at::kDouble);
    const Trainer trainer = trained(model);
    const Autoencoder& sae = *trainer.autoencoder();
    const at::Tensor now = cosines(sae.W_dec.detach(), rows);
    EXPECT_GE(now.min().item<double>(), kSoftCosine - 1e-6);
    EXPECT_LT(now.min().item<double>(), kSoftCosine + 1e-6) << "none came to the border";
    if (sae.unit_norm_decoder()) {
      expect_close(sae.W_dec.norm(2, 1), at::ones({kLatents}), "", 1e-6);
    }
    expect_close(sae.decoder_start(), rows / rows.norm(2, 1, true), "", 1e-6);
    Json free = model;
    free["freeze"] = "none";
    const Trainer moved = trained(free);
    EXPECT_LT(cosines(moved.autoencoder()->W_dec.detach(), rows).min().item<double>(),
              kSoftCosine - 0.02);
  }
}

TEST_P(Frozen, AStepOfASoftDecoderIsAFreeOneProjected) {
  Json model = small_model(architecture(), "soft_decoder");
  const auto step_of = [&](const std::string& freeze) {
    model["freeze"] = freeze;
    const std::shared_ptr<Autoencoder> sae = make_autoencoder(config_from_json(model, "test"));
    sae->initialise(3);
    to_double(*sae);
    sae->to(device());
    TrainOptions options;
    options.steps = 1;
    options.batch = kBatch;
    options.schedule = {.lr = 1, .lr_decay = LrDecay::kNone};
    Trainer trainer(sae, options, 5);
    trainer.step(here(normal({kBatch, kInputs}, 9)));
    return sae;
  };
  const auto free = step_of("none"), soft = step_of("soft_decoder");
  const at::Tensor start = soft->decoder_start().to(at::kDouble);
  const at::Tensor w = free->W_dec.detach();
  const at::Tensor c = cosines(w, start).unsqueeze(1);
  const at::Tensor across = w - c * w.norm(2, 1, true) * start;
  const at::Tensor border = 0.8 * start + 0.6 * across / across.norm(2, 1, true);
  expect_close(soft->W_dec, at::where(c < 0.8, w.norm(2, 1, true) * border, w), "", 1e-6);
  EXPECT_TRUE((c < 0.8).any().item<bool>());
  EXPECT_TRUE(at::equal(soft->W_enc, free->W_enc));
}

TEST_P(Frozen, TheScreenedEncoderGivesTheSameLossesAndGradients) {
  if (device().is_cuda()) GTEST_SKIP() << "has another screen";
  for (const char* freeze : {"decoder", "encoder", "soft_decoder"}) {
    const auto sae =
        make_autoencoder(config_from_json(small_model(architecture(), freeze), "test"));
    sae->initialise(3);
    const at::Tensor x = normal({kBatch, kInputs}, 1).to(at::kFloat);
    const auto pass = [&](Screening screening) {
      sae->set_encoding({Storage::kSparse, screening});
      const at::Tensor loss = total(sae->losses(sae->forward(x, {}), {}));
      Tensors all = gradients(*sae, loss);
      all["loss"] = loss.detach();
      return all;
    };
    expect_close(pass(Screening::kOn), pass(Screening::kOff), freeze, 1e-5);
  }
}

std::string case_name(const ::testing::TestParamInfo<Frozen::ParamType>& info) {
  return std::get<0>(info.param);
}

INSTANTIATE_TEST_SUITE_P(Cpu, Frozen,
                         ::testing::Combine(::testing::ValuesIn(architecture_names()),
                                            ::testing::Values(at::kCPU)),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Cuda, Frozen,
                         ::testing::Combine(::testing::ValuesIn(architecture_names()),
                                            ::testing::Values(at::kCUDA)),
                         case_name);

TEST(Freeze, DeadLatentsThatWouldBeResampledAreRefused) {
  for (const char* freeze : {"decoder", "encoder", "soft_decoder"}) {
    for (const char* architecture : {"standard", "atm"}) {
      Json model = small_model(architecture, freeze);
      model["resample_every"] = 15;
      expect_refused<ConfigError>(
          [&] { make_autoencoder(config_from_json(model, "c.json")); },
          {"model.resample_every: got 15 with freeze '" + std::string(freeze) + "'",
           "expected null"});
      const Findings findings = check_model(config_from_json(model, "c.json"), {100, 10});
      ASSERT_EQ(findings.errors().size(), 1U);
      EXPECT_NE(findings.errors()[0].find("resample_every"), std::string::npos);
    }
  }
  Json model = small_model("standard", "none");
  model["resample_every"] = 15;
  EXPECT_TRUE(make_autoencoder(config_from_json(model, "c.json")));
  model["freeze"] = "frozen";
  expect_refused<ConfigError>([&] { make_autoencoder(config_from_json(model, "c.json")); },
                              {"freeze", "soft_decoder"});
}

TEST(Freeze, NoneHasNoTensorOfItsOwn) {
  for (const std::string& name : architecture_names()) {
    const auto sae = make_autoencoder(config_from_json(small_model(name, "none"), "test"));
    EXPECT_FALSE(sae->decoder_start().defined());
    for (const auto& item : sae->named_buffers()) EXPECT_NE(item.key(), "decoder_start");
    for (const at::Tensor& parameter : sae->parameters()) EXPECT_TRUE(parameter.requires_grad());
  }
}

}  // namespace
}  // namespace sae

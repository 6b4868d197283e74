// Conformance: what every row of the table must do, whatever its architecture, with codes stored
// either way and on every device. A new row is tested without a line here.
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "sae/base/error.h"
#include "sae/models/architectures.h"
#include "support/dense_reference.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

constexpr std::int64_t kBatch = 9;

/// Options of a small model of architecture `name`, on top of its defaults.
Json small_model(const std::string& name) {
  Json model{{"architecture", name}, {"d_in", 5}, {"d_sae", 12}};
  const Json small{{"k", 3},           {"sparsity", 0.25},      {"widths", {3, 7, 12}},
                   {"bandwidth", 0.8}, {"threshold_init", 0.3}, {"dead_after_tokens", 1000}};
  for (const Architecture& row : architectures()) {
    if (row.name != name) continue;
    for (const FieldDoc& field : row.options) {
      if (small.contains(field.name)) model[field.name] = small[field.name];
    }
  }
  return model;
}

bool has_option(const std::string& architecture, const std::string& option) {
  for (const Architecture& row : architectures()) {
    if (row.name != architecture) continue;
    return std::any_of(row.options.begin(), row.options.end(),
                       [&](const FieldDoc& field) { return field.name == option; });
  }
  return false;
}

Json mask_options(const std::string& draw, const std::string& paths) {
  return {{"draw", draw},    {"paths", paths}, {"warmup_steps", 0},
          {"min_keep", 0.3}, {"rate", 3},      {"threshold", 1}};
}

class Conformance
    : public ::testing::TestWithParam<std::tuple<std::string, Storage, at::DeviceType>> {
 protected:
  std::string architecture() const { return std::get<0>(GetParam()); }
  at::Device device() const { return at::Device(std::get<2>(GetParam())); }
  at::Tensor here(const at::Tensor& t) const { return t.to(device()); }
  at::Tensor input(std::uint64_t index = 1) const { return here(normal({kBatch, 5}, index)); }

  void SetUp() override {
    if (device().is_cuda() && !at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }

  std::shared_ptr<Autoencoder> make(const Json& model) const {
    std::shared_ptr<Autoencoder> sae = make_sae(model);
    sae->to(device());
    set_storage(*sae, std::get<1>(GetParam()));
    if (sae->mask()) set_mask_statistics(*sae, 200);
    return sae;
  }

  /// Losses, reconstruction and every gradient against the dense formulas.
  void expect_equals_dense_autograd(const Json& model, double shift,
                                    const std::vector<std::int64_t>& dead = {}) const {
    const std::shared_ptr<Autoencoder> sae = make(model);
    {
      const at::NoGradGuard no_grad;
      sae->b_enc.add_(shift);
    }
    kill_latents(*sae, dead);
    const std::string what = model.dump() + " shift " + std::to_string(shift);
    const at::Tensor x = input();
    const Step step{3, 5};
    const Forward pass = sae->forward(x, step);
    const Losses losses = sae->losses(pass, step);

    const Json resolved = resolve_model(config_from_json(model, "test"));
    const bool both = pass.mask.defined() && resolved["mask"]["paths"] == "both";
    Tensors leaf = leaves(*sae);
    DenseReference reference(resolved, leaf, pass.mask, both, sae->dead());
    reference.nest(pass.nesting);
    const DensePass dense = reference(x);
    expect_close(pass.latents.to_dense(), dense.f, what + " f");
    expect_close(pass.kept.to_dense(), dense.kept, what + " f m");
    expect_close(pass.x_hat, dense.x_hat, what + " x_hat");
    ASSERT_EQ(losses.size(), dense.losses.size()) << what;
    for (std::size_t i = 0; i < losses.size(); ++i) {
      EXPECT_EQ(losses[i].first, dense.losses[i].first);
      expect_close(losses[i].second, dense.losses[i].second, what + " " + losses[i].first);
    }
    total(dense.losses).backward();
    for (auto& [name, value] : leaf) {
      value = value.grad().defined() ? value.grad() : at::zeros_like(value);
    }
    expect_close(gradients(*sae, total(losses)), leaf, what);
  }
};

// Shifts of the pre-activations: from no entry at all to every entry.
constexpr double kShifts[] = {-100, -2, 0, 1, 100};

TEST_P(Conformance, LossesAndGradientsEqualDenseAutogradAtEveryDensity) {
  std::vector<Json> variants;
  for (const char* norm : {"unit", "free"}) {
    Json model = small_model(architecture());
    model["decoder_norm"] = norm;
    variants.push_back(model);
    if (!has_option(architecture(), "sparsity_loss")) continue;
    for (const char* kind : {"l0", "tanh", "target"}) {
      model["sparsity_loss"] = kind;
      model["target_l0"] = 2;
      for (const char* threshold_as : {"value", "log"}) {
        model["threshold_as"] = threshold_as;
        variants.push_back(model);
      }
    }
  }
  for (const Json& model : variants) {
    for (const double shift : kShifts) expect_equals_dense_autograd(model, shift);
  }
}

TEST_P(Conformance, LossesAndGradientsUnderMasksInExpectationEqualThoseOfAllWidths) {
  std::vector<Json> variants;
  for (const char* kind : {"l0", "tanh", "target"}) {
    Json model = small_model(architecture());
    model["mask"] = {{"draw", "expected"}, {"warmup_steps", 0}, {"min_keep", 0.1}};
    if (has_option(architecture(), "decoder_norm")) model["decoder_norm"] = "free";
    const bool several = has_option(architecture(), "sparsity_loss");
    if (several) model["sparsity_loss"] = kind;
    if (several) model["target_l0"] = 2;
    variants.push_back(model);
    if (!several) break;
  }
  for (const Json& model : variants) {
    for (const double shift : kShifts) expect_equals_dense_autograd(model, shift);
    for (const double shift : {0, 1}) expect_equals_dense_autograd(model, shift, {0, 4, 11});
  }
}

TEST_P(Conformance, LossesAndGradientsEqualDenseAutogradUnderAMask) {
  for (const char* draw : {"bernoulli", "nested"}) {
    for (const char* paths : {"masked", "both"}) {
      Json model = small_model(architecture());
      model["mask"] = mask_options(draw, paths);
      for (const double shift : kShifts) expect_equals_dense_autograd(model, shift);
    }
  }
}

TEST_P(Conformance, LossesAndGradientsEqualDenseAutogradWithDeadLatents) {
  Json model = small_model(architecture());
  std::vector<Json> variants{model};
  if (has_option(architecture(), "aux_k")) {
    variants.clear();
    for (const bool normalize : {true, false}) {
      model["aux_normalize"] = normalize;
      for (const int aux_k : {1, 3, 50}) {
        model["aux_k"] = aux_k;
        variants.push_back(model);
      }
    }
  }
  if (has_option(architecture(), "preact_coefficient")) {
    variants.front()["preact_coefficient"] = 0.5;
    model["preact_coefficient"] = 0.5;
    model["decoder_norm"] = "free";
    variants.push_back(model);
  }
  for (const Json& variant : variants) {
    for (const double shift : {-0.5, 0.5}) {
      expect_equals_dense_autograd(variant, shift, {0, 4, 5, 11});
      expect_equals_dense_autograd(variant, shift, {7});
    }
    expect_equals_dense_autograd(variant, 0, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  }
}

TEST_P(Conformance, GradientsEqualCentralDifferences) {
  // Along random directions in all weights and biases. A straight-through threshold is left out:
  // its gradient is not the derivative. Where two step sizes disagree, there is a kink between.
  for (const bool masked : {false, true}) {
    Json model = small_model(architecture());
    if (masked) model["mask"] = mask_options("bernoulli", "both");
    const std::shared_ptr<Autoencoder> sae = make(model);
    const Step step{3, 5};
    const at::Tensor x = input();
    const auto loss = [&] { return total(sae->losses(sae->forward(x, step), step)); };
    const Tensors gradient = gradients(*sae, loss());
    int compared = 0;
    for (std::uint64_t trial = 0; trial < 6; ++trial) {
      Tensors direction;
      double slope = 0;
      std::uint64_t index = 1000 + 10 * trial;
      for (const char* name : {"W_enc", "b_enc", "W_dec", "b_dec"}) {
        direction[name] = here(normal(gradient.at(name).sizes(), index++));
        slope += (direction[name] * gradient.at(name)).sum().item<double>();
      }
      const auto difference = [&](double size) {
        const at::NoGradGuard no_grad;
        const auto move = [&](double by) {
          for (auto& item : sae->named_parameters()) {
            if (direction.count(item.key()) > 0) item.value().add_(direction[item.key()], by);
          }
        };
        move(size);
        const double up = loss().item<double>();
        move(-2 * size);
        const double down = loss().item<double>();
        move(size);
        return (up - down) / (2 * size);
      };
      const double fine = difference(1e-6);
      const double scale = 1 + std::abs(slope);
      if (std::abs(fine - difference(3e-6)) > 1e-6 * scale) continue;
      EXPECT_NEAR(fine, slope, 1e-6 * scale) << model;
      ++compared;
    }
    EXPECT_GE(compared, 3) << "nearly every direction met a kink";
  }
}

TEST_P(Conformance, StorageDoesNotChangeWhatInferenceGives) {
  Json model = small_model(architecture());
  model["mask"] = mask_options("bernoulli", "masked");
  model["mask"]["inference"] = "expected";
  const std::shared_ptr<Autoencoder> sae = make(model);
  sae->observe(sae->statistics(sae->forward(input(), {})), {});
  const Codes codes = sae->encode(input(2));
  const at::Tensor x_hat = sae->decode(codes);
  for (const Storage other : {Storage::kAuto, Storage::kSparse, Storage::kDense}) {
    set_storage(*sae, other);
    const Codes again = sae->encode(input(2));
    expect_close(again.to_dense(), codes.to_dense(), "f");
    expect_close(sae->decode(again), x_hat, "x_hat");
    if (other != Storage::kAuto) {
      EXPECT_EQ(again.is_dense(), other == Storage::kDense);
    }
  }
  EXPECT_FALSE(codes.values().requires_grad());
  EXPECT_GE(codes.values().min().item<double>(), 0);
}

TEST_P(Conformance, OnlyObserveChangesTheModel) {
  Json model = small_model(architecture());
  model["mask"] = mask_options("nested", "both");
  const std::shared_ptr<Autoencoder> sae = make(model);
  kill_latents(*sae, {2, 3});
  const Tensors before = snapshot(*sae);
  const Step step{4, 1};
  const Forward pass = sae->forward(input(), step);
  total(sae->losses(pass, step)).backward();
  const BatchStatistics statistics = sae->statistics(pass);
  sae->decode(sae->encode(input()));
  expect_same(snapshot(*sae), before, "before observe");

  sae->observe(statistics, step);
  const Tensors after = snapshot(*sae);
  for (const auto& item : sae->named_parameters()) {
    EXPECT_TRUE(at::equal(after.at(item.key()), before.at(item.key()))) << item.key();
  }
  EXPECT_FALSE(at::equal(after.at("silent_tokens"), before.at("silent_tokens")));
  EXPECT_EQ(after.at("mask.updates").item<std::int64_t>(), 8);
}

TEST_P(Conformance, CountsTokensSinceEachLatentFired) {
  const std::shared_ptr<Autoencoder> sae = make(small_model(architecture()));
  buffer(*sae, "silent_tokens").fill_(1000 - kBatch - 1);
  const Forward pass = sae->forward(input(), {});
  const at::Tensor fires = (pass.latents.to_dense() > 0).any(0);
  ASSERT_TRUE(fires.any().item<bool>());
  {
    const at::NoGradGuard no_grad;
    sae->b_enc.index_fill_(0, here(integers({1, 2})), -1e3);
  }
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(sae->dead().any().item<bool>());
    sae->observe(sae->statistics(sae->forward(input(), {})), {});
  }
  EXPECT_EQ(sae->silent_tokens()[1].item<std::int64_t>(), 1000 - kBatch - 1 + 2 * kBatch);
  EXPECT_TRUE(sae->dead()[1].item<bool>() && sae->dead()[2].item<bool>());
  const at::Tensor now = (sae->forward(input(), {}).latents.to_dense() > 0).any(0);
  EXPECT_TRUE(at::equal(sae->silent_tokens() == 0, now));
}

TEST_P(Conformance, TokensThatFireNothingReconstructAsTheBias) {
  const std::shared_ptr<Autoencoder> sae = make(small_model(architecture()));
  {
    const at::NoGradGuard no_grad;
    sae->b_enc.fill_(-1e3);
  }
  const Forward pass = sae->forward(input(), {});
  expect_close(pass.x_hat, sae->b_dec.expand({kBatch, 5}));
  const Losses losses = sae->losses(pass, {});
  const Tensors gradient = gradients(*sae, total(losses));
  expect_close(gradient.at("b_dec"), 2 * (sae->b_dec - input()).mean(0));
  EXPECT_EQ(gradient.at("W_dec").abs().max().item<double>(), 0);
  const BatchStatistics statistics = sae->statistics(pass);
  EXPECT_EQ(statistics.l0().item<double>(), 0);
  EXPECT_TRUE(std::isinf(statistics.min_positive.item<double>()));
  sae->observe(statistics, {});
  for (const auto& [name, value] : snapshot(*sae)) {
    EXPECT_TRUE(value.isfinite().all().item<bool>()) << name;
  }
}

TEST_P(Conformance, NaNInputsGiveANaNLossAndReturn) {
  const std::shared_ptr<Autoencoder> sae = make(small_model(architecture()));
  at::Tensor x = input();
  x[2][1] = NAN;
  const Forward pass = sae->forward(x, {});
  const at::Tensor loss = total(sae->losses(pass, {}));
  EXPECT_TRUE(std::isnan(loss.item<double>()));
  loss.backward();
  sae->encode(x);
}

TEST_P(Conformance, EqualValuesAreTakenInOrderOfTokenThenLatent) {
  // All latents and all tokens alike: 12 equal pre-activations in each of 9 tokens.
  Json model = small_model(architecture());
  const std::shared_ptr<Autoencoder> sae = make(model);
  {
    const at::NoGradGuard no_grad;
    sae->W_enc.fill_(0.5);
    sae->b_enc.fill_(1);
    sae->b_dec.zero_();
  }
  const at::Tensor x = at::ones({kBatch, 5}, sae->W_enc.options().requires_grad(false));
  const at::Tensor on = (sae->forward(x, {}).latents.to_dense() > 0).to(at::kLong).sum(0);
  // Whatever is left out is left out at the end: no latent fires more often than one before it.
  EXPECT_TRUE((on.diff() <= 0).all().item<bool>()) << on;
  EXPECT_GT(on[0].item<std::int64_t>(), 0);
}

TEST_P(Conformance, AModelIsItsOptionsParametersAndBuffers) {
  Json model = small_model(architecture());
  model["mask"] = mask_options("bernoulli", "masked");
  const std::shared_ptr<Autoencoder> sae = make(model);
  const Step step{2, 9};
  for (std::int64_t i = 0; i < 3; ++i) {
    const Forward pass = sae->forward(input(10 + static_cast<std::uint64_t>(i)), {i, 9});
    total(sae->losses(pass, {i, 9})).backward();
    sae->observe(sae->statistics(pass), {i, 9});
  }
  const Json resolved = resolve_model(config_from_json(model, "test"));
  EXPECT_EQ(resolve_model(config_from_json(resolved, "test")), resolved);
  const std::shared_ptr<Autoencoder> loaded = make_sae(resolved, 900);
  loaded->to(device());
  loaded->set_encoding(sae->encoding());
  {
    const at::NoGradGuard no_grad;
    const Tensors state = snapshot(*sae);
    for (auto& item : loaded->named_parameters()) item.value().copy_(state.at(item.key()));
    for (auto& item : loaded->named_buffers()) item.value().copy_(state.at(item.key()));
  }
  expect_same(snapshot(*loaded), snapshot(*sae));
  EXPECT_TRUE(at::equal(loaded->encode(input()).to_dense(), sae->encode(input()).to_dense()));
  const Forward pass = sae->forward(input(), step);
  const Forward again = loaded->forward(input(), step);
  EXPECT_TRUE(at::equal(again.mask, pass.mask));
  EXPECT_EQ(total(loaded->losses(again, step)).item<double>(),
            total(sae->losses(pass, step)).item<double>());
}

TEST_P(Conformance, FoldingTheInputScaleGivesTheSameFunctionOfRawInputs) {
  constexpr double kScale = 4;
  for (const char* inference : {"none", "expected", "hard"}) {
    Json model = small_model(architecture());
    model["mask"] = mask_options("bernoulli", "masked");
    model["mask"]["inference"] = inference;
    const std::shared_ptr<Autoencoder> sae = make(model);
    const Forward pass = sae->forward(input() * kScale, {});
    total(sae->losses(pass, {})).backward();
    sae->observe(sae->statistics(pass), {});
    const Codes scaled = sae->encode(input() * kScale);
    const at::Tensor x_hat = sae->decode(scaled);
    const Tensors before = snapshot(*sae);
    sae->fold_input_scale(kScale);
    const Codes raw = sae->encode(input());
    // Buffers are float32: thresholds and factors agree to about 1e-7.
    expect_close(raw.to_dense(), scaled.to_dense() / kScale, "f", 1e-6);
    expect_close(sae->decode(raw), x_hat / kScale, "x_hat", 1e-6);
    EXPECT_TRUE(at::equal(sae->W_dec, before.at("W_dec")));
  }
}

TEST_P(Conformance, FoldingAModelThatNeverTrainedChangesNothingButTheScale) {
  const std::shared_ptr<Autoencoder> sae = make(small_model(architecture()));
  const Codes scaled = sae->encode(input() * 2);
  sae->fold_input_scale(2);
  expect_close(sae->encode(input()).to_dense(), scaled.to_dense() / 2, "f", 1e-6);
}

TEST_P(Conformance, APassIsAFunctionOfSeedAndStep) {
  Json model = small_model(architecture());
  model["mask"] = mask_options("bernoulli", "masked");
  const std::shared_ptr<Autoencoder> sae = make(model);
  const auto mask = [&](std::int64_t step, std::uint64_t seed) {
    return sae->forward(input(), {step, seed}).mask;
  };
  EXPECT_TRUE(at::equal(mask(3, 5), mask(3, 5)));
  int other_step = 0;
  int other_seed = 0;
  for (std::int64_t i = 0; i < 8; ++i) {
    other_step += !at::equal(mask(i, 5), mask(i + 1, 5));
    other_seed += !at::equal(mask(i, 5), mask(i, 6));
  }
  EXPECT_GT(other_step, 0);
  EXPECT_GT(other_seed, 0);
}

TEST_P(Conformance, InitialisesDecoderRowsAtNormOneAndTheEncoderAlike) {
  const std::shared_ptr<Autoencoder> sae = make(small_model(architecture()));
  const Tensors before = snapshot(*sae);
  sae->initialise(3);
  expect_close(sae->W_dec.norm(2, 1), at::ones({12}), "", 1e-6);
  EXPECT_TRUE(at::equal(sae->W_enc, sae->W_dec));
  EXPECT_EQ(sae->b_enc.abs().max().item<double>(), 0);
  EXPECT_TRUE(at::equal(sae->b_dec, before.at("b_dec")));
  const at::Tensor first = sae->W_dec.detach().clone();
  sae->initialise(4);
  EXPECT_FALSE(at::equal(sae->W_dec, first));
  sae->initialise(3);
  EXPECT_TRUE(at::equal(sae->W_dec, first));
}

TEST_P(Conformance, TrainsUnderBfloat16Autocast) {
  std::shared_ptr<Autoencoder> sae =
      make_autoencoder(config_from_json(small_model(architecture()), "test"));
  sae->initialise(1);
  sae->to(device());
  set_storage(*sae, std::get<1>(GetParam()));
  const at::Tensor x = input().to(at::kFloat);
  const Forward exact = sae->forward(x, {});
  const Tensors expected = gradients(*sae, total(sae->losses(exact, {})));
  at::autocast::set_autocast_enabled(device().type(), true);
  at::autocast::set_autocast_dtype(device().type(), at::kBFloat16);
  at::autocast::increment_nesting();
  const Forward pass = sae->forward(x, {});
  const at::Tensor loss = total(sae->losses(pass, {}));
  at::autocast::decrement_nesting();
  at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device().type(), false);
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  expect_close(loss, total(sae->losses(exact, {})), "loss", 0.05);
  const Tensors gradient = gradients(*sae, loss);
  for (const auto& [name, value] : gradient) EXPECT_EQ(value.scalar_type(), at::kFloat) << name;
  expect_close(gradient.at("b_dec"), expected.at("b_dec"), "b_dec", 0.05);
  sae->observe(sae->statistics(pass), {});
}

std::string case_name(const ::testing::TestParamInfo<Conformance::ParamType>& info) {
  const Storage storage = std::get<1>(info.param);
  return std::get<0>(info.param) + (storage == Storage::kSparse  ? "_sparse"
                                    : storage == Storage::kDense ? "_dense"
                                                                 : "_auto");
}

const auto kStorages = ::testing::Values(Storage::kSparse, Storage::kDense, Storage::kAuto);
INSTANTIATE_TEST_SUITE_P(Cpu, Conformance,
                         ::testing::Combine(::testing::ValuesIn(architecture_names()), kStorages,
                                            ::testing::Values(at::kCPU)),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Cuda, Conformance,
                         ::testing::Combine(::testing::ValuesIn(architecture_names()), kStorages,
                                            ::testing::Values(at::kCUDA)),
                         case_name);

TEST(Architectures, NamesAreDistinctAndEachRowHasASummary) {
  std::vector<std::string> names = architecture_names();
  EXPECT_EQ(names, (std::vector<std::string>{"standard", "topk", "batch_topk", "matryoshka",
                                             "jumprelu", "atm"}));
  for (const Architecture& row : architectures()) EXPECT_FALSE(row.summary.empty());
}

std::string error_of(const Json& model) {
  try {
    make_autoencoder(config_from_json(model, "c.json"));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(Architectures, RefuseWhatTheyCannotBuildInOneLineThatNamesThePlace) {
  EXPECT_NE(error_of({{"architecture", "topkk"}}).find("topk"), std::string::npos);
  EXPECT_NE(error_of({{"architecture", "topk"}, {"d_in", 4}, {"d_sae", 8}, {"kk", 1}}).find("kk"),
            std::string::npos);
  EXPECT_NE(error_of({{"architecture", "topk"}, {"d_in", 4}}).find("d_sae"), std::string::npos);
  const std::string null_mask =
      error_of({{"architecture", "atm"}, {"d_in", 4}, {"d_sae", 8}, {"mask", nullptr}});
  EXPECT_NE(null_mask.find("model.mask"), std::string::npos) << null_mask;
  EXPECT_NE(null_mask.find("'standard'"), std::string::npos) << null_mask;
}

TEST(Architectures, AtmIsStandardWithAMask) {
  Json model = small_model("standard");
  const Json mask = mask_options("bernoulli", "masked");
  model["mask"] = mask;
  const std::shared_ptr<Autoencoder> standard = make_sae(model);
  model["architecture"] = "atm";
  const std::shared_ptr<Autoencoder> atm = make_sae(model);
  for (const auto& sae : {standard, atm}) set_mask_statistics(*sae, 70);
  const at::Tensor x = normal({kBatch, 5}, 3);
  EXPECT_EQ(total(atm->losses(atm->forward(x, {}), {})).item<double>(),
            total(standard->losses(standard->forward(x, {}), {})).item<double>());
  EXPECT_TRUE(make_autoencoder(config_from_json(small_model("atm"), "test"))->mask());
  EXPECT_FALSE(make_autoencoder(config_from_json(small_model("standard"), "test"))->mask());
}

}  // namespace
}  // namespace sae

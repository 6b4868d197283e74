#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "sae/data/world.h"
#include "sae/sparse/encoder.h"
#include "sae/training/trainer.h"
#include "sparse/screen.h"
#include "support/sae_testing.h"
#include "training/autocast.h"

namespace sae {
namespace {

constexpr std::int64_t kTokens = 300;
constexpr std::int64_t kWidth = 48;
constexpr std::int64_t kLatents = 700;

EncoderWeights random_weights() {
  return {normal({kLatents, kWidth}, 1).to(at::kFloat).requires_grad_(true),
          (normal({kLatents}, 2) - 16).to(at::kFloat).requires_grad_(true),
          normal({kWidth}, 3).to(at::kFloat).requires_grad_(true)};
}

std::vector<std::pair<std::string, SelectionRule>> rules() {
  return {{"positive", Positive{}},
          {"above", Above{at::scalar_tensor(1.0, at::kFloat)}},
          {"cut off", Above{at::scalar_tensor(1.0, at::kFloat), /*activation_cuts=*/false}},
          {"top", LargestOfToken{5}},
          {"batch top", LargestOfBatch{5 * kTokens}}};
}

TEST(Encoder, UnderAutocastTheBackwardProductIsOfLowerPrecisionToo) {
  const at::Tensor x = normal({kTokens, kWidth}, 4).to(at::kFloat);
  const at::Tensor slope = normal({kTokens, kLatents}, 5).to(at::kFloat);
  const EncoderWeights weights = random_weights();
  const auto encoded = [&] {
    const Bf16Scope bf16(true, at::kCPU);
    return encode(x, weights, Positive{}, {Storage::kDense, Screening::kOff});
  };
  (encoded().values() * slope).sum().backward();
  const at::Tensor centred = (x - weights.b_dec).detach();
  const at::Tensor low = at::mm(slope.t().to(at::kBFloat16), centred.to(at::kBFloat16));
  EXPECT_TRUE(at::equal(weights.W_enc.grad(), low.to(at::kFloat)));
  EXPECT_FALSE(at::equal(weights.W_enc.grad(), at::mm(slope.t(), centred)));
}

TEST(Encoder, EveryWayToEncodeGivesTheSameValuesAndGradients) {
  const at::Tensor x = normal({kTokens, kWidth}, 4).to(at::kFloat);
  const at::Tensor slope = normal({kTokens, kLatents}, 5).to(at::kFloat);
  for (const auto& [name, rule] : rules()) {
    std::vector<Tensors> results;
    for (const EncodeOptions how : {EncodeOptions{Storage::kDense, Screening::kOff},
                                    EncodeOptions{Storage::kSparse, Screening::kOff},
                                    EncodeOptions{Storage::kAuto, Screening::kOn}}) {
      const EncoderWeights weights = random_weights();
      const Codes codes = encode(x, weights, rule, how);
      EXPECT_EQ(codes.is_dense(), how.storage == Storage::kDense);
      at::Tensor h = codes.to_dense();
      if (name == "positive") h = h.relu();             // what its activation does
      if (name == "above") h = h * (h.detach() > 1.0);  // likewise
      (h * slope).sum().backward();
      results.push_back({{"h", h},
                         {"W_enc", weights.W_enc.grad()},
                         {"b_enc", weights.b_enc.grad()},
                         {"b_dec", weights.b_dec.grad()}});
    }
    expect_close(results[1], results[0], name + ", sparse", 1e-5);
    expect_close(results[2], results[0], name + ", screened", 1e-5);
  }
}

TEST(Encoder, ScreensOnlyIfAskedTo) {
  const at::Tensor x = normal({kTokens, kWidth}, 4).to(at::kFloat);
  const EncoderWeights weights = random_weights();
  const SelectionRule rule = LargestOfToken{5};
  const auto values = [&](Screening screening) {
    return encode(x, weights, rule, {Storage::kSparse, screening}).values().detach();
  };
  const auto screened = screen::encode(x - weights.b_dec.detach(), weights, rule);
  ASSERT_TRUE(screened);
  EXPECT_TRUE(at::equal(values(Screening::kOn), screened->values));
  const at::Tensor plain = at::addmm(weights.b_enc, x - weights.b_dec, weights.W_enc.t()).detach();
  const Codes off = encode(x, weights, rule, {Storage::kSparse, Screening::kOff});
  const at::Tensor picked = plain.index({off.pattern()->tokens(), off.pattern()->indices});
  EXPECT_TRUE(at::equal(off.values(), picked));
  EXPECT_TRUE(at::equal(values(Screening::kAuto),
                        values(screens_by_default() ? Screening::kOn : Screening::kOff)));
}

/// Losses of 200 steps on a world with Zipf rates.
std::vector<double> loss_curve(const Json& model, const EncodeOptions& how) {
  WorldOptions options;
  options.preset = "small-zipf";
  options.orthogonal_steps = 0;
  const auto world = std::make_shared<const World>(options);
  WorldSource source(world, 1);
  Json sized = model;
  sized["d_in"] = world->d_in();
  sized["d_sae"] = 512;
  const auto sae = make_autoencoder(config_from_json(sized, "test"));
  sae->initialise(3);
  TrainOptions train;
  train.steps = 200;
  train.batch = 256;
  train.log_every = 1;
  train.calibration_tokens = 256;
  train.screening = how.screening;
  Trainer trainer(sae, train);
  set_storage(*sae, how.storage);
  std::vector<double> losses;
  trainer.train(source, [&](const StepReport& report) {
    losses.push_back(report.values.at("loss"));
    return true;
  });
  return losses;
}

TEST(Encoder, LossCurvesAgreeWithEveryFastPathOnAndOff) {
  const std::vector<Json> models = {
      {{"architecture", "topk"}, {"k", 6}},
      {{"architecture", "batch_topk"}, {"k", 6}},
      {{"architecture", "matryoshka"}, {"k", 6}},
      {{"architecture", "jumprelu"}, {"threshold_init", 0.3}},
      {{"architecture", "standard"}, {"sparsity", 2}},
      {{"architecture", "atm"}, {"sparsity", 1}, {"mask", {{"warmup_steps", 50}}}}};
  for (const Json& model : models) {
    const std::vector<double> fast = loss_curve(model, {Storage::kAuto, Screening::kOn});
    const std::vector<double> plain = loss_curve(model, {Storage::kDense, Screening::kOff});
    ASSERT_EQ(fast.size(), 200U);
    ASSERT_EQ(plain.size(), 200U);
    for (std::size_t i = 0; i < fast.size(); ++i) {
      ASSERT_NEAR(fast[i], plain[i], 1e-4 * plain[i]) << model << " step " << i + 1;
    }
    EXPECT_LT(fast.back(), 0.97 * fast.front()) << model << ": nothing was learnt";
  }
}

}  // namespace
}  // namespace sae

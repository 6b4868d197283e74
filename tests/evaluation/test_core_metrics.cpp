#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "sae/config/config_node.h"
#include "sae/evaluation/core.h"
#include "support/golden_file.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

/// The golden's three batches through its weights, without the special tokens.
struct Golden {
  GoldenFile file{"core"};

  /// `silent`: the first token of each prompt but the special one is reconstructed as zero.
  SaeBenchMetrics run(at::ScalarType dtype, bool signed_codes, bool sparse,
                      bool silent = false) const {
    SaeBenchMetrics metrics(64);
    const at::Tensor keep = file["keep"].to(at::kBool);
    const auto weight = [&](const char* name) { return file[name].to(dtype); };
    for (std::int64_t b = 0; b < 3; ++b) {
      const at::Tensor x = file["x"][b].index({keep[b]}).to(dtype);
      at::Tensor f = at::mm(x - weight("b_dec"), weight("W_enc").t()) + weight("b_enc");
      if (!signed_codes) f = f.relu();
      at::Tensor x_hat = at::mm(f, weight("W_dec")) + weight("b_dec");
      if (silent) {
        const at::Tensor first = at::zeros_like(keep[b]);
        first.select(1, 1).fill_(true);
        const at::Tensor off = first.index({keep[b]}).unsqueeze(1);
        f = f.masked_fill(off, 0);
        x_hat = x_hat.masked_fill(off, 0);
      }
      const Codes codes = Codes::from_dense(f);
      metrics.add(x, x_hat, sparse ? codes.to_sparse() : codes);
    }
    return metrics;
  }

  void expect_equal(const SaeBenchMetrics& metrics, const std::string& name,
                    double tolerance) const {
    const MetricValues values = metrics.values();
    EXPECT_EQ(values.size(), 10U);
    for (const auto& [key, value] : values) {
      const double expected = file.number(name + "." + key);
      // sae-bench averages l0 in float32 whatever the activations are in.
      const double allowed = key == "l0" ? 1e-6 : tolerance;
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(value)) << name << " " << key;
        continue;
      }
      EXPECT_NEAR(value, expected, allowed * std::abs(expected)) << name << " " << key;
    }
    expect_close(metrics.feature_density(), file[name + ".feature_density"], name, 1e-6);
  }
};

TEST(CoreMetrics, AreSaeBenchsInDoublePrecision) {
  const Golden golden;
  for (const bool sparse : {false, true}) {
    golden.expect_equal(golden.run(at::kDouble, false, sparse), "f64", 1e-10);
  }
}

TEST(CoreMetrics, AreSaeBenchsInSinglePrecision) {
  const Golden golden;
  golden.expect_equal(golden.run(at::kFloat, false, true), "f32", 1e-5);
}

TEST(CoreMetrics, SignedCodesCountWhereNotZero) {
  const Golden golden;
  golden.expect_equal(golden.run(at::kDouble, true, false), "signed", 1e-10);
}

TEST(CoreMetrics, OneZeroReconstructionLeavesOnlyTheCosineUndefined) {
  const Golden golden;
  const SaeBenchMetrics metrics = golden.run(at::kDouble, false, true, /*silent=*/true);
  golden.expect_equal(metrics, "silent", 1e-10);
  for (const auto& [key, value] : metrics.values()) {
    EXPECT_EQ(std::isnan(value), key == "cossim") << key;
  }
}

TEST(CoreMetrics, AZeroReconstructionHasNoCosine) {
  SaeBenchMetrics metrics(2);
  metrics.add(at::ones({2, 2}), at::zeros({2, 2}), Codes::from_dense(at::zeros({2, 2})));
  EXPECT_TRUE(std::isnan(metrics.values().at("cossim")));
  EXPECT_EQ(metrics.values().at("l2_norm_out"), 0);
  EXPECT_DOUBLE_EQ(metrics.values().at("mse"), 1) << "|e|^2 = 2 over two tokens of the batch";
}

TEST(CoreMetrics, OfTheWeightsAreSaeBenchs) {
  const Golden golden;
  const Json model = {{"architecture", "standard"}, {"d_in", 32}, {"d_sae", 64}};
  const auto sae = make_autoencoder(config_from_json(model, "test"));
  {
    const at::NoGradGuard no_grad;
    sae->W_enc.copy_(golden.file["W_enc"]);
    sae->b_enc.copy_(golden.file["b_enc"]);
    sae->W_dec.copy_(golden.file["W_dec"]);
  }
  const WeightMetrics weights = weight_metrics(*sae);
  const auto expect = [&](const at::Tensor& got, const char* name) {
    expect_close(got, golden.file[std::string("weights.") + name], name, 1e-6);
  };
  expect(weights.encoder_bias, "encoder_bias");
  expect(weights.encoder_norm, "encoder_norm");
  expect(weights.encoder_decoder_cosine_sim, "encoder_decoder_cosine_sim");
  expect(weights.max_encoder_cosine_sim, "max_encoder_cosine_sim");
  expect(weights.max_decoder_cosine_sim, "max_decoder_cosine_sim");
  EXPECT_NEAR(weights.decoder_norm.min().item<double>(), 1, 1e-6);
  for (const auto& [name, value] : density_metrics(golden.file.doubles("f32.feature_density"))) {
    EXPECT_NEAR(value, golden.file.number("misc." + name), 1e-6) << name;
  }
}

TEST(CoreMetrics, TheNearestRowIsAnotherOne) {
  const at::Tensor rows = tensor({1, 0, 0, 2, 3, 3, -1, 0}).view({4, 2});
  expect_close(max_cosines(rows), tensor({std::sqrt(0.5), std::sqrt(0.5), std::sqrt(0.5), 0}));
  EXPECT_TRUE(std::isnan(max_cosines(at::ones({1, 3})).item<double>()));
  const at::Tensor many = normal({1300, 8}, 4);  // several blocks
  const at::Tensor unit = many / many.norm(2, 1, true);
  at::Tensor all = at::mm(unit, unit.t());
  all.fill_diagonal_(-2);
  expect_close(max_cosines(many), std::get<0>(all.max(1)));
}

TEST(CoreMetrics, AWholeEvaluationHasBothDefinitions) {
  const Json model = {{"architecture", "standard"}, {"d_in", 20}, {"d_sae", 12}};
  const auto sae = make_autoencoder(config_from_json(model, "test"));
  sae->initialise(1);
  const Data data = open_data(
      config_from_json(Json{{"kind", "synthetic"}, {"preset", "tiny"}}, "test"), /*seed=*/0);
  EvalOptions eval;
  eval.tokens = 1000;
  eval.batch = 250;
  Evaluation evaluation;
  const CoreResult result = evaluate_core(*sae, data, eval, {.latents = true}, evaluation);
  EXPECT_EQ(result.values.at("explained_variance"), evaluation.values.at("explained_variance"));
  EXPECT_NE(result.values.at("explained_variance"), result.sae_bench.at("explained_variance"));
  EXPECT_NEAR(result.sae_bench.at("mse"), result.values.at("mse") / 250, 1e-6);
  const Json json = result.json();
  EXPECT_EQ(json["latents"]["feature_density"].size(), 12U);
  EXPECT_EQ(json["latents"]["max_decoder_cosine_sim"].size(), 12U);
  EXPECT_TRUE(json["sae_bench"].contains("frac_alive"));
  CoreResult brief = evaluate_core(*sae, data, eval, {.weights = false}, evaluation);
  EXPECT_FALSE(brief.json().contains("latents"));
  EXPECT_FALSE(brief.sae_bench.contains("average_max_encoder_cosine_sim"));
}

}  // namespace
}  // namespace sae

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
      if (std::isnan(expected)) continue;  // a mean that sae-bench loses to one token
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

TEST(CoreMetrics, ZeroReconstructionsCostTheirOwnCosineAlone) {
  const Golden golden;
  const SaeBenchMetrics metrics = golden.run(at::kDouble, false, true, /*silent=*/true);
  golden.expect_equal(metrics, "silent", 1e-10);
  EXPECT_TRUE(std::isnan(golden.file.number("silent.cossim"))) << "sae-bench's";
  const double whole = golden.run(at::kDouble, false, true).values().at("cossim");
  const double share = metrics.values().at("cossim") / whole;
  EXPECT_GT(share, 0.8) << "some 12 of 172 tokens count as 0";
  EXPECT_LT(share, 0.97);
}

/// 40 tokens around a mean, rebuilt with an error of a tenth.
struct Tokens {
  at::Tensor x = normal({40, 6}, 31) + 2;
  at::Tensor x_hat = x + 0.1 * normal({40, 6}, 32);

  MetricValues measured(const std::vector<std::int64_t>& batches) const {
    SaeBenchMetrics metrics(3);
    const Codes codes = Codes::from_dense(at::ones({40, 3}, at::kDouble));
    std::int64_t begin = 0;
    for (const std::int64_t size : batches) {
      const at::Tensor rows = at::arange(begin, begin + size, at::kLong);
      metrics.add(x.index_select(0, rows), x_hat.index_select(0, rows), rows_of(codes, rows));
      begin += size;
    }
    return metrics.values();
  }
};

TEST(CoreMetrics, AShortBatchCountsAsItsTokensDo) {
  const Tokens tokens;
  const MetricValues whole = tokens.measured({20, 20});
  for (const std::vector<std::int64_t>& batches :
       {std::vector<std::int64_t>{20, 19, 1}, {1, 20, 19}, {20, 18, 1, 1}, {13, 14, 13}}) {
    for (const auto& [name, value] : tokens.measured(batches)) {
      // |e|^2 / n is the only one that is meant to know the batch.
      const double scale = name == "mse" && batches[0] == 13 ? 20.0 / (40.0 / 3) : 1;
      EXPECT_NEAR(value, scale * whole.at(name), 0.05 * std::abs(scale * whole.at(name)))
          << name << " with a first batch of " << batches[0];
    }
  }
}

TEST(CoreMetrics, EqualTokensAndTokensOfZeroTakeNoMeanAlong) {
  Tokens tokens;
  const MetricValues before = tokens.measured({10, 10, 10, 10});
  tokens.x[33].zero_();
  tokens.x_hat[33].fill_(7);
  tokens.x.slice(0, 10, 20).copy_(tokens.x[10].clone().expand({10, 6}));
  tokens.x_hat.slice(0, 10, 20).copy_(tokens.x_hat[10].clone().expand({10, 6}));
  const MetricValues after = tokens.measured({10, 10, 10, 10});
  for (const char* name :
       {"cossim", "l2_ratio", "explained_variance_legacy", "relative_reconstruction_bias"}) {
    EXPECT_NEAR(after.at(name), before.at(name), 0.3) << name;  // one token of 40 is all wrong
  }
  EXPECT_GT(after.at("explained_variance_legacy"), 0.9);
}

TEST(CoreMetrics, WhereNothingVariesNothingIsExplained) {
  SaeBenchMetrics metrics(1);
  metrics.add(at::ones({3, 2}), at::full({3, 2}, 0.5), Codes::from_dense(at::ones({3, 1})));
  EXPECT_TRUE(std::isnan(metrics.values().at("explained_variance_legacy")));
  EXPECT_NEAR(metrics.values().at("cossim"), 1, 1e-6);
  SaeBenchMetrics zeros(1);
  zeros.add(at::zeros({3, 2}), at::ones({3, 2}), Codes::from_dense(at::ones({3, 1})));
  for (const char* name : {"cossim", "l2_ratio", "relative_reconstruction_bias"}) {
    EXPECT_TRUE(std::isnan(zeros.values().at(name))) << name;
  }
}

TEST(CoreMetrics, DoNotDependOnTheUnitOfLatents) {
  const Json model = {
      {"architecture", "standard"}, {"d_in", 20}, {"d_sae", 30}, {"decoder_norm", "free"}};
  const auto one = make_autoencoder(config_from_json(model, "test"));
  const auto other = make_autoencoder(config_from_json(model, "test"));
  const at::NoGradGuard no_grad;
  const at::Tensor scale = at::pow(10, 3 * normal({30, 1}, 8)).to(at::kFloat);
  one->initialise(2);
  one->b_enc.fill_(-0.02);
  other->W_enc.copy_(one->W_enc * scale);
  other->b_enc.copy_(one->b_enc * scale.squeeze(1));
  other->W_dec.copy_(one->W_dec / scale);
  const Data data = open_data(
      config_from_json(Json{{"kind", "synthetic"}, {"preset", "tiny"}}, "test"), /*seed=*/0);
  EvalOptions eval;
  eval.tokens = 500;
  Evaluation evaluation;
  const CoreResult a = evaluate_core(*one, data, eval, {}, evaluation);
  const CoreResult b = evaluate_core(*other, data, eval, {}, evaluation);
  for (const auto& [name, value] : a.sae_bench) {
    EXPECT_NEAR(b.sae_bench.at(name), value, 1e-3 * (1e-3 + std::abs(value))) << name;
  }
  expect_close(b.weights->encoder_norm, a.weights->encoder_norm, "encoder norms", 1e-5);
  expect_close(b.weights->encoder_bias, a.weights->encoder_bias, "encoder biases", 1e-5);
  expect_close(b.weights->decoder_norm, a.weights->decoder_norm / scale.squeeze(1), "as it is",
               1e-5);
}

TEST(CoreMetrics, AZeroReconstructionHasNoLength) {
  SaeBenchMetrics metrics(2);
  metrics.add(at::ones({2, 2}), at::zeros({2, 2}), Codes::from_dense(at::zeros({2, 2})));
  EXPECT_EQ(metrics.values().at("cossim"), 0);
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

#include <gtest/gtest.h>

#include <cmath>

#include "evaluation/encode_all.h"
#include "sae/base/error.h"
#include "sae/evaluation/controls.h"
#include "sae/metrics/reconstruction.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

/// Activations of rank 3 around a mean, with a little noise.
at::Tensor sample() {
  const at::Tensor low = at::mm(normal({400, 3}, 1), 2 * normal({3, 10}, 2));
  return (low + 0.05 * normal({400, 10}, 3) + 5).to(at::kFloat);
}

struct Subject {
  Json model;
  std::shared_ptr<Autoencoder> sae;
  ControlBasis basis;

  explicit Subject(Json given) : model(std::move(given)) {
    sae = make_autoencoder(config_from_json(model, "test"));
    sae->initialise(3);
    const at::NoGradGuard no_grad;
    sae->b_dec.copy_(sample().mean(0));
    basis = {sae, &model, sample(), 5};
  }
};

Json top_k() { return {{"architecture", "topk"}, {"d_in", 10}, {"d_sae", 24}, {"k", 3}}; }

MetricValues measure(const Autoencoder& sae) {
  const at::NoGradGuard no_grad;
  ReconstructionMetrics metrics(sae.d_sae());
  const Codes codes = sae.encode(sample());
  metrics.add(sample(), sae.decode(codes), codes);
  return metrics.values();
}

TEST(Controls, TheIdentityReconstructsWithAllLatents) {
  const Subject subject(top_k());
  const auto control = make_control(Control::kIdentity, subject.basis);
  EXPECT_EQ(control->d_sae(), 10);
  EXPECT_EQ(mean_l0(control->encode(sample())), 10);
  EXPECT_NEAR(measure(*control).at("explained_variance"), 1, 1e-6);
  EXPECT_EQ(measure(*control).at("l0"), 10) << "of either sign";
}

TEST(Controls, PrincipalComponentsExplainMostOfLowRankData) {
  const Subject subject(top_k());
  const auto control = make_control(Control::kPca, subject.basis);
  EXPECT_EQ(control->d_sae(), 3) << "as many as the autoencoder's L0";
  EXPECT_GT(measure(*control).at("explained_variance"), 0.995);
  expect_close(at::mm(control->W_dec, control->W_dec.t()), at::eye(3), "orthonormal", 1e-5);
  EXPECT_LT(measure(*subject.sae).at("explained_variance"), 0.9);
}

TEST(Controls, TheRandomDictionaryHasTheSameL0) {
  const Subject subject(top_k());
  const auto control = make_control(Control::kRandom, subject.basis);
  EXPECT_EQ(control->d_sae(), 24);
  EXPECT_NEAR(mean_l0(control->encode(sample())), 3, 0.05);
  expect_close(control->W_dec.norm(2, 1), at::ones({24}), "rows", 1e-5);
  ControlBasis other = subject.basis;
  other.seed = 6;
  EXPECT_FALSE(at::equal(make_control(Control::kRandom, other)->W_dec, control->W_dec));
  EXPECT_TRUE(at::equal(make_control(Control::kRandom, subject.basis)->W_dec, control->W_dec));
}

TEST(Controls, APermutedDecoderKeepsTheCodes) {
  const Subject subject(top_k());
  const auto control = make_control(Control::kPermuted, subject.basis);
  EXPECT_TRUE(
      at::equal(control->encode(sample()).to_dense(), subject.sae->encode(sample()).to_dense()));
  EXPECT_FALSE(at::equal(control->W_dec, subject.sae->W_dec));
  const auto sorted = [](const at::Tensor& rows) { return std::get<0>(rows.select(1, 0).sort()); };
  EXPECT_TRUE(at::equal(sorted(control->W_dec.detach()), sorted(subject.sae->W_dec.detach())));
  EXPECT_LT(measure(*control).at("explained_variance"),
            measure(*subject.sae).at("explained_variance"));
}

TEST(Controls, APermutedDecoderDoesNotMixTheUnitsOfLatents) {
  const Json model = {
      {"architecture", "standard"}, {"d_in", 10}, {"d_sae", 24}, {"decoder_norm", "free"}};
  const Subject one(model), other(model);
  {
    const at::NoGradGuard no_grad;
    const at::Tensor scale = at::pow(10, normal({24, 1}, 8)).to(at::kFloat);
    other.sae->W_enc.mul_(scale);
    other.sae->W_dec.div_(scale);
  }
  const MetricValues a = measure(*make_control(Control::kPermuted, one.basis));
  const MetricValues b = measure(*make_control(Control::kPermuted, other.basis));
  EXPECT_NEAR(b.at("explained_variance"), a.at("explained_variance"), 1e-4);
  EXPECT_NEAR(b.at("nmse"), a.at("nmse"), 1e-4);
}

TEST(Controls, EveryArchitectureHasAnUntrainedOne) {
  for (const std::string& name : architecture_names()) {
    Json model = {{"architecture", name}, {"d_in", 10}, {"d_sae", 24}};
    if (name == "topk" || name == "batch_topk" || name == "matryoshka") model["k"] = 3;
    const Subject subject(model);
    const auto control = make_control(Control::kUntrained, subject.basis);
    EXPECT_FALSE(at::equal(control->W_enc, subject.sae->W_enc)) << name << ": another seed";
    const double l0 = mean_l0(encode_all(*control, sample(), 100));
    EXPECT_GT(l0, 0) << name;
    EXPECT_TRUE(std::isfinite(measure(*control).at("explained_variance"))) << name;
  }
}

}  // namespace
}  // namespace sae

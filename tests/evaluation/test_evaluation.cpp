#include <cmath>

#include "sae/base/error.h"
#include "sae/evaluation/evaluation.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

Data world(const Json& more = Json::object()) {
  Json data = {{"kind", "synthetic"}, {"preset", "tiny"}};
  data.update(more);
  return open_data(config_from_json(data, "test"), 0);
}

std::shared_ptr<Autoencoder> standard(std::int64_t d_in, std::int64_t d_sae) {
  const Json model = {{"architecture", "standard"}, {"d_in", d_in}, {"d_sae", d_sae}};
  return make_autoencoder(config_from_json(model, "test"));
}

EvalOptions brief(std::int64_t tokens = 3000, std::int64_t batch = 700) {
  EvalOptions options;
  options.tokens = tokens;
  options.batch = batch;
  return options;
}

TEST(Evaluation, AnIdentityReconstructsEverything) {
  const auto sae = standard(20, 40);
  const at::NoGradGuard no_grad;
  const at::Tensor rows = at::cat({at::eye(20), -at::eye(20)});
  sae->W_enc.copy_(rows);
  sae->W_dec.copy_(rows);
  const MetricValues values = evaluate(*sae, world(), brief()).values;
  EXPECT_NEAR(values.at("explained_variance"), 1, 1e-9);
  EXPECT_NEAR(values.at("nmse"), 0, 1e-9);
  EXPECT_NEAR(values.at("cosine"), 1, 1e-6);
  EXPECT_NEAR(values.at("l2_ratio"), 1, 1e-6) << "samples without a feature are left out";
}

TEST(Evaluation, AZeroAutoencoderExplainsNothing) {
  const MetricValues values = evaluate(*standard(20, 4), world(), brief()).values;
  EXPECT_EQ(values.at("l0"), 0);
  EXPECT_EQ(values.at("never_fired"), 1);
  EXPECT_EQ(values.at("l2_ratio"), 0);
  EXPECT_NEAR(values.at("nmse"), 1, 1e-9);
  EXPECT_LT(values.at("explained_variance"), 0) << "worse than the mean";
}

TEST(Evaluation, TheTrueDictionaryIsFoundInFull) {
  const Data data = world();
  const auto sae = standard(20, 20);
  {
    const at::NoGradGuard no_grad;
    sae->W_enc.copy_(data.world->dictionary());
    sae->W_dec.copy_(data.world->dictionary());
    sae->b_dec.copy_(data.world->bias());
    sae->b_enc.fill_(-1e-4);  // rounding fires no latent
  }
  const Evaluation evaluation = evaluate(*sae, data, brief(20'000));
  const MetricValues& values = evaluation.values;
  EXPECT_NEAR(values.at("mcc"), 1, 1e-6);
  EXPECT_EQ(values.at("uniqueness"), 1);
  EXPECT_GT(values.at("f1"), 0.99);
  EXPECT_NEAR(values.at("l0"), values.at("true_l0"), 0.01);
  EXPECT_NEAR(values.at("true_l0"), data.world->true_l0(), 0.05);
  EXPECT_LT(values.at("absorption_full_micro"), 1e-3);
  EXPECT_LT(values.at("miss_on_macro"), 0.01);
  EXPECT_NEAR(values.at("explained_variance"), 1, 1e-4);
  EXPECT_EQ(evaluation.parents.size(), 3U) << "three parents in this world";

  std::int64_t latents = evaluation.firing.never;
  for (const std::int64_t count : evaluation.firing.counts) latents += count;
  EXPECT_EQ(latents, 20);
  EXPECT_EQ(evaluation.firing.edges.size(), evaluation.firing.counts.size() + 1);
  EXPECT_EQ(evaluation.firing.edges.back(), 0);
}

TEST(Evaluation, EveryAverageOfAbsorptionSaysWhetherItIsOverEventsOrParents) {
  const auto sae = standard(20, 20);
  sae->initialise(1);
  const MetricValues values = evaluate(*sae, world(), brief(500)).values;
  for (const char* name : {"miss_on", "miss_off", "absorption_gap", "absorption_full",
                           "absorption_fraction", "partial_absorption"}) {
    EXPECT_TRUE(values.contains(std::string(name) + "_micro")) << name;
    EXPECT_TRUE(values.contains(std::string(name) + "_macro")) << name;
    EXPECT_FALSE(values.contains(name)) << name;
  }
}

TEST(Evaluation, WithoutAParentThatCountsThereIsNoAbsorptionAndNoneOfZero) {
  const auto sae = standard(20, 20);
  sae->initialise(1);
  EvalOptions options = brief(20'000);
  options.truth.min_match_cosine = 1;
  const MetricValues values = evaluate(*sae, world(), options).values;
  EXPECT_EQ(values.at("absorption_parents"), 0);
  EXPECT_TRUE(std::isnan(values.at("absorption_full_micro")));
  EXPECT_TRUE(std::isnan(values.at("absorption_fraction_macro")));
  EXPECT_TRUE(std::isnan(values.at("partial_absorption_micro")));
  EXPECT_TRUE(std::isfinite(values.at("mcc")));
}

TEST(Evaluation, DoesNotDependOnTheBatchOrOnTheRunsSeed) {
  const auto sae = standard(20, 12);
  sae->initialise(1);
  const MetricValues one = evaluate(*sae, world(), brief(500, 500)).values;
  const Json data = {{"kind", "synthetic"}, {"preset", "tiny"}};
  const Data other = open_data(config_from_json(data, "test"), /*seed=*/9);
  const MetricValues parts = evaluate(*sae, other, brief(500, 7)).values;
  for (const auto& [name, value] : one) {
    if (std::isnan(value)) continue;
    EXPECT_NEAR(parts.at(name), value, 1e-5 * (1 + std::abs(value))) << name;
  }
}

TEST(Evaluation, WhileTrainingSpeaksInTheActivationsOwnUnits) {
  const auto sae = standard(20, 12);
  sae->initialise(1);
  const MetricValues plain = evaluate_reconstruction(*sae, world(), 300, 100);
  const MetricValues scaled = evaluate_reconstruction(*sae, world(), 300, 100, 2);
  EXPECT_NEAR(scaled.at("mse"), plain.at("mse"), 1e-5 * plain.at("mse"));  // ReLU, no bias
  EXPECT_NEAR(scaled.at("explained_variance"), plain.at("explained_variance"), 1e-6);
}

TEST(Evaluation, AnotherWidthIsADataError) {
  try {
    evaluate(*standard(19, 4), world(), brief());
    FAIL() << "no error";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(),
                 "evaluation data: activations have width 20, the autoencoder takes 19");
  }
  EXPECT_THROW(evaluate_reconstruction(*standard(19, 4), world(), 10, 5), DataError);
}

TEST(Evaluation, OneTokenIsEnough) {
  const auto sae = standard(20, 4);
  sae->initialise(1);
  const Evaluation evaluation = evaluate(*sae, world(), brief(1, 1));
  EXPECT_GE(evaluation.values.at("l0"), 0);
  EXPECT_FALSE(evaluation.firing.counts.empty());
}

}  // namespace
}  // namespace sae

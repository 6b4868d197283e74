#include <cmath>
#include <limits>

#include "sae/base/error.h"
#include "sae/data/world.h"
#include "sae/metrics/reconstruction.h"
#include "sae/models/sae_folder.h"
#include "sae/training/trainer.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

constexpr std::int64_t kWidth = 6;

/// A program's own activations: sparse mixtures of a few directions, a function of the position.
class OwnSource : public ActivationSource {
 public:
  std::int64_t d_in() const override { return kWidth; }
  at::Tensor next(std::int64_t count) override {
    const at::Tensor mix = at::zeros({count, 4});
    auto* value = mix.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < count; ++i, ++position_) {
      Rng rng(5, Stream::kTest, static_cast<std::uint64_t>(position_));
      for (std::int64_t j = 0; j < 4; ++j) {
        const bool on = rng.uniform() < 0.4;
        value[4 * i + j] = on ? static_cast<float>(1 + rng.uniform()) : 0;
      }
    }
    return at::matmul(mix, normal({4, kWidth}, 77).to(at::kFloat)) + 2;
  }
  std::int64_t position() const override { return position_; }
  void seek(std::int64_t position) override { position_ = position; }
  std::string description() const override { return "mixtures"; }

 private:
  std::int64_t position_ = 0;
};

TrainOptions brief(std::int64_t steps = 40) {
  TrainOptions options;
  options.steps = steps;
  options.batch = 64;
  options.schedule.lr = 1e-2;
  options.calibration_tokens = 256;
  options.log_every = 10;
  return options;
}

std::shared_ptr<Autoencoder> fresh(Json model) {
  model["d_in"] = kWidth;
  auto sae = make_autoencoder(config_from_json(model, "test"));
  sae->initialise(3);
  return sae;
}

const Json kTopK = {{"architecture", "topk"}, {"d_sae", 12}, {"k", 2}};
const Json kStandard = {{"architecture", "standard"}, {"d_sae", 12}, {"sparsity", 0.1}};

TEST(Trainer, LearnsFromAProgramsOwnSource) {
  Trainer trainer(fresh(kTopK), brief(300));
  OwnSource source;
  std::vector<double> explained;
  trainer.train(source, [&](const StepReport& report) {
    EXPECT_EQ(report.tokens, report.step * 64);
    if (report.values.empty()) {
      EXPECT_NE(report.step % 10, 0);
    } else {
      explained.push_back(report.values.at("explained_variance"));
    }
    return true;
  });
  EXPECT_TRUE(trainer.finished());
  EXPECT_EQ(explained.size(), 30U);
  EXPECT_GT(explained.back(), 0.8);
  EXPECT_GT(explained.back(), explained.front());
  EXPECT_EQ(source.position(), 300 * 64) << "calibration tokens are trained on too";
}

TEST(Trainer, ReportsWhatItPromises) {
  Json model = kStandard;
  model["mask"] = {{"warmup_steps", 3}};
  Trainer trainer(fresh(model), brief(10));
  OwnSource source;
  StepReport last;
  trainer.train(source, [&](const StepReport& report) {
    last = report;
    return true;
  });
  for (const char* name :
       {"loss", "loss.reconstruction", "loss.sparsity", "l0", "explained_variance", "nmse",
        "cosine", "l2_ratio", "dead", "grad_norm", "lr", "tokens_per_s", "mask.theta",
        "mask.masked", "mask.drift", "mask.importance_q05", "mask.importance_q95"}) {
    ASSERT_TRUE(last.values.contains(name)) << name;
    EXPECT_TRUE(std::isfinite(last.values.at(name))) << name;
  }
  EXPECT_NEAR(last.values.at("loss"),
              last.values.at("loss.reconstruction") + last.values.at("loss.sparsity"), 1e-5);
}

TEST(Trainer, StopsWhenTheCallbackSaysSoAndGoesOn) {
  OwnSource whole_source, source;
  Trainer whole(fresh(kTopK), brief());
  whole.train(whole_source);
  Trainer trainer(fresh(kTopK), brief());
  trainer.train(source, [](const StepReport& report) { return report.step < 13; });
  EXPECT_EQ(trainer.steps_done(), 13);
  EXPECT_EQ(source.position(), 13 * 64);
  trainer.train(source);
  EXPECT_EQ(trainer.steps_done(), 40);
  expect_same(snapshot(*trainer.autoencoder()), snapshot(*whole.autoencoder()));
}

TEST(Trainer, FoldsTheInputScaleIntoTheSavedAutoencoder) {
  OwnSource source;
  const at::Tensor x = source.next(200);
  for (const InputNorm norm : {InputNorm::kUnit, InputNorm::kSqrtD}) {
    for (const auto& [name, kind] : stateful_models()) {
      Json model = kind;
      model["d_in"] = kWidth;
      TrainOptions options = brief(15);
      options.input_norm = norm;
      source.seek(0);
      Trainer trainer(fresh(model), options);
      trainer.train(source);
      const double scale = trainer.input_scale();
      const double square = x.square().sum(1).mean().item<double>();
      EXPECT_NEAR(scale * scale * square, norm == InputNorm::kUnit ? 1 : kWidth, 0.4);

      const TemporaryFolder folder;
      const Json resolved = resolve_model(config_from_json(model, "test"));
      save_sae(folder.path() / "sae", *trainer.autoencoder(), resolved, scale, Json::object());
      const auto saved = load_sae(folder.path() / "sae").sae;
      const Codes trained = trainer.autoencoder()->encode(x * scale);
      const Codes folded = saved->encode(x);
      // Rounding may move an activation across a threshold: compare what is reconstructed.
      expect_close(folded.to_dense() * scale, trained.to_dense(), name, 1e-3);
      expect_close(saved->decode(folded) * scale, trainer.autoencoder()->decode(trained), name,
                   1e-3);
    }
  }
}

/// The activations of OwnSource less `mean`.
class CentredSource : public ActivationSource {
 public:
  explicit CentredSource(at::Tensor mean) : mean_(std::move(mean)) {}
  std::int64_t d_in() const override { return kWidth; }
  at::Tensor next(std::int64_t count) override { return source_.next(count) - mean_; }
  std::int64_t position() const override { return source_.position(); }
  void seek(std::int64_t position) override { source_.seek(position); }
  std::string description() const override { return "centred mixtures"; }

 private:
  at::Tensor mean_;
  OwnSource source_;
};

TEST(Trainer, CentringTrainsAsOnActivationsLessTheirMean) {
  for (const InputNorm norm : {InputNorm::kNone, InputNorm::kUnit, InputNorm::kSqrtD}) {
    for (const auto& [name, kind] : stateful_models()) {
      Json model = kind;
      model["d_in"] = kWidth;
      TrainOptions options = brief(15);
      options.input_norm = norm;
      options.input_centre = InputCentre::kMean;
      OwnSource source;
      Trainer centred(fresh(model), options);
      centred.train(source);
      const at::Tensor mean = centred.input().mean;
      source.seek(0);
      const at::Tensor calibration = source.next(256);
      expect_close(mean, calibration.mean(0), name, 1e-6);
      EXPECT_GT(mean.norm().item<double>(), 2) << "there is nothing to subtract";

      options.input_centre = InputCentre::kNone;
      CentredSource less(mean);
      Trainer plain(fresh(model), options);
      plain.train(less);
      expect_same(snapshot(*centred.autoencoder()), snapshot(*plain.autoencoder()));
      EXPECT_EQ(centred.input_scale(), plain.input_scale());

      // The saved one takes raw activations and is the same function of them.
      const TemporaryFolder folder;
      const Json resolved = resolve_model(config_from_json(model, "test"));
      save_sae(folder.path() / "sae", *centred.autoencoder(), resolved, centred.input(),
               Json::object());
      const auto saved = load_sae(folder.path() / "sae").sae;
      source.seek(0);
      const at::Tensor x = source.next(200);
      const Codes codes = centred.autoencoder()->encode(centred.input().apply(x));
      const Codes folded = saved->encode(x);
      expect_close(folded.to_dense() * centred.input_scale(), codes.to_dense(), name, 1e-3);
      expect_close(saved->decode(folded),
                   centred.input().undo(centred.autoencoder()->decode(codes)), name, 1e-3);
    }
  }
}

TEST(Trainer, AFewMassiveTokensMoveNeitherTheMeanNorTheScale) {
  OwnSource source;
  const at::Tensor usual = source.next(250);
  const at::Tensor massive = 400 * source.next(3);
  TrainOptions options = brief();
  options.input_norm = InputNorm::kSqrtD;
  options.input_centre = InputCentre::kMean;
  Trainer with(fresh(kTopK), options);
  with.calibrate(at::cat({usual.slice(0, 0, 100), massive, usual.slice(0, 100)}));
  Trainer without(fresh(kTopK), options);
  without.calibrate(usual);
  EXPECT_TRUE(at::equal(with.input().mean, without.input().mean));
  EXPECT_EQ(with.input_scale(), without.input_scale());
  const at::Tensor x = without.input().apply(usual);
  EXPECT_NEAR(x.square().sum(1).mean().item<double>(), kWidth, 1e-4);
  EXPECT_LT(x.mean(0).abs().max().item<double>(), 1e-5);
}

TEST(Trainer, LogsMetricsOfRawActivationsWhereTheyAreCentred) {
  OwnSource source;
  const at::Tensor x = source.next(64);
  TrainOptions options = brief(1);
  options.input_norm = InputNorm::kUnit;
  options.input_centre = InputCentre::kMean;
  Trainer trainer(fresh(kStandard), options);
  trainer.calibrate(x);
  const at::Tensor in = trainer.input().apply(x);
  const Codes codes = trainer.autoencoder()->encode(in);
  ReconstructionMetrics metrics(12);
  metrics.add(x, trainer.input().undo(trainer.autoencoder()->decode(codes)), codes);
  ReconstructionMetrics centred(12);
  centred.add(in, trainer.autoencoder()->decode(codes), codes);
  const MetricValues logged = trainer.step(x).values;
  for (const char* name : {"mse", "nmse", "explained_variance", "cosine", "l2_ratio", "l0"}) {
    const double value = metrics.values().at(name);
    EXPECT_NEAR(logged.at(name), value, 1e-4 * std::abs(value)) << name;
  }
  EXPECT_LT(centred.values().at("cosine"), 0.9 * logged.at("cosine")) << "both would do";
}

TEST(Trainer, LogsMetricsInTheActivationsOwnUnitsAndLossesAsTheyAreMinimised) {
  OwnSource source;
  const at::Tensor x = source.next(64);
  MetricValues raw;
  for (const InputNorm norm : {InputNorm::kNone, InputNorm::kUnit, InputNorm::kSqrtD}) {
    // Nothing depends on the scale but the units: ReLU latents, no bias, no step taken before.
    Json model = kStandard;
    model["mask"] = {{"importance", "product"}};
    TrainOptions options = brief(1);
    options.b_dec_init = BDecInit::kZero;
    options.input_norm = norm;
    Trainer trainer(fresh(model), options);
    const MetricValues logged = trainer.step(x).values;
    if (raw.empty()) raw = logged;
    const double scale = trainer.input_scale();
    EXPECT_EQ(scale == 1, norm == InputNorm::kNone);
    for (const char* name : {"mse", "nmse", "explained_variance", "cosine", "l2_ratio", "l0",
                             "mask.theta", "mask.importance_q95"}) {
      EXPECT_NEAR(logged.at(name), raw.at(name), 1e-4 * std::abs(raw.at(name))) << name;
    }
    const double minimised = scale * scale * raw.at("mse");
    EXPECT_NEAR(logged.at("loss.reconstruction"), minimised, 1e-4 * minimised);
  }
}

TEST(Trainer, StartsBDecAtTheGeometricMedian) {
  // An outlier moves the mean and hardly the median.
  at::Tensor x = at::cat({normal({99, kWidth}, 4), at::full({1, kWidth}, 1e4, at::kDouble)});
  x = x.to(at::kFloat);
  Trainer robust(fresh(kTopK), brief());
  robust.calibrate(x);
  EXPECT_LT(robust.autoencoder()->b_dec.abs().max().item<double>(), 1);
  const at::Tensor away = x - robust.autoencoder()->b_dec.detach();
  const at::Tensor pull = (away / away.norm(2, 1, true)).sum(0);
  EXPECT_LT(pull.norm().item<double>(), 0.05) << "unit vectors to all points cancel at the median";

  TrainOptions options = brief();
  options.b_dec_init = BDecInit::kMean;
  Trainer mean(fresh(kTopK), options);
  mean.calibrate(x);
  expect_close(mean.autoencoder()->b_dec, x.mean(0), "mean", 1e-6);
  options.b_dec_init = BDecInit::kZero;
  Trainer zero(fresh(kTopK), options);
  zero.calibrate(x);
  EXPECT_EQ(zero.autoencoder()->b_dec.abs().max().item<double>(), 0);
}

TEST(Trainer, Bf16StaysCloseToFp32) {
  double explained[2];
  for (const bool bf16 : {false, true}) {
    Trainer trainer(fresh(kTopK), brief(150), 0, bf16 ? Precision::kBf16 : Precision::kFp32);
    OwnSource source;
    trainer.train(source, [&](const StepReport& report) {
      if (!report.values.empty()) explained[bf16] = report.values.at("explained_variance");
      return true;
    });
    EXPECT_EQ(trainer.autoencoder()->W_enc.scalar_type(), at::kFloat);
  }
  EXPECT_NEAR(explained[0], explained[1], 0.05);
  EXPECT_NE(explained[0], explained[1]) << "autocast had no effect";
}

TEST(Trainer, LoggingChangesNothing) {
  for (const auto& [name, model] : stateful_models()) {
    Tensors states[2];
    for (const std::int64_t every : {1, 1000}) {
      TrainOptions options = brief(25);
      options.log_every = every;
      Trainer trainer(fresh(model), options);
      OwnSource source;
      trainer.train(source);
      states[every == 1] = snapshot(*trainer.autoencoder());
    }
    expect_same(states[0], states[1], name);
  }
}

TEST(Trainer, StopsAtANaNInTheBatch) {
  Trainer trainer(fresh(kTopK), brief());
  OwnSource source;
  trainer.step(source.next(64));
  at::Tensor bad = source.next(64);
  bad[3][2] = std::numeric_limits<float>::quiet_NaN();
  try {
    trainer.step(bad);
    FAIL() << "no error";
  } catch (const DivergenceError& error) {
    EXPECT_EQ(std::string(error.what()).find("step 2: the loss is not finite; "), 0U)
        << error.what();
  }
}

TEST(Trainer, StopsWhenTheErrorExplodes) {
  TrainOptions options = brief(400);
  options.schedule.lr = 1e3;
  Trainer trainer(fresh(kStandard), options);
  OwnSource source;
  EXPECT_THROW(trainer.train(source), DivergenceError);
}

TEST(Trainer, AWideDictionaryMayStartFarFromTheData) {
  // ReLU over F random unit rows starts at x_hat = F / 2D x, here 40 x.
  Json model = kStandard;
  model["d_sae"] = 80 * kWidth;
  Trainer trainer(fresh(model), brief(2));
  OwnSource source;
  EXPECT_NO_THROW(trainer.train(source));
}

TEST(Trainer, RefusesMisuse) {
  Trainer trainer(fresh(kTopK), brief());
  EXPECT_THROW(trainer.step(at::zeros({4, kWidth + 1})), std::invalid_argument);
  EXPECT_THROW(trainer.step(at::zeros({kWidth})), std::invalid_argument);
  EXPECT_THROW(trainer.step(at::zeros({0, kWidth})), std::invalid_argument);
  TrainOptions neither;
  EXPECT_THROW(neither.total_steps(), ConfigError);
  neither.tokens = 10;
  neither.batch = 11;
  EXPECT_THROW(neither.total_steps(), ConfigError);
  neither.batch = 4;
  EXPECT_EQ(neither.total_steps(), 2);
  neither.steps = 2;
  EXPECT_THROW(neither.total_steps(), ConfigError);
}

}  // namespace
}  // namespace sae

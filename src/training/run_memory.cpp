#include "training/run_memory.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "sae/base/device.h"
#include "sae/models/matryoshka.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kFloat = 4;  // bytes
/// Share of latents kept per token above which codes may be dense matrices.
constexpr double kDenseShare = 0.1;

/// Sizes as real numbers: products of what a configuration may ask for do not fit 64 bits.
struct Shapes {
  Json model;
  double D, F, features;
  bool on_cpu;

  Shapes(const RunOptions& options, const Data& data)
      : model(resolve_run(options)["model"]),
        D(static_cast<double>(data.d_in)),
        F(model["d_sae"].get<double>()),
        features(data.world ? static_cast<double>(data.world->features()) : 0),
        on_cpu(parse_device(options.basics.device).is_cpu()) {}

  double parameters() const { return kFloat * (2 * F * D + 2 * F + D); }

  bool freezes(Freeze what) const { return model["freeze"] == name_of(what); }
  /// Of the parameters, those that have moments and gradients.
  double trained() const {
    const bool frozen = freezes(Freeze::kDecoder) || freezes(Freeze::kEncoder);
    return parameters() - (frozen ? kFloat * F * D : 0);
  }
  double start() const { return freezes(Freeze::kSoftDecoder) ? kFloat * F * D : 0; }

  bool is(const char* architecture) const { return model["architecture"] == architecture; }

  bool given(const char* name) const { return !model.value(name, Json()).is_null(); }

  bool keeps_few() const { return given("k") && model["k"].get<double>() <= kDenseShare * F; }
  double extra() const { return on_cpu ? 0 : 4; }

  double step_matrices() const {
    const double most = keeps_few() ? 1 : is("jumprelu") ? 13 : 7;
    return most + extra() + (model.value("aux_coefficient", 0.0) > 0 ? 3 : 0);
  }

  double competing(const TrainOptions& train) const {
    const bool compete = train.accumulate > 1 && (is("batch_topk") || is("matryoshka"));
    return compete ? 48 * model["k"].get<double>() * static_cast<double>(train.batch) : 0;
  }

  double evaluation_matrices() const { return (keeps_few() ? 1 : 3) + extra(); }

  double widths() const {
    if (!given("widths")) return 1;
    const auto chosen = model["widths"].get<std::vector<std::int64_t>>();
    return static_cast<double>(matryoshka_widths(chosen, model["d_sae"]).size());
  }
};

std::int64_t bytes(double value) {
  constexpr double kMost = 0x1p62;
  return static_cast<std::int64_t>(std::min(value, kMost));
}

double evaluation(const Shapes& of, const RunOptions& options) {
  const auto tokens = static_cast<double>(options.eval.batch);
  const double truth = of.features > 0 ? of.F * (of.D + 3 * of.features) : 0;
  return of.parameters() + kFloat * (tokens * (of.F * of.evaluation_matrices() + 6 * of.D) + truth);
}

}  // namespace

RunMemory estimate_memory(const RunOptions& options, const Data& data) {
  const Shapes of(options, data);
  const TrainOptions& train = options.train.train;
  const double part = std::ceil(static_cast<double>(train.batch) /
                                static_cast<double>(std::min(train.accumulate, train.batch)));
  const double step =
      of.parameters() + kFloat * part * of.F * of.step_matrices() +
      kFloat * of.D * (12 * of.widths() * part + 2 * static_cast<double>(train.batch)) +
      of.competing(train);
  const double calibration = kFloat * 5 * static_cast<double>(train.calibration_tokens) * of.D;
  return {.held = bytes(of.parameters() + 2 * of.trained() + of.start() + 64 * of.F),
          .working =
              bytes(std::max({2 * of.parameters(), step, calibration, evaluation(of, options)}))};
}

std::int64_t estimate_evaluation(const RunOptions& options, const Data& data) {
  return bytes(evaluation(Shapes(options, data), options));
}

std::int64_t least_memory(const RunOptions& options, const Data& data) {
  const Shapes of(options, data);
  return bytes(of.parameters() + 3 * of.trained() + of.start());
}

RunFiles size_of_files(const RunOptions& options, const Data& data) {
  const Shapes of(options, data);
  const double sae = of.parameters() + of.start();
  return {sae, sae + 2 * of.trained()};
}

}  // namespace sae

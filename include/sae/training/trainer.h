// Trainer: the training step and the loop around it. It knows no architecture by name.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "sae/config/fields.h"
#include "sae/data/activations.h"
#include "sae/metrics/metric_values.h"
#include "sae/models/autoencoder.h"
#include "sae/models/input_map.h"
#include "sae/training/optimizer.h"
#include "sae/training/schedule.h"

namespace sae {

/// To which mean squared norm inputs are scaled while training.
enum class InputNorm { kNone, kUnit, kSqrtD };
constexpr auto names_of(InputNorm) { return std::array{"none", "unit", "sqrt_d"}; }

/// What is subtracted from inputs while training. kMean: the mean of the calibration tokens,
/// without those whose norm is above 10 times the median one (input_statistics.h), as a few
/// attention sinks would drag it away from all others; the scale of `input_norm` is then found from
/// these tokens too. Thresholds and penalties mean the same for every data set only where inputs
/// are centred.
enum class InputCentre { kNone, kMean };
constexpr auto names_of(InputCentre) { return std::array{"none", "mean"}; }

/// Where b_dec starts.
enum class BDecInit { kGeometricMedian, kMean, kZero };
constexpr auto names_of(BDecInit) { return std::array{"geometric_median", "mean", "zero"}; }

/// Of dense products; weights stay float32, and so does all that is sparse, but for the rows of
/// W_dec that kernels of ours read on a GPU. kBf16: under autocast, forward and back. kTf32, on
/// GPUs alone: factors are rounded to 10 bits, sums are float32; it is a setting of the whole
/// process while a step runs, so steps of other precision must not run beside.
enum class Precision { kFp32, kBf16, kTf32 };
constexpr auto names_of(Precision) { return std::array{"fp32", "bf16", "tf32"}; }

struct TrainOptions {
  std::optional<std::int64_t> steps;
  std::optional<std::int64_t> tokens;
  std::int64_t batch = 4096;
  std::int64_t accumulate = 1;
  ScheduleOptions schedule;
  AdamOptions adam;
  InputNorm input_norm = InputNorm::kNone;
  InputCentre input_centre = InputCentre::kNone;
  BDecInit b_dec_init = BDecInit::kGeometricMedian;
  std::int64_t calibration_tokens = 8192;
  std::int64_t log_every = 100;
  double divergence = 1e4;
  Screening screening = Screening::kAuto;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("steps", self.steps, at_least(1), "training steps; or give tokens");
    visit("tokens", self.tokens, at_least(1), "training tokens, rounded down to whole batches");
    visit("batch", self.batch, at_least(1), "B, tokens in a step");
    visit(
        "accumulate", self.accumulate, at_least(1),
        "parts a batch is computed in, one after the other, to save memory; changes nothing else");
    ScheduleOptions::fields(self.schedule, visit);
    AdamOptions::fields(self.adam, visit);
    visit("input_norm", self.input_norm, any,
          "scale inputs to mean squared norm 1 or D while training; folded into the saved SAE");
    visit(
        "input_centre", self.input_centre, any,
        "subtract the mean vector from inputs while training, before they are scaled; folded into "
        "the saved SAE");
    visit("b_dec_init", self.b_dec_init, any, "where b_dec starts");
    visit("calibration_tokens", self.calibration_tokens, at_least(1),
          "first tokens of the data, from which mean, scale and b_dec are found");
    visit("log_every", self.log_every, at_least(1), "steps between logged metrics");
    visit("divergence", self.divergence, above(1),
          "stop when the error exceeds this many times the mean squared norm of the batch");
    visit(
        "screening", self.screening, any,
        "screened encoder (same results up to rounding): where measured faster, everywhere, never");
  }

  /// Number of steps that `steps` or `tokens` asks for; ConfigError unless exactly one is given.
  std::int64_t total_steps() const;

  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;
};

/// What a step reports. Values are filled on steps that are logged, and are otherwise empty.
struct StepReport {
  std::int64_t step = 0;    ///< steps done, this one included
  std::int64_t tokens = 0;  ///< tokens seen
  /// As minimised, so of mapped inputs: loss, loss.<name>, grad_norm. Of the batch in the
  /// activations' own units: l0, explained_variance, nmse, mse, cosine, l2_ratio; with a mask
  /// mask.theta, mask.importance_q05 ... _q95, mask.masked, mask.drift. Besides: dead, lr,
  /// tokens_per_s; over ranks comm_mb, which this one sent in a step, and comm_s, which it spent on
  /// that, both as means since the last report.
  MetricValues values;
};

struct BatchPass;  // src/training/batch_pass.h

/// Trains one autoencoder:
///
///     Trainer trainer(std::make_shared<TopK>(options), {.steps = 10000, .batch = 4096});
///     trainer.train(source, [](const StepReport& report) { ...; return true; });
///
/// A step is a pure function of the trainer's state and the batch: no global generator, no clock
/// (tokens_per_s is only reported). Throws DivergenceError when the loss or the gradient is not
/// finite or the error exceeds `divergence`; the parameters are of no use then.
///
/// Over ranks, where the autoencoder is one rank's part, each gives its tokens of every batch, and
/// all call the same functions; calibration is that of rank 0. What is reported is of the whole.
class Trainer {
 public:
  /// The autoencoder must be initialised and on its device.
  Trainer(std::shared_ptr<Autoencoder> sae, TrainOptions options, std::uint64_t seed = 0,
          Precision precision = Precision::kFp32);

  const std::shared_ptr<Autoencoder>& autoencoder() const { return sae_; }
  const TrainOptions& options() const { return options_; }
  std::int64_t steps_done() const { return step_; }
  std::int64_t total_steps() const { return total_steps_; }
  bool finished() const { return step_ >= total_steps_; }
  InputMap input() const { return {input_scale_, input_mean_}; }
  double input_scale() const { return input_scale_; }
  bool calibrated() const { return input_scale_ > 0; }

  /// Finds the input map and b_dec from `x` [N, D]. `train` does this from the data's beginning.
  void calibrate(const at::Tensor& x);

  /// One step on x [B, D], on any device.
  StepReport step(const at::Tensor& x);

  /// Steps until finished or until `on_step` returns false. Calibrates first if that has not been
  /// done. `source` must stand at the position that belongs to `steps_done`; over ranks each has
  /// one of the whole batches, and reads its part of them.
  void train(ActivationSource& source, const std::function<bool(const StepReport&)>& on_step = {});

  /// DivergenceError if the last step was not finite. On a GPU, steps that are not logged are not
  /// looked at, since the host would wait: what is saved must be.
  void require_finite() const;

  /// Everything that a later step depends on, besides the autoencoder's own tensors and what
  /// `restore` takes: the moments of Adam and, if inputs are centred, "input_mean" [D].
  std::vector<std::pair<std::string, at::Tensor>> state() const;
  /// [n] i64, the latents that it has rows of: all, or those that this rank updates.
  at::Tensor latents_of_state() const { return adam_.latents(); }
  void restore(std::int64_t step, double input_scale);

 private:
  void share_calibration();
  void log_traffic(double steps, MetricValues& values);
  MetricValues measure(const BatchPass& pass, const at::Tensor& importance_before) const;
  void check(const BatchPass& pass, const at::Tensor& x) const;
  bool finite() const;
  [[noreturn]] static void diverged(std::int64_t step, const std::string& what);

  std::shared_ptr<Autoencoder> sae_;
  TrainOptions options_;
  std::uint64_t seed_;
  Precision precision_;
  Adam adam_;
  std::int64_t total_steps_;
  std::int64_t step_ = 0;
  double input_scale_ = 0;  // 0: not calibrated
  at::Tensor input_mean_;   // [D]; undefined: inputs are not centred
  std::chrono::steady_clock::time_point logged_at_;
  std::int64_t logged_step_ = 0;
  Traffic logged_traffic_;
};

}  // namespace sae

// AtmMask: Adaptive Temporal Masking, which latents may fire at this training step.
#pragma once

#include <torch/nn/module.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sae/config/fields.h"
#include "sae/distributed/spread.h"
#include "sae/models/batch_statistics.h"
#include "sae/models/step.h"
#include "sae/sparse/nested_error.h"

namespace sae {

/// How magnitude, frequency and contribution combine.
enum class Importance { kProduct, kMean, kWeighted, kMagnitude, kFrequency, kContribution };
constexpr auto names_of(Importance) {
  return std::array{"product", "mean", "weighted", "magnitude", "frequency", "contribution"};
}

enum class MaskDraw { kBernoulli, kNested, kExpected, kRanked };
constexpr auto names_of(MaskDraw) {
  return std::array{"bernoulli", "nested", "expected", "ranked"};
}

/// Which reconstructions are trained.
enum class MaskPaths { kMasked, kBoth };
constexpr auto names_of(MaskPaths) { return std::array{"masked", "both"}; }

enum class MaskInference { kNone, kExpected, kHard };
constexpr auto names_of(MaskInference) { return std::array{"none", "expected", "hard"}; }

struct AtmMaskOptions {
  double decay = 0.99;
  std::int64_t warmup_steps = 1000;
  Importance importance = Importance::kProduct;
  std::vector<double> weights = {1, 1, 1};
  double threshold = 1;
  double relaxed_threshold = 0.5;
  std::int64_t cycle = 1000;
  double active_fraction = 1;
  double rate = 0.5;
  double min_keep = 0.1;
  MaskDraw draw = MaskDraw::kBernoulli;
  MaskPaths paths = MaskPaths::kMasked;
  MaskInference inference = MaskInference::kNone;
  double nested_weight = 0.8;
  double nested_weight_end = 0.5;
  double nested_weight_hold = 0.5;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("decay", self.decay, unit_interval(), "EMA decay of the importance statistics, per step");
    visit("warmup_steps", self.warmup_steps, at_least(0), "steps before any latent is masked");
    visit("importance", self.importance, any,
          "how magnitude, frequency and contribution combine into importance");
    visit("weights", self.weights, at_least(0),
          "weights of magnitude, frequency, contribution; used by importance 'weighted'");
    visit("threshold", self.threshold, any, "c in theta = mean + c * std of importance");
    visit("relaxed_threshold", self.relaxed_threshold, any,
          "c in the relaxed part of each pruning cycle");
    visit("cycle", self.cycle, at_least(1), "length of a pruning cycle, in steps");
    visit("active_fraction", self.active_fraction, between(0, 1),
          "share of each cycle that uses 'threshold'; the rest uses 'relaxed_threshold'");
    visit("rate", self.rate, at_least(0), "r in p = 1 - exp(-r (theta - importance) / theta)");
    visit("min_keep", self.min_keep, between(0, 1),
          "share of latents that is always kept (retention floor)");
    visit("draw", self.draw, any,
          "bernoulli: the paper's; nested: keep the floor(F^u) most important, u ~ U(0, 1); "
          "expected: train the mean over all of these widths, without a draw; ranked: each latent "
          "by itself with nested's chance");
    visit("paths", self.paths, any,
          "train the masked reconstruction (the paper's), or it and the unmasked one");
    visit("inference", self.inference, any,
          "mask at inference: none; f * (1 - p); f where importance >= theta");
    visit("nested_weight", self.nested_weight, between(0, 1),
          "a, weight of the nested errors with draw 'expected'; the whole error has 1 - a");
    visit("nested_weight_end", self.nested_weight_end, between(0, 1), "a at the end of the run");
    visit("nested_weight_hold", self.nested_weight_hold, between(0, 1),
          "share of the run for which a stays as it is, before it goes to its end linearly");
  }

  /// Whether anything reads theta: a nested mask alone does not.
  bool uses_theta() const;
  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;

 private:
  void check_nested(Findings& findings) const;
};

/// Temporal mask over latents (arXiv 2510.08855). For latent i, decay beta, means over the batch:
///
///     magnitude_i    <- beta * magnitude_i    + (1 - beta) * mean_b f_bi            [P]
///     frequency_i    <- beta * frequency_i    + (1 - beta) * mean_b [f_bi > 0]      [P]
///     contribution_i <- beta * contribution_i + (1 - beta) * mean_b |g_bi f_bi|     [P]
///     importance = product magnitude * frequency * contribution                     [O]
///                | mean    mean of the three, each divided by its mean over latents [O]
///                | weighted, or one signal alone                                    [O]
///     theta = mean_i importance_i + c * std_i importance_i                          [P]
///     p_i   = 1 - exp(-r (theta - importance_i) / theta) below theta, else 0        [P]
///     m_i   ~ Bernoulli(1 - p_i), once per step for the whole batch     [P; per step: O]
///
/// [P] is the paper's, [O] is ours where it is silent: the averages are divided by 1 - beta^t;
/// g = B * dL_rec/d(f m) is taken before masking, so a masked latent still earns importance;
/// theta <= 0 masks nothing; a draw that keeps fewer than min_keep * F latents gets the most
/// important masked ones back; a cycle of steps alternates two values of c. `draw: nested` and
/// `paths: both` (the mean of both errors, so that its scale does not jump when the warm-up ends)
/// are ours altogether: nested keeps the floor(F^u) most important latents, which
/// orders the dictionary over time as Matryoshka orders it by index. `draw: expected`, ours too, is
/// the expectation of nested masks on both paths, with weights a and 1 - a, exactly and without the
/// variance of a draw (nested_error.h): latent i, the r_i-th most important, takes part with chance
///
///     q_i = (1 - a) + a P(floor(F^u) >= r_i) = 1 - a ln r_i / ln F,     1 where r_i <= min_keep F
///
/// in the reconstruction and in what penalises activations; a is `nested_weight`, and goes to
/// `nested_weight_end` in the last part of a run. `draw: ranked`, ours too, keeps latent i with the
/// chance q_i of a = 1, that of a nested draw, but each latent by itself, as Bernoulli masks do:
/// what differs from nested is that a child may take part without its parent.
///
/// State: three float32 [F] buffers and a step count, registered (they save and, the count apart,
/// move with the model), changed by observe() only. No gradient flows through the mask.
///
/// Where latents are spread over ranks a rank has the buffers of its own latents. Each gathers the
/// importance of all, 4 F bytes, where x_hat takes 8 B D, and does what one process would do: masks
/// are the same to the bit, whatever the number of ranks.
class AtmMask : public torch::nn::Module {
 public:
  AtmMask(std::int64_t d_sae, AtmMaskOptions options);
  AtmMask(std::shared_ptr<const Spread> spread, AtmMaskOptions options);

  const AtmMaskOptions& options() const { return options_; }

  /// The mask of training step `step`, [F_r] of 0 and 1, of this rank's latents: a function of
  /// (seed, step, statistics). With draw 'expected' there is none.
  at::Tensor sample(std::uint64_t seed, std::int64_t step) const;
  /// What takes its place there, and a at this step.
  Nesting nesting(Step step) const;
  double nested_weight(Step step) const;
  bool active(std::int64_t step) const { return step >= options_.warmup_steps; }

  void observe(const BatchStatistics& batch);  ///< once per training step

  // The step count stays on the CPU, where it is read: from a GPU the host would wait for it.
  void to(at::Device device, at::ScalarType type, bool non_blocking = false) override;
  void to(at::Device device, bool non_blocking = false) override;
  using torch::nn::Module::to;

  /// [F] >= 0, and [], as if inputs and activations had been `scale` times smaller. Of all latents.
  at::Tensor importance(double scale = 1) const;
  at::Tensor theta(std::int64_t step, double scale = 1) const;
  at::Tensor mask_probability(std::int64_t step) const;  ///< p [F]
  /// [F_r], what `inference` multiplies f with; undefined: nothing.
  at::Tensor inference_factor() const;

  /// What a log says of training step `step`, by name: theta (bernoulli draws only), masked (share
  /// of latents; expected, without a draw), nested_weight (without a draw only), drift (how far
  /// importance(scale) moved from `before`, relative to it) and quantiles of it, importance_q05 to
  /// importance_q95. `mask` [F_r] is the one that was drawn.
  std::map<std::string, double> metrics(Step step, const at::Tensor& mask, const at::Tensor& before,
                                        double scale = 1) const;

  /// Statistics as if inputs and activations had been `scale` times smaller (see Autoencoder).
  void fold_input_scale(double scale);

 private:
  double threshold_at(std::int64_t step) const;
  at::Tensor own_importance(double scale) const;  // [F_r]
  at::Tensor theta_of(const at::Tensor& importance, std::int64_t step) const;
  at::Tensor probability_of(const at::Tensor& importance, std::int64_t step) const;
  at::Tensor sample_all(std::uint64_t seed, std::int64_t step) const;  // [F]
  // [F] of 0 and 1, each latent by itself; `probability` [F] f32 of being masked
  at::Tensor drawn(std::uint64_t seed, std::int64_t step, const at::Tensor& probability) const;
  std::int64_t floor() const;                      // latents that min_keep keeps
  at::Tensor chance_by_rank(double weight) const;  // [F] f64, q of rank 1, 2, ... at weight a
  double correction() const;
  std::int64_t d_sae() const { return spread_->d_sae(); }

  std::shared_ptr<const Spread> spread_;
  AtmMaskOptions options_;
  at::Tensor magnitude_, frequency_, contribution_;  // [F_r] float32
  at::Tensor updates_;                               // [] int64, on the CPU
};

}  // namespace sae

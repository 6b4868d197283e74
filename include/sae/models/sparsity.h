// The sparsity coefficient: its warm-up, and steering it to a wanted L0.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <optional>

#include "sae/config/fields.h"
#include "sae/models/atm_mask.h"
#include "sae/models/batch_statistics.h"

namespace sae {

struct SparsityOptions {
  double sparsity = 1;
  std::int64_t sparsity_warmup_steps = 0;
  std::optional<double> target_l0;
  double target_rate = 3e-3;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("sparsity", self.sparsity, at_least(0), "lambda, weight of the sparsity loss");
    visit("sparsity_warmup_steps", self.sparsity_warmup_steps, at_least(0),
          "steps over which lambda grows linearly from 0");
    visit("target_l0", self.target_l0, above(0),
          "L0 that lambda is steered to; null: lambda stays");
    visit("target_rate", self.target_rate, between(0, 1),
          "largest relative change of lambda in one step while steering");
  }

  /// `steers`: whether target_l0 moves lambda.
  void check(Findings& findings, std::int64_t d_sae, bool steers) const;
  void check(Findings& findings, const RunLength& run) const;
};

/// [] L0 of a step as inference has it: before any mask of the step, with the mask of inference.
at::Tensor l0_at_inference(const BatchStatistics& batch, const AtmMask* mask, const Spread& spread);

/// lambda(step), and the controller behind `target_l0`. With L the `l0_at_inference` of a step and
/// L* the target:
///
///     mean  <- 0.95 mean + 0.05 L          trend <- 0.95 trend + 0.05 (change of mean)
///     e     = mean + 100 trend - L*        where L0 is heading, against where it should be
///     lambda <- lambda (1 + rate tanh(10 e / L*)),  within a factor of 1000
///
/// SAELens' tuner is alike, but slows down a hundredfold whenever the error shrinks at all, which a
/// run of a few thousand steps cannot afford. The rate bounds how far lambda can travel in a run.
///
/// State: one float64 [3] buffer (mean, trend, multiplier), registered.
class SparsityControl : public torch::nn::Module {
 public:
  explicit SparsityControl(SparsityOptions options);

  at::Tensor coefficient(std::int64_t step) const;  ///< lambda, []
  /// [] L0 of step `step`, once per step. Steering begins when the warm-up is over: before, L0 says
  /// nothing about lambda.
  void observe(const at::Tensor& l0, std::int64_t step);

 private:
  SparsityOptions options_;
  at::Tensor state_;  // [3] float64: mean, trend, multiplier; mean < 0: nothing seen yet
};

}  // namespace sae

// The sparsity coefficient: its warm-up, and steering it to a wanted L0.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <optional>

#include "sae/fields.h"

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
};

/// lambda(step), and the controller behind `target_l0`. With L the L0 of a step and L* the target:
///
///     mean  <- 0.99 mean + 0.01 L          trend <- 0.95 trend + 0.05 (change of mean)
///     e     = mean - L*                    gain  = 0.01 if e is already shrinking, else 1
///     lambda <- lambda (1 + rate * gain * sign(e) tanh(10 |e| / L*)),  within a factor of 1000
///
/// (the form of SAELens' tuner for its synthetic benchmark; the rate is an option here, since it
/// bounds how far lambda can travel in a short run).
///
/// State: one float64 [3] buffer (mean, trend, multiplier), registered.
class SparsityControl : public torch::nn::Module {
 public:
  explicit SparsityControl(SparsityOptions options);

  at::Tensor coefficient(std::int64_t step) const;  ///< lambda, []
  void observe(const at::Tensor& l0);               ///< [] L0 of one step, once per step

 private:
  SparsityOptions options_;
  at::Tensor state_;  // [3] float64: mean, trend, multiplier; mean < 0: nothing seen yet
};

}  // namespace sae

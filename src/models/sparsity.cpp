#include "sae/models/sparsity.h"

#include <torch/types.h>

#include <algorithm>
#include <string>
#include <utility>

#include "sae/config/findings.h"

namespace sae {
namespace {

constexpr double kHorizon = 100;  // steps that the controller looks ahead

}  // namespace

void SparsityOptions::check(Findings& findings, std::int64_t d_sae, bool steers) const {
  const SparsityOptions defaults;
  if (target_l0 && *target_l0 > static_cast<double>(d_sae)) {
    findings.at_most("target_l0", *target_l0, static_cast<double>(d_sae), "d_sae");
  }
  if (target_l0 && sparsity == 0) {
    findings.error("sparsity", "got 0, expected > 0 with target_l0, which it is the weight for");
  } else if (sparsity == 0 && sparsity_warmup_steps > 0) {
    findings.unused("sparsity_warmup_steps", "with sparsity 0");
  }
  if (!target_l0 || !steers) {
    if (target_rate != defaults.target_rate) {
      findings.unused("target_rate",
                      target_l0 ? "with sparsity_loss 'target'" : "without target_l0");
    }
  } else if (target_rate == 0) {
    findings.warn("target_rate", "got 0: lambda never moves towards target_l0");
  }
}

void SparsityOptions::check(Findings& findings, const RunLength& run) const {
  const std::string got = "got " + std::to_string(sparsity_warmup_steps) + ", the run has " +
                          std::to_string(run.steps) + " steps: ";
  if (sparsity_warmup_steps > run.steps) {
    findings.error("sparsity_warmup_steps",
                   got + "lambda never reaches its value; expected at most these");
  } else if (2 * sparsity_warmup_steps > run.steps) {
    findings.warn("sparsity_warmup_steps", got + "lambda grows for most of the run");
  }
}

at::Tensor l0_at_inference(const BatchStatistics& batch, const AtmMask* mask,
                           const Spread& spread) {
  const at::Tensor factor = mask ? mask->inference_factor() : at::Tensor();
  const at::Tensor fired = factor.defined() ? batch.fired.masked_fill(factor == 0, 0) : batch.fired;
  return spread.sum_latents(fired.sum()) / batch.tokens;
}

SparsityControl::SparsityControl(SparsityOptions options)
    : torch::nn::Module("SparsityControl"), options_(std::move(options)) {
  state_ = register_buffer("state", at::tensor({-1.0, 0.0, 1.0}, at::kDouble));
}

at::Tensor SparsityControl::coefficient(std::int64_t step) const {
  double warm = 1;
  if (step < options_.sparsity_warmup_steps) {
    warm = static_cast<double>(step) / static_cast<double>(options_.sparsity_warmup_steps);
  }
  // A copy: the state moves on while a graph may still hold the coefficient.
  return (state_.select(0, 2) * (options_.sparsity * warm)).to(at::kFloat);
}

void SparsityControl::observe(const at::Tensor& l0, std::int64_t step) {
  if (!options_.target_l0 || step < options_.sparsity_warmup_steps) return;
  const at::NoGradGuard no_grad;
  const double target = *options_.target_l0;
  const at::Tensor now = l0.to(state_.options());
  const at::Tensor old_mean = at::where(state_.select(0, 0) < 0, now, state_.select(0, 0));
  const at::Tensor mean = old_mean.lerp(now, 0.05);
  const at::Tensor trend = state_.select(0, 1).lerp(mean - old_mean, 0.05);
  const at::Tensor error = mean + kHorizon * trend - target;
  const at::Tensor change = options_.target_rate * at::tanh(10 / target * error);
  const at::Tensor multiplier = (state_.select(0, 2) * (1 + change)).clamp(1e-3, 1e3);
  state_.copy_(at::stack({mean, trend, multiplier}));
}

}  // namespace sae

#include "sae/models/sparsity.h"

#include <torch/types.h>

#include <algorithm>
#include <utility>

namespace sae {
namespace {

constexpr double kHorizon = 100;  // steps that the controller looks ahead

}  // namespace

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

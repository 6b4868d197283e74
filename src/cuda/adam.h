// Host side of adam.cu: an Adam step in two sweeps over each parameter, of which the host waits for
// nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "cuda/bf16_copy.h"

namespace sae::cuda {

struct AdamParameter {
  at::Tensor weight, gradient, first, second;  // contiguous, of one size
  bool unit;                                   // rows of [F, D] are projected, and return to norm 1
  Bf16Copy::Rounded copy = {};  // written as well, but `largest`; with norms only if not `unit`
};

struct AdamSettings {
  double learning_rate, beta1, beta2, epsilon, clip_norm;
  at::Tensor updates;  // [] f32 on the device, counting this one
};

/// Returns the gradient's norm [], after projection and before clipping.
at::Tensor adam_step(const std::vector<AdamParameter>& parameters, const AdamSettings& settings);

}  // namespace sae::cuda

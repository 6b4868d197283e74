// BatchStatistics: what a training step observes of its latents.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sae {

/// Sums over the tokens of one training step, from which statistics are updated.
struct BatchStatistics {
  std::int64_t tokens = 0;  // B
  at::Tensor fired;         // [F] tokens in which the latent is active
  at::Tensor magnitude;     // [F] sum of f
  at::Tensor contribution;  // [F] sum of |g f|, g = B * dL_rec/df
  at::Tensor min_positive;  // [] smallest positive f of the step

  at::Tensor l0() const;                   ///< [] mean number of active latents per token
  void add(const BatchStatistics& other);  ///< joins other tokens of the same step
};

}  // namespace sae

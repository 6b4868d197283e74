// Statistics of dense latent activations, all in one sweep.
#pragma once

#include <ATen/core/Tensor.h>

namespace sae {

struct DenseStatistics {
  at::Tensor fired;         // [F] tokens with f > 0
  at::Tensor min_positive;  // [] smallest f > 0, infinity if none
  at::Tensor magnitude;     // [F] sum of f
  at::Tensor contribution;  // [F] sum of |slope f|; undefined without a slope
};

/// f [B, F], float32 on the CPU, contiguous; slope likewise, or undefined. All float32, every sum
/// in token order.
DenseStatistics dense_statistics(const at::Tensor& f, const at::Tensor& slope);

}  // namespace sae

// BatchStatistics of one pass, from its codes.
#pragma once

#include <ATen/core/Tensor.h>

#include "sae/models/batch_statistics.h"
#include "sae/sparse/codes.h"

namespace sae {

/// `kept_for_decoder` has the values of `latents` that were reconstructed from, and after backward
/// their gradient, which `contribution` (with a mask) is made of; `loss_scale` is what the losses
/// were multiplied with.
BatchStatistics batch_statistics(const Codes& latents, const Codes& kept_for_decoder,
                                 bool with_mask, double loss_scale);

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

// Host side of screen.cu: the k largest pre-activations of each token, exact, by a bfloat16
// product.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "cuda/bf16_copy.h"
#include "cuda/selection.h"

namespace sae::cuda {

/// Whether screen.cu serves a k and sizes.
bool can_screen(std::int64_t k, std::int64_t d_sae, std::int64_t d_in);

/// Of v = x W^T + b in float32, x [B, D] centred, W [F, D], b [F]: what largest_of_token keeps, and
/// its values, up to the order of float32 summation. Nothing of size [B, F] but the bfloat16
/// product. `of_W` is W rounded.
Kept screened_largest_of_token(const at::Tensor& x, const at::Tensor& W, const at::Tensor& b,
                               std::int64_t k, const Bf16Copy::Rounded& of_W);

}  // namespace sae::cuda

// Dense products of backward passes in the precision of their forward pass.
//
// Autocast is off while gradients flow back, and what a forward pass saved is float32, so that
// without this a bfloat16 step would do three of its four dense products in float32.
#pragma once

#include <ATen/autocast_mode.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "cuda/bf16_copy.h"
#include "cuda/launch.h"

namespace sae {

/// W in bfloat16 where that is what products read now: under autocast, on GPUs with kernels of
/// ours, if a copy of W is kept.
inline std::optional<at::Tensor> low_rows(const at::Tensor& W, Bf16Copy* copy) {
  if (!copy || !cuda::has_kernels(W)) return {};
  const bool low = at::autocast::is_autocast_enabled(W.device().type()) &&
                   at::autocast::get_autocast_dtype(W.device().type()) == at::kBFloat16;
  return low ? std::optional(copy->rows_of(W)) : std::nullopt;
}

inline void save_precision(torch::autograd::AutogradContext* ctx, const at::Tensor& like) {
  ctx->saved_data["bf16"] = at::autocast::is_autocast_enabled(like.device().type());
}

/// a b, in the type of a; by bfloat16 products if the forward pass had them.
inline at::Tensor mm_as_forward(torch::autograd::AutogradContext* ctx, const at::Tensor& a,
                                const at::Tensor& b) {
  if (!ctx->saved_data["bf16"].toBool()) return at::mm(a, b);
  return at::mm(a.to(at::kBFloat16), b.to(at::kBFloat16)).to(a.scalar_type());
}

}  // namespace sae

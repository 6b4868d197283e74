// Host side of sparse.cu: products of a pattern's entries with rows, on a device that has_kernels.
//
// Arguments are contiguous; `indices`, `offsets` and what is by latent are those of Pattern
// (sae/sparse/pattern.h). Sums are taken in an order that the data alone decide.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sae::cuda {

struct ByLatent {
  const at::Tensor& entries;  // [nnz] i64
  const at::Tensor& tokens;   // [nnz] i64
  const at::Tensor& starts;   // [F + 1] i64
};

/// [B, D]; `weight` [F, D] is float32 or bfloat16, sums are float32; `bias` [D] may be undefined.
at::Tensor gather_sum(const at::Tensor& values, const at::Tensor& indices,
                      const at::Tensor& offsets, const at::Tensor& weight, const at::Tensor& bias);

/// [nnz]; `weight` likewise.
at::Tensor gather_dot(const at::Tensor& rows, const at::Tensor& indices, const at::Tensor& offsets,
                      const at::Tensor& weight);

/// [F, D]
at::Tensor scatter_sum(const at::Tensor& values, const ByLatent& by_latent, const at::Tensor& rows);

/// [F]
at::Tensor latent_sum(const at::Tensor& values, const ByLatent& by_latent);

struct LatentSums {
  at::Tensor fired, magnitude, contribution;  // [F]; the last without a slope undefined
};
/// Counts of values > 0, sums of values, sums of |slope value|.
LatentSums latent_sums(const at::Tensor& values, const at::Tensor& slope,
                       const ByLatent& by_latent);

/// [nnz], the token of each of `entries`.
at::Tensor tokens_of(const at::Tensor& offsets, const at::Tensor& entries);

/// ||x_hat - x||^2 [] float32, and the difference.
struct SquaredError {
  at::Tensor square, error;
};
SquaredError squared_error(const at::Tensor& x_hat, const at::Tensor& x);

}  // namespace sae::cuda

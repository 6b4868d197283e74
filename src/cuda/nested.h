// Host side of nested.cu: errors of nested prefixes and their gradients, on a device that
// has_kernels.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "cuda/products.h"

namespace sae::cuda {

/// Arguments as in sae/sparse/nested_error.h and pattern.h, contiguous.
struct NestedInput {
  const at::Tensor& x;        // [B, D]
  const at::Tensor& values;   // [nnz]
  const at::Tensor& indices;  // [nnz]
  const at::Tensor& offsets;  // [B + 1]
  const at::Tensor& order;    // [nnz] positions in the pattern, token by token in order of rank
  const at::Tensor& chance;   // [F] f64
  const at::Tensor& W_dec;    // [F, D]
  const at::Tensor& b_dec;    // [D]
};

struct NestedResult {
  at::Tensor error;            // [], the mean over tokens
  at::Tensor x_hat;            // [B, D]
  at::Tensor dvalues, dW, db;  // gradients of `error`; undefined without `by_latent`
};

/// The host waits for nothing. Besides results, gradients take room for `held` numbers, half a GB,
/// or 128 for each entry; of how many these are depends the order in which columns are added.
NestedResult nested_errors(const NestedInput& in, const ByLatent* by_latent,
                           std::int64_t held = std::int64_t{1} << 27);

}  // namespace sae::cuda

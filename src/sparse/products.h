// The three products of sparse codes with a dictionary, on any device.
//
// On the CPU float and double have own loops (kernels/rows.h), on a GPU float has own kernels
// (cuda/products.h), to which `weight` may also be bfloat16; elsewhere, and as their reference in
// tests, the at::_embedding_bag family does the same.
#pragma once

#include <ATen/core/Tensor.h>

#include "sae/sparse/pattern.h"

namespace sae::sparse {

/// out[b] = bias + sum over entries of token b: values[e] * weight[indices[e]]     [B, D]
at::Tensor gather_sum(const Pattern& pattern, const at::Tensor& values, const at::Tensor& weight,
                      const at::Tensor& bias = {});

/// out[e] = <rows[token of e], weight[indices[e]]>                                 [nnz]
at::Tensor gather_dot(const Pattern& pattern, const at::Tensor& rows, const at::Tensor& weight);

/// out[i] = sum over entries of latent i: values[e] * rows[token of e]             [F, D]
at::Tensor scatter_sum(const Pattern& pattern, const at::Tensor& values, const at::Tensor& rows);

/// out[i] = sum over entries of latent i: values[e]                                [F]
at::Tensor sum_per_latent(const Pattern& pattern, const at::Tensor& values);

namespace reference {
at::Tensor gather_sum(const Pattern& pattern, const at::Tensor& values, const at::Tensor& weight);
at::Tensor gather_dot(const Pattern& pattern, const at::Tensor& rows, const at::Tensor& weight);
at::Tensor scatter_sum(const Pattern& pattern, const at::Tensor& values, const at::Tensor& rows);
at::Tensor sum_per_latent(const Pattern& pattern, const at::Tensor& values);
Pattern::ByLatent by_latent(const Pattern& pattern);
}  // namespace reference

}  // namespace sae::sparse

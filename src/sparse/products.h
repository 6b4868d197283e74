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
/// On a GPU LibTorch's gradient of an embedding makes a buffer of [n / 10 + min(n, F), D] for n
/// entries, and older versions number its elements in 32 bits. So tokens are taken in parts of
/// `at_once` entries, 0: what is within the largest buffer, and these sums are added in order.
at::Tensor scatter_sum(const Pattern& pattern, const at::Tensor& values, const at::Tensor& rows,
                       std::int64_t at_once = 0);
/// Numbers in the largest buffer: 1 GB of float32, or as many as the result has if these are more,
/// for each part costs a pass over it; less than 2^31.
double largest_buffer(std::int64_t d_sae, std::int64_t width);
/// The most entries whose buffer has no more than so many numbers; at least 1.
std::int64_t entries_within(double numbers, std::int64_t d_sae, std::int64_t width);
at::Tensor sum_per_latent(const Pattern& pattern, const at::Tensor& values);
Pattern::ByLatent by_latent(const Pattern& pattern);
}  // namespace reference

}  // namespace sae::sparse

// Host side of select.cu and draw.cu: which entries are kept, and masks, on a device that
// has_kernels. Pre-activations h [B, F] are contiguous, float32 or bfloat16; what is kept of them
// is float32.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sae::cuda {

struct Kept {
  at::Tensor indices;  // [nnz] i64, ascending within a token
  at::Tensor values;   // [nnz] f32, max(h, 0); of `above` h
  at::Tensor offsets;  // [B + 1] i64
};

/// Whether row_topk serves a k; it is exact for these.
bool has_row_topk(std::int64_t k, std::int64_t d_sae);
/// Exactly k entries of each row of h [B, F], zeros where fewer are positive.
Kept largest_of_token(const at::Tensor& h, std::int64_t k);

bool has_batch_topk(const at::Tensor& h);
/// Exactly `count` entries of h [B, F], zeros where fewer are positive. The host waits for nothing.
Kept largest_of_batch(const at::Tensor& h, std::int64_t count);

/// [B] i32: entries of h above `threshold` [] or [F], which is float32.
at::Tensor count_above(const at::Tensor& h, const at::Tensor& threshold);
/// These entries, `total` in all, of which the host knows by `counts`.
Kept above(const at::Tensor& h, const at::Tensor& threshold, const at::Tensor& counts,
           std::int64_t total);

/// [F] of 0 and 1: 1 where the uniform number of (seed, stream, index, latent) is at least the
/// probability [F], bit for bit as the host's Rng draws.
at::Tensor bernoulli_mask(std::uint64_t seed, std::uint32_t stream, std::uint64_t index,
                          const at::Tensor& probability);

}  // namespace sae::cuda

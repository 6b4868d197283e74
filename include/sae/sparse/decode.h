// The decoder: reconstructions of codes, differentiable in them and in its weights.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "sae/sparse/codes.h"
#include "sae/sparse/encoder_weights.h"

namespace sae {

/// x_hat [B, D], differentiable in the values, W_dec and b_dec. Under autocast, on GPUs with
/// kernels of ours, sparse codes too read W_dec in bfloat16, if `W_dec_copy` is there to keep it:
/// what the dense product does. Sums are float32, and so are W_dec's gradient and b_dec.
at::Tensor decode(const Codes& codes, const at::Tensor& W_dec, const at::Tensor& b_dec,
                  const std::shared_ptr<Bf16Copy>& W_dec_copy = {});

/// Reconstructions by nested prefixes of the dictionary: element j uses latents [0, widths[j]).
/// Every entry is decoded once, whatever the number of widths. `widths` ascend and end with F.
std::vector<at::Tensor> decode_prefixes(const Codes& codes, const std::vector<std::int64_t>& widths,
                                        const at::Tensor& W_dec, const at::Tensor& b_dec,
                                        const std::shared_ptr<Bf16Copy>& W_dec_copy = {});

}  // namespace sae

// The decoder: reconstructions of codes, differentiable in them and in its weights.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "sae/sparse/codes.h"

namespace sae {

/// x_hat [B, D], differentiable in the values, W_dec and b_dec.
at::Tensor decode(const Codes& codes, const at::Tensor& W_dec, const at::Tensor& b_dec);

/// Reconstructions by nested prefixes of the dictionary: element j uses latents [0, widths[j]).
/// Every entry is decoded once, whatever the number of widths. `widths` ascend and end with F.
std::vector<at::Tensor> decode_prefixes(const Codes& codes, const std::vector<std::int64_t>& widths,
                                        const at::Tensor& W_dec, const at::Tensor& b_dec);

}  // namespace sae

// The reconstruction error of nested dictionaries in expectation over their width.
//
// Order the latents: a dictionary of width w is the first w of them. Let latent i belong to a
// dictionary of random width with chance q_i, which falls in that order. Of a token only its active
// latents i_1, i_2, ..., i_n in that order count, so only n + 1 of the widths differ:
//
//     e_0 = x - b_dec,  e_m = e_(m-1) - f_(i_m) d_(i_m),  p_0 = 1 - q_(i_1),
//     p_m = q_(i_m) - q_(i_(m+1)),  p_n = q_(i_n)
//     error = mean_b sum_m p_m ||e_m||^2
//
// With s_m = sum over m' >= m of p_m' e_m' the gradients are -2/B <s_m, d_m> in f_m, the sum of
// -2/B f_m s_m in d_m and of -2/B s_0 in b_dec: exactly those of the sum over all widths, for about
// one more sparse decode. A staircase q ordered by index is Matryoshka's error (matryoshka.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "sae/sparse/codes.h"

namespace sae {

/// The order and the chances.
struct Nesting {
  at::Tensor rank;    ///< [F] i64, the place of each latent in the order, 0 for the first
  at::Tensor chance;  ///< [F] f64, q of each latent, in [0, 1], falling with the rank
};

struct NestedError {
  at::Tensor error;  ///< [], differentiable in the codes' values, W_dec and b_dec
  at::Tensor x_hat;  ///< [B, D] of all latents; no gradient
};

/// `codes` are sparse; an entry of value 0 gets its gradient like any other.
NestedError nested_error(const at::Tensor& x, const Codes& codes, const Nesting& nesting,
                         const at::Tensor& W_dec, const at::Tensor& b_dec);

}  // namespace sae

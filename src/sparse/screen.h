// The screened encoder: a bfloat16 product with a proven error bound finds the few pre-activations
// that a rule could keep, and only these are computed in float32.
//
// For one token x (b_dec subtracted) and one latent w (a row of W_enc) with bias b, let x^ and w^
// be x and w rounded to bfloat16, x' = x - x^ and w' = w - w^ what rounding left over, u = 2^-24
// the unit roundoff of float32, and p the computed product of x^ and w^. Then
//
//     v = fl(fl(x.w) + b),  the number a float32 encoder compares, is at most this far from p + b:
//
//     |x.w - x^.w^|    = |x'.w + x^.w'|  <=  |x'| |w| + |x^| |w'|          (Cauchy-Schwarz)
//     |fl(x.w) - x.w|                    <=  g |x| |w|,    g = (D + 16) u / (1 - (D + 16) u):
//                                            D products and sums in any order (Higham 2002, 3.1)
//     |fl(x^.w^) - x^.w^|                <=  g |x^| |w^|:  likewise, the products being exact
//     |p - fl(x^.w^)|                    <=  2^-8 |fl(x^.w^)|, if p is stored as bfloat16
//     the sum with b                     <=  u |v|
//
// The norms of x, x', w, w' are computed, not assumed, in float64; |x^| <= |x| + |x'|, and the same
// for w. Together: |v - (p + b)| <= |w| whole + |w'| rounded + of_p |p| + of_b |b| (Bound in
// screen_kernels.h), where the last two also cover the rounding of the bound itself.
//
// TopK: let L be the smallest exact v of any k latents; those with the largest p + b serve best. A
// latent whose upper end, p + b and the bound, is below L has a smaller v than these k, so it
// cannot be kept; all others are computed exactly. BatchTopK is the same over a batch, and a
// threshold needs no L. A token with NaN or infinities has intervals that exclude nothing, and is
// computed exactly as a whole; BatchTopK then is not screened.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "sae/sparse/encoder_weights.h"
#include "sae/sparse/select.h"

namespace sae::screen {

/// Whether the CPU multiplies bfloat16 numbers natively (AVX512_BF16 or AMX).
bool has_native_bf16();

/// float32 on a CPU, contiguous weights, and D small enough for the bound.
bool possible(const at::Tensor& x, const EncoderWeights& weights);

struct Found {
  c10::intrusive_ptr<Pattern> pattern;  // sparse
  at::Tensor values;                    // [nnz] float32, h at the pattern
};

/// Nothing if so many entries could be kept that a float32 product is faster.
std::optional<Found> encode(const at::Tensor& centered, const EncoderWeights& weights,
                            const SelectionRule& rule, bool native = has_native_bf16());

}  // namespace sae::screen

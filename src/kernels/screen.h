// The loops of the screened encoder (screen.h), compiled for several instruction sets.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/target_clones.h"

namespace sae::screen {

/// A bfloat16 number's bits: the upper half of a float's.
using Bf16 = std::uint16_t;

/// Euclidean norms of a row and of what rounding it to bfloat16 leaves over, not below the truth.
struct Norms {
  float whole;
  float residual;
};

/// Rounds a row of n numbers to the nearest bfloat16.
Norms round_row(std::int64_t n, const float* x, Bf16* rounded);

/// How far a screened pre-activation p of one token may be from the exact one. For latent j:
///     |exact - (p + bias_j)| <= whole norm_j + rounded residual_j + of_p |p| + of_bias |bias_j|
///                               + a tiny constant
struct Bound {
  float whole;
  float rounded;
  float of_p;
  float of_bias;
};

/// Per latent, [F] each.
struct Latents {
  const float* bias;
  const float* norm;
  const float* residual;
  const float* bias_above;  // bias + of_bias |bias| + the tiny constant
  float largest_ratio;      // of residual / norm
};

struct Interval {
  float middle;
  float upper;
};

/// Covers the underflow of products and sums of up to 2^20 terms, 2^-126 each.
inline constexpr float kTiny = 1e-30F;

SAE_INLINE float to_float(Bf16 bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
SAE_INLINE float to_float(float x) { return x; }

/// Where the exact pre-activation of latent j must lie: in the middle or above, up to `upper`, or
/// as far below. `row` is one token's p.
template <class P>
SAE_INLINE Interval interval(const P* row, std::int64_t j, const Latents& latents,
                             const Bound& bound) {
  const float p = to_float(row[j]);
  const float bias = latents.bias[j];
  const float error = bound.whole * latents.norm[j] + bound.rounded * latents.residual[j] +
                      bound.of_p * std::fabs(p) + bound.of_bias * std::fabs(bias) + kTiny;
  return {p + bias, p + bias + error};
}

/// Writes latents to `out`, ascending: all whose interval's upper end is not below `limit` (or
/// limit[j]), and perhaps a few more, for the bound is a simpler one. NaN is never below. Returns
/// how many; `out` has room for F.
std::int64_t candidates(std::int64_t d_sae, const Bf16* p, const Latents& latents,
                        const Bound& bound, float limit, std::int64_t* out);
std::int64_t candidates(std::int64_t d_sae, const float* p, const Latents& latents,
                        const Bound& bound, float limit, std::int64_t* out);
std::int64_t candidates(std::int64_t d_sae, const Bf16* p, const Latents& latents,
                        const Bound& bound, const float* limit, std::int64_t* out);
std::int64_t candidates(std::int64_t d_sae, const float* p, const Latents& latents,
                        const Bound& bound, const float* limit, std::int64_t* out);

}  // namespace sae::screen

#include "kernels/screen.h"

#include <bit>
#include <cmath>

#include "kernels/positions.h"
#include "kernels/target_clones.h"

namespace sae::screen {
namespace {

/// Covers the rounding of the norms themselves, which are summed in float64.
constexpr double kInflate = 1 + 1e-6;

SAE_INLINE float at(float limit, std::int64_t) { return limit; }
SAE_INLINE float at(const float* limit, std::int64_t j) { return limit[j]; }

template <class P, class Limit>
SAE_INLINE std::int64_t candidates_loop(std::int64_t d_sae, const P* row, const Latents& latents,
                                        const Bound& bound, Limit limit, std::int64_t* out) {
  const float* bias = latents.bias_above;
  const float* norm = latents.norm;
  const float of_norm = bound.whole + bound.rounded * latents.largest_ratio;
  const float of_p = bound.of_p;
  const auto may_reach = [=](std::int64_t j) __attribute__((always_inline)) {
    const float p = to_float(row[j]);
    return !(p + bias[j] + of_norm * norm[j] + of_p * std::fabs(p) < at(limit, j));
  };
  return collect_positions(d_sae, may_reach, out);
}

SAE_INLINE Norms round_row_loop(std::int64_t n, const float* x, Bf16* rounded) {
  constexpr int kLanes = 16;
  double whole[kLanes] = {};
  double residual[kLanes] = {};
  const auto one = [&](std::int64_t j, int lane) __attribute__((always_inline)) {
    const auto bits = std::bit_cast<std::uint32_t>(x[j]);
    const std::uint32_t nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // ties to even
    rounded[j] = static_cast<Bf16>(nearest);
    const double value = x[j];
    const double rest = x[j] - std::bit_cast<float>(nearest << 16);  // exact
    whole[lane] += value * value;
    residual[lane] += rest * rest;
  };
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) one(j + lane, lane);
  }
  for (; j < n; ++j) one(j, 0);
  double whole_sum = 0;
  double residual_sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    whole_sum += whole[lane];
    residual_sum += residual[lane];
  }
  return {static_cast<float>(std::sqrt(whole_sum) * kInflate),
          static_cast<float>(std::sqrt(residual_sum) * kInflate)};
}

}  // namespace

SAE_MULTIVERSION Norms round_row(std::int64_t n, const float* x, Bf16* rounded) {
  return round_row_loop(n, x, rounded);
}

SAE_MULTIVERSION std::int64_t candidates(std::int64_t d_sae, const Bf16* p, const Latents& latents,
                                         const Bound& bound, float limit, std::int64_t* out) {
  return candidates_loop(d_sae, p, latents, bound, limit, out);
}
SAE_MULTIVERSION std::int64_t candidates(std::int64_t d_sae, const float* p, const Latents& latents,
                                         const Bound& bound, float limit, std::int64_t* out) {
  return candidates_loop(d_sae, p, latents, bound, limit, out);
}
SAE_MULTIVERSION std::int64_t candidates(std::int64_t d_sae, const Bf16* p, const Latents& latents,
                                         const Bound& bound, const float* limit,
                                         std::int64_t* out) {
  return candidates_loop(d_sae, p, latents, bound, limit, out);
}
SAE_MULTIVERSION std::int64_t candidates(std::int64_t d_sae, const float* p, const Latents& latents,
                                         const Bound& bound, const float* limit,
                                         std::int64_t* out) {
  return candidates_loop(d_sae, p, latents, bound, limit, out);
}

}  // namespace sae::screen

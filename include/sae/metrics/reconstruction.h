// Reconstruction metrics, accumulated over batches.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "sae/distributed/spread.h"
#include "sae/metrics/metric_values.h"
#include "sae/sparse/codes.h"

namespace sae {

/// Whether ranks along the batch have added their parts of the tokens, or all of them.
enum class TokensOfRanks { kParts, kAll };

/// With means over all tokens added and mean x their average activation:
///
///     l0                  mean number of nonzero latents
///     explained_variance  1 - E||x - x_hat||^2 / E||x - mean x||^2; NaN where x does not vary
///     nmse                E||x - x_hat||^2 / E||x||^2
///     mse                 E||x - x_hat||^2, summed over D
///     cosine              mean cos(x, x_hat), over tokens with ||x|| > 1e-6
///     l2_ratio            mean ||x_hat|| / ||x||, over these tokens
///     never_fired         share of latents that did not fire in these tokens
///
/// Sums are kept in float64 on the device of the data; nothing is read back before `values`.
class ReconstructionMetrics {
 public:
  explicit ReconstructionMetrics(std::int64_t d_sae);

  void add(const at::Tensor& x, const at::Tensor& x_hat, const Codes& codes);

  /// Where codes were those of a rank's latents: of all ranks, on every one. Once, when all has
  /// been added.
  void join(const Spread& spread, TokensOfRanks tokens);

  std::int64_t tokens() const { return tokens_; }
  MetricValues values() const;
  at::Tensor firing_frequency() const;  ///< [F] float64, share of tokens; on the CPU

 private:
  std::int64_t d_sae_;
  std::int64_t tokens_ = 0;
  at::Tensor sums_;   // [6] error, ||x||^2, cosine, l2 ratio, active entries, tokens not zero
  at::Tensor total_;  // [D] sum of x
  at::Tensor fired_;  // [F]
};

}  // namespace sae

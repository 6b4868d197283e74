// SAEBench's core metrics by its own definitions, and what the weights alone say.
//
// The names mse and explained_variance mean something else there than in metrics.h, whose
// definitions are the usual ones. Karvonen et al. 2025, "SAEBench", arXiv 2503.09532; sae-bench
// 0.6.0, evals/core. Cross entropy and KL divergence need the language model and are not here.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "sae/config/fields.h"
#include "sae/data/data.h"
#include "sae/evaluation/evaluation.h"
#include "sae/metrics/metric_values.h"
#include "sae/models/autoencoder.h"
#include "sae/sparse/codes.h"

namespace sae {

/// With e = x - x_hat, n the tokens of a batch, E a mean over all tokens, m one over batches:
///
///     l0, l1                        E[number of f != 0], E[sum f |W_dec|] without absolute values
///     l2_norm_in, l2_norm_out       E|x|, E|x_hat|
///     l2_ratio                      E[|x_hat| / |x|]
///     relative_reconstruction_bias  m[mean |x_hat|^2 / mean x . x_hat]
///     mse                           E[|e|^2 / n]: it depends on the batch, not on D
///     cossim                        E[cos(x, x_hat)], 0 where x_hat is 0
///     explained_variance_legacy     E[1 - |e|^2 / |x - mean of the batch|^2]
///     explained_variance            1 - R / (S - q^2), R = m[mean |e|^2], S = m[mean |x|^2], q the
///                                   mean of x^2 over tokens and dimensions: near 1 - R / S
///
/// These are sae-bench's numbers where its batches are about equal and no activation is degenerate.
/// What would destroy a mean there is kept out of it here:
///   - a batch of less than half the tokens of its neighbour, such as what is left at the end, is
///     joined to it: alone it would count as much as a whole one, and its mean is hardly one;
///   - tokens with |x| < 1e-4 have no direction and no ratio (sae-bench takes |x| as 1, or divides
///     by it); they and tokens of batches without spread have no legacy variance;
///   - batches without any other token have no bias.
/// A mean over nothing is NaN.
class SaeBenchMetrics {
 public:
  /// `W_dec` [F, D] for l1; none: its rows are of norm 1, as sae-bench wants them.
  explicit SaeBenchMetrics(std::int64_t d_sae, const at::Tensor& W_dec = {});

  void add(const at::Tensor& x, const at::Tensor& x_hat, const Codes& codes);

  std::int64_t tokens() const { return tokens_; }
  MetricValues values() const;
  at::Tensor feature_density() const;  ///< [F] float64: share of tokens with f > 0; on the CPU

 private:
  std::int64_t d_sae_;
  at::Tensor units_;  // [F] norms of the decoder's rows; undefined: all 1
  std::int64_t tokens_ = 0;
  std::int64_t batches_ = 0;  // closed ones
  at::Tensor token_sums_;     // [7] float64
  at::Tensor batch_sums_;     // [8] float64, of closed batches
  at::Tensor fired_;          // [F] float64
  at::Tensor x_, x_hat_;      // the batch that the next one may be joined to
};

/// Per latent, [F] float64 on the CPU, under sae-bench's names. The encoder's are those of the same
/// autoencoder with decoder rows of norm 1, so that latents compare.
struct WeightMetrics {
  at::Tensor encoder_bias;
  at::Tensor encoder_norm;
  at::Tensor decoder_norm;  ///< as it is
  at::Tensor encoder_decoder_cosine_sim;
  at::Tensor max_encoder_cosine_sim;  ///< with the nearest other latent; signed
  at::Tensor max_decoder_cosine_sim;
};
WeightMetrics weight_metrics(const Autoencoder& sae);

/// The largest cosine of each row [F, D] with another one, [F]; NaN for a row alone.
at::Tensor max_cosines(const at::Tensor& rows);

/// frac_alive, freq_over_1_percent, freq_over_10_percent (shares of latents) and
/// normalized_freq_over_1_percent, normalized_freq_over_10_percent (their share of all activity).
MetricValues density_metrics(const at::Tensor& density);

struct CoreOptions {
  bool weights = true;
  bool latents = false;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("weights", self.weights, any, "norms, biases and cosines of the weights: F^2 D products");
    visit("latents", self.latents, any, "list every latent's numbers in the JSON");
  }
};

struct CoreResult {
  MetricValues values;     ///< of metrics.h, as in training
  MetricValues sae_bench;  ///< SaeBenchMetrics, density_metrics, average_max_*_cosine_sim
  FiringHistogram firing;
  at::Tensor density;  ///< [F]
  std::optional<WeightMetrics> weights;
  CoreOptions options;

  /// {values..., "sae_bench": {...}, "firing": {...}, "latents": {...}}
  nlohmann::ordered_json json() const;
};

/// Core metrics of the held-out activations, and `evaluation` as sae/evaluation.h has it.
CoreResult evaluate_core(const Autoencoder& sae, const Data& data, const EvalOptions& eval,
                         const CoreOptions& options, Evaluation& evaluation);

}  // namespace sae

#include "sae/tools/features.h"

#include <torch/types.h>

#include <algorithm>
#include <vector>

#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sparse/row_norms.h"
#include "tools/features/collector.h"
#include "tools/features/encoded.h"

namespace sae {
namespace {

constexpr std::int64_t kNeighbourRows = 512;

/// What the weights alone say about latents.
void describe_weights(const Autoencoder& sae, std::int64_t neighbours,
                      std::vector<LatentFeature>& latents) {
  const at::Tensor decoder = unit_rows(sae.W_dec);
  const at::Tensor norms = row_norms(sae.W_dec).to(at::kCPU, at::kDouble);
  const at::Tensor own = (unit_rows(sae.W_enc) * decoder).sum(1).to(at::kCPU, at::kDouble);
  const std::int64_t d_sae = sae.d_sae();
  const std::int64_t shown = std::min(neighbours, d_sae - 1);
  for (std::int64_t first = 0; first < d_sae; first += kNeighbourRows) {
    check_interrupt();
    const std::int64_t end = std::min(first + kNeighbourRows, d_sae);
    at::Tensor cosines = at::matmul(decoder.slice(0, first, end), decoder.t());
    cosines.slice(1, first, end).fill_diagonal_(-2);
    auto [closest, which] = cosines.topk(shown, 1);
    closest = closest.to(at::kCPU, at::kFloat);
    which = which.cpu();
    for (std::int64_t i = first; i < end; ++i) {
      LatentFeature& latent = latents[static_cast<std::size_t>(i)];
      latent.decoder_norm = norms[i].item<double>();
      latent.encoder_cosine = own[i].item<double>();
      const auto* cosine = closest[i - first].const_data_ptr<float>();
      const auto* other = which[i - first].const_data_ptr<std::int64_t>();
      for (std::int64_t n = 0; n < shown; ++n) latent.neighbours.emplace_back(other[n], cosine[n]);
    }
  }
}

}  // namespace

void check_options(const FeaturesOptions& options) {
  for (const std::int64_t count : {options.contexts, options.quantiles, options.window,
                                   options.tokens, options.neighbours, options.seed}) {
    if (count < 0) throw ConfigError("features: got " + std::to_string(count) + ", expected >= 0");
  }
}

Features collect_features(const Autoencoder& sae, const ActivationStore& store,
                          const FeaturesOptions& options,
                          const std::function<bool(std::int64_t, std::int64_t)>& go_on) {
  check_options(options);
  const at::NoGradGuard no_grad;
  Features out;
  FeatureCollector collector(sae.d_sae(), options);
  out.rows = for_each_encoded(sae, store, options.window, go_on, [&](const EncodedBatch& batch) {
    collector.add(batch.rows);
    const auto& tokens = batch.rows.tokens;
    for (std::int64_t row = batch.rows.begin; !tokens.empty() && row < batch.rows.end; ++row) {
      ++out.occurrences[tokens[static_cast<std::size_t>(row)]];
    }
  });
  out.latents = collector.finish();
  describe_weights(sae, options.neighbours, out.latents);
  return out;
}

}  // namespace sae

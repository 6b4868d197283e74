#include "sae/tools/features.h"

#include <torch/types.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "data/device_batches.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sparse/row_norms.h"
#include "tools/features/collector.h"

namespace sae {
namespace {

constexpr std::int64_t kBatchEntries = std::int64_t{16} << 20;  // of the [B, F] pre-activations
constexpr std::int64_t kNeighbourRows = 512;

void check(const Autoencoder& sae, const ActivationStore& store, const FeaturesOptions& options) {
  if (store.d_in() != sae.d_in()) {
    throw DataError(store.path().string() + ": activations have " + std::to_string(store.d_in()) +
                    " dimensions, expected the " + std::to_string(sae.d_in()) +
                    " that the autoencoder takes");
  }
  for (const std::int64_t count : {options.contexts, options.quantiles, options.window,
                                   options.tokens, options.neighbours, options.seed}) {
    if (count < 0) throw ConfigError("features: got " + std::to_string(count) + ", expected >= 0");
  }
}

/// A span of a CPU tensor, which must outlive it.
template <class Number>
std::span<const Number> span_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {tensor.const_data_ptr<Number>(), static_cast<std::size_t>(tensor.numel())};
}

/// Rows [first, first + count) of a store, which are x [count, D], with their codes in decoder
/// units.
struct EncodedRows {
  EncodedRows(const Autoencoder& sae, const at::Tensor& units, const ActivationStore& store,
              std::int64_t first, const at::Tensor& x)
      : EncodedRows(in_decoder_units(sae.encode(x.to(sae.W_enc.scalar_type())).to_sparse(), units),
                    store, first, x.size(0)) {}
  EncodedRows(Codes encoded, const ActivationStore& store, std::int64_t first, std::int64_t count)
      : codes(std::move(encoded)),
        values(codes.values().to(at::kCPU, at::kFloat).contiguous()),
        indices(codes.pattern()->indices.cpu()),
        offsets(codes.pattern()->offsets.cpu()),
        context(store.has_context() ? store.context(first, count) : at::Tensor()),
        tokens(store.has_tokens() ? store.tokens(first, count) : at::Tensor()) {}

  SparseView view() const {
    return {span_of<float>(values), span_of<std::int64_t>(indices), span_of<std::int64_t>(offsets)};
  }

  Codes codes;
  at::Tensor values, indices, offsets, context, tokens;
};

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

Features collect_features(const Autoencoder& sae, const ActivationStore& store,
                          const FeaturesOptions& options,
                          const std::function<bool(std::int64_t, std::int64_t)>& go_on) {
  check(sae, store, options);
  const at::NoGradGuard no_grad;
  Features out;
  FeatureCollector collector(sae.d_sae(), options);
  const std::int64_t batch = std::clamp<std::int64_t>(kBatchEntries / sae.d_sae(), 64, 4096);
  at::Tensor units = decoder_units(sae.W_dec);
  // A latent whose row is zero fires without saying anything; that it fires is shown all the same.
  if (units.defined()) units = at::where(units > 0, units, at::ones_like(units));
  // Rows around a batch are encoded twice, so that one reading suffices.
  const auto from_of = [&](std::int64_t first) {
    return std::max<std::int64_t>(0, first - options.window);
  };
  const at::Device device = sae.W_enc.device();
  std::int64_t next = 0;
  SentAhead sent(device, (store.size() + batch - 1) / batch, [&] {
    const std::int64_t first = std::exchange(next, next + batch);
    std::vector<std::int64_t> which(static_cast<std::size_t>(
        std::min(first + batch + options.window, store.size()) - from_of(first)));
    std::iota(which.begin(), which.end(), from_of(first));
    return store.rows(which, batch_form_for(device));
  });
  for (std::int64_t first = 0; first < store.size(); first += batch) {
    check_interrupt();
    if (go_on && !go_on(first, store.size())) break;
    const std::int64_t end = std::min(first + batch, store.size());
    const std::int64_t from = from_of(first);
    const EncodedRows rows(sae, units, store, from, sent.next());
    const auto tokens = span_of<std::int32_t>(rows.tokens);
    collector.add({.codes = rows.view(),
                   .first_row = from,
                   .begin = first - from,
                   .end = end - from,
                   .context = span_of<std::int32_t>(rows.context),
                   .tokens = tokens});
    for (std::int64_t row = first - from; !tokens.empty() && row < end - from; ++row) {
      ++out.occurrences[tokens[static_cast<std::size_t>(row)]];
    }
    out.rows = end;
  }
  out.latents = collector.finish();
  describe_weights(sae, options.neighbours, out.latents);
  return out;
}

}  // namespace sae

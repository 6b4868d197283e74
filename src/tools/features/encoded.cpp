#include "tools/features/encoded.h"

#include <torch/types.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "data/device_batches.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sparse/row_norms.h"

namespace sae {
namespace {

constexpr std::int64_t kBatchEntries = std::int64_t{16} << 20;  // of the [B, F] pre-activations

void check_width(const Autoencoder& sae, const ActivationStore& store) {
  if (store.d_in() == sae.d_in()) return;
  throw DataError(store.path().string() + ": activations have " + std::to_string(store.d_in()) +
                  " dimensions, expected the " + std::to_string(sae.d_in()) +
                  " that the autoencoder takes");
}

/// A span of a CPU tensor, which must outlive it.
template <class Number>
std::span<const Number> span_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {tensor.const_data_ptr<Number>(), static_cast<std::size_t>(tensor.numel())};
}

/// Rows [first, first + x.size(0)) of a store with their codes in decoder units.
struct EncodedRows {
  EncodedRows(const Autoencoder& sae, const at::Tensor& units, const ActivationStore& store,
              std::int64_t first, const at::Tensor& rows)
      : x(rows.to(sae.W_enc.scalar_type())),
        codes(in_decoder_units(sae.encode(x).to_sparse(), units)),
        values(codes.values().to(at::kCPU, at::kFloat).contiguous()),
        indices(codes.pattern()->indices.cpu()),
        offsets(codes.pattern()->offsets.cpu()),
        context(store.has_context() ? store.context(first, x.size(0)) : at::Tensor()),
        tokens(store.has_tokens() ? store.tokens(first, x.size(0)) : at::Tensor()) {}

  SparseView view() const {
    return {span_of<float>(values), span_of<std::int64_t>(indices), span_of<std::int64_t>(offsets)};
  }

  at::Tensor x;
  Codes codes;
  at::Tensor values, indices, offsets, context, tokens;
};

/// What codes are multiplied with; a latent whose decoder row is zero fires without saying
/// anything, and that it fires is shown all the same.
at::Tensor shown_units(const Autoencoder& sae) {
  at::Tensor units = decoder_units(sae.W_dec);
  return units.defined() ? at::where(units > 0, units, at::ones_like(units)) : units;
}

}  // namespace

std::int64_t for_each_encoded(const Autoencoder& sae, const ActivationStore& store,
                              std::int64_t around,
                              const std::function<bool(std::int64_t, std::int64_t)>& go_on,
                              const std::function<void(const EncodedBatch&)>& take) {
  check_width(sae, store);
  const at::NoGradGuard no_grad;
  const std::int64_t batch = std::clamp<std::int64_t>(kBatchEntries / sae.d_sae(), 64, 4096);
  const at::Tensor units = shown_units(sae);
  const auto from_of = [&](std::int64_t first) {
    return std::max<std::int64_t>(0, first - around);
  };
  const at::Device device = sae.W_enc.device();
  std::int64_t next = 0;
  SentAhead sent(device, (store.size() + batch - 1) / batch, [&] {
    const std::int64_t first = std::exchange(next, next + batch);
    std::vector<std::int64_t> which(
        static_cast<std::size_t>(std::min(first + batch + around, store.size()) - from_of(first)));
    std::iota(which.begin(), which.end(), from_of(first));
    return store.rows(which, batch_form_for(device));
  });
  for (std::int64_t first = 0; first < store.size(); first += batch) {
    check_interrupt();
    if (go_on && !go_on(first, store.size())) return first;
    const std::int64_t from = from_of(first);
    const EncodedRows rows(sae, units, store, from, sent.next());
    take({.rows = {.codes = rows.view(),
                   .first_row = from,
                   .begin = first - from,
                   .end = std::min(first + batch, store.size()) - from,
                   .context = span_of<std::int32_t>(rows.context),
                   .tokens = span_of<std::int32_t>(rows.tokens)},
          .codes = rows.codes,
          .x = rows.x});
  }
  return store.size();
}

}  // namespace sae

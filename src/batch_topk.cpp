#include "sae/batch_topk.h"

#include <torch/types.h>

#include <algorithm>
#include <utility>

namespace sae {

BatchTopK::BatchTopK(BatchTopKOptions options)
    : Autoencoder(options.base), options_(std::move(options)) {
  threshold_ = register_buffer("threshold", at::full({}, -1.0F));
}

Selection BatchTopK::select(const at::Tensor& h) const {
  const auto count = static_cast<std::int64_t>(options_.k * static_cast<double>(h.size(0)));
  const double hint = h.is_cpu() ? 0.7 * threshold_.item<double>() : 0;
  return select_batch_top_k(h, std::clamp<std::int64_t>(count, 1, h.numel()), hint, storage);
}

Selection BatchTopK::select_inference(const at::Tensor& h) const {
  // Only positive activations exist, whatever the threshold.
  const Selection selection = select_above(h, threshold_.clamp_min(0), storage);
  if (!selection.pattern->is_dense) return selection;
  return {selection.pattern, h > threshold_.clamp_min(0)};
}

Losses BatchTopK::penalties(const Forward& pass, Step) const {
  return aux_k_loss(*this, pass, options_.aux);
}

void BatchTopK::observe_more(const BatchStatistics& batch, Step) {
  const at::Tensor smallest =
      at::where(batch.min_positive.isfinite(), batch.min_positive, threshold_);
  const at::Tensor next = threshold_.lerp(smallest, 1 - options_.threshold_decay);
  threshold_.copy_(at::where(threshold_ < 0, smallest, next));
}

void BatchTopK::fold_more(double scale) { threshold_.div_(scale); }

}  // namespace sae

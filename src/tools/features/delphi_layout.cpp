#include "tools/features/delphi_layout.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "sae/base/interrupt.h"
#include "tools/features/origin.h"

namespace sae {
namespace {

constexpr std::int64_t kWidest = 1024;
constexpr std::int64_t kWithoutContexts = 256;  // CacheConfig.cache_ctx_len
constexpr std::int64_t kPlacesAtOnce = std::int64_t{1} << 20;

std::int64_t whole_examples(std::int64_t tokens) {
  constexpr std::int64_t kExample = DelphiLayout::kExample;
  return (tokens + kExample - 1) / kExample * kExample;
}

}  // namespace

DelphiLayout::DelphiLayout(const ActivationStore& store)
    : tokens_(store.size()), width_(kWithoutContexts) {
  if (!store.has_context()) {
    places_ = tokens_;
    return;
  }
  width_ = std::min(whole_examples(contexts_of(store).longest), kWidest);
  DelphiPlaces places;
  for (std::int64_t first = 0; first < store.size(); first += kPlacesAtOnce) {
    check_interrupt();
    const at::Tensor part = store.context(first, std::min(kPlacesAtOnce, store.size() - first));
    const auto* number = part.const_data_ptr<std::int32_t>();
    for (std::int64_t i = 0; i < part.numel(); ++i) places.next(number[i]);
  }
  places_ = places.end();
}

std::int64_t DelphiPlaces::next(std::optional<std::int32_t> context) {
  if (context != context_) end_ = whole_examples(end_);
  context_ = context;
  return end_++;
}

std::int64_t DelphiPlaces::next(const FeatureBatch& batch, std::int64_t row) {
  return next(batch.context.empty() ? std::nullopt
                                    : std::optional(batch.context[static_cast<std::size_t>(row)]));
}

}  // namespace sae

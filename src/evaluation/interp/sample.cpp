#include <torch/types.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "base/permutation.h"
#include "evaluation/interp/draws.h"
#include "sae/base/error.h"
#include "sae/evaluation/interp_items.h"

namespace sae {
namespace {

/// Tokens or contexts of a store, all of them.
std::vector<std::int32_t> ids(const at::Tensor& column) {
  const at::Tensor plain = column.contiguous();
  const auto* begin = plain.const_data_ptr<std::int32_t>();
  return {begin, begin + plain.numel()};
}

std::vector<std::int32_t> picked(const std::vector<std::int32_t>& of,
                                 const std::vector<std::int64_t>& rows) {
  std::vector<std::int32_t> out;
  out.reserve(rows.size());
  for (const std::int64_t row : rows) out.push_back(of[static_cast<std::size_t>(row)]);
  return out;
}

}  // namespace

InterpSample::InterpSample(std::vector<std::int64_t> rows, std::vector<std::int32_t> tokens,
                           std::vector<std::int32_t> contexts)
    : rows_(std::move(rows)),
      tokens_(std::move(tokens)),
      contexts_(std::move(contexts)),
      by_token_(rows_.size()) {
  if (tokens_.size() != rows_.size() || contexts_.size() != rows_.size()) {
    throw std::invalid_argument("InterpSample: expected a token and a context for each row");
  }
  std::iota(by_token_.begin(), by_token_.end(), 0);
  std::stable_sort(by_token_.begin(), by_token_.end(),
                   [&](std::int32_t a, std::int32_t b) { return token(a) < token(b); });
  for (std::int64_t i = 0; i < size(); ++i) {
    const std::int32_t own = token(by_token_[static_cast<std::size_t>(i)]);
    of_token_.try_emplace(own, i, i).first->second.second = i + 1;
  }
}

std::span<const std::int32_t> InterpSample::rows_of_token(std::int32_t token) const {
  const auto found = of_token_.find(token);
  if (found == of_token_.end()) return {};
  const auto [begin, end] = found->second;
  return std::span(by_token_).subspan(static_cast<std::size_t>(begin),
                                      static_cast<std::size_t>(end - begin));
}

void require_text(const ActivationStore& store) {
  if (store.has_tokens() && store.has_context()) return;
  throw DataError(store.path().string() + ": has no " +
                  (store.has_tokens() ? "context ids" : "tokens") +
                  ", expected the token and the context of each row; harvest the store with them");
}

InterpSample sample_of(const ActivationStore& store, std::vector<std::int64_t> rows) {
  require_text(store);
  const auto tokens = ids(store.tokens(0, store.size()));
  const auto contexts = ids(store.context(0, store.size()));
  auto own_tokens = picked(tokens, rows);
  auto own_contexts = picked(contexts, rows);
  return {std::move(rows), std::move(own_tokens), std::move(own_contexts)};
}

InterpSample draw_sample(const ActivationStore& store, const InterpOptions& options,
                         std::span<const std::int64_t> candidates) {
  require_text(store);
  const auto contexts = ids(store.context(0, store.size()));
  const std::int64_t count = candidates.empty() ? store.size() : std::ssize(candidates);
  const Permutation order(static_cast<std::uint64_t>(count),
                          static_cast<std::uint64_t>(options.seed), Stream::kEvaluation,
                          interp_draw::kSample);
  std::unordered_map<std::int32_t, std::int64_t> taken;  // rows of each context
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < count && std::ssize(rows) < options.rows; ++i) {
    const auto place = order(static_cast<std::uint64_t>(i));
    const std::int64_t row =
        candidates.empty() ? static_cast<std::int64_t>(place) : candidates[place];
    std::int64_t& of_context = taken[contexts[static_cast<std::size_t>(row)]];
    if (of_context == options.per_context) continue;
    ++of_context;
    rows.push_back(row);
  }
  std::sort(rows.begin(), rows.end());
  return sample_of(store, std::move(rows));
}

bool is_reference(std::int32_t context, std::int64_t seed) {
  const auto own = static_cast<std::uint32_t>(context);
  return (Rng(static_cast<std::uint64_t>(seed), Stream::kEvaluation, interp_draw::kSide | own)
              .next() &
          1) != 0;
}

}  // namespace sae

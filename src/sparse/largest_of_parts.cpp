#include "sparse/largest_of_parts.h"

#include <torch/types.h>

#include <utility>

namespace sae {
namespace {

/// The entries at the ascending places `which` [n].
Codes entries_of(const Codes& codes, const at::Tensor& which) {
  const Pattern& from = *codes.pattern();
  return {Pattern::sparse(from.indices.index_select(0, which),
                          at::searchsorted(which, from.offsets), from.d_sae, from.is_padded),
          codes.values().index_select(0, which)};
}

/// The entries of the tokens [begin, end), as views.
Codes tokens_of(const Codes& codes, std::int64_t begin, std::int64_t end) {
  const Pattern& from = *codes.pattern();
  const auto first = from.offsets[begin].item<std::int64_t>();
  const auto last = from.offsets[end].item<std::int64_t>();
  return {
      Pattern::sparse(from.indices.slice(0, first, last),
                      from.offsets.slice(0, begin, end + 1) - first, from.d_sae, from.is_padded),
      codes.values().slice(0, first, last)};
}

}  // namespace

SelectionRule LargestOfParts::rule() const {
  if (least_.defined()) return Above{least_};
  return LargestOfBatch{count_};
}

void LargestOfParts::add(const Codes& part) {
  tokens_.push_back(part.batch());
  held_.push_back(part);
  size_ += part.values().size(0);
  // Rarely, so that the cost a part does not grow with what is held.
  if (size_ > 2 * count_ || (size_ >= count_ && !least_.defined())) drop_all_but_the_largest();
}

void LargestOfParts::drop_all_but_the_largest() {
  Codes all = joined(std::exchange(held_, {}));
  if (size_ > count_) {
    const Selection largest =
        select(all.values().view({1, -1}), LargestOfBatch{count_}, Storage::kSparse);
    all = entries_of(all, largest.pattern->indices);
    size_ = all.values().size(0);
  }
  if (size_ == count_) least_ = all.values().min();
  held_.push_back(std::move(all));
}

std::vector<Codes> LargestOfParts::kept() {
  std::vector<Codes> parts;
  if (held_.empty()) return parts;
  drop_all_but_the_largest();
  std::int64_t begin = 0;
  for (const std::int64_t tokens : tokens_) {
    parts.push_back(tokens_of(held_.front(), begin, begin + tokens));
    begin += tokens;
  }
  return parts;
}

}  // namespace sae

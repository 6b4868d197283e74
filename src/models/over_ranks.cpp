#include "models/over_ranks.h"

#include <torch/types.h>

#include <algorithm>
#include <utility>

#include "distributed/selection.h"

namespace sae {
namespace {

/// Values that descend in each token, [B, k], 0 where there are fewer than k, and which entries of
/// the token they are.
struct Sorted {
  at::Tensor values;
  at::Tensor which;  // [B, min(n, k)]
};

Sorted sorted(const at::Tensor& f, std::int64_t k) {
  auto [values, which] = f.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
  const std::int64_t n = std::min(k, f.size(1));
  return {at::constant_pad_nd(values.slice(1, 0, n), {0, k - n}), which.slice(1, 0, n)};
}

/// The place of each entry within its token, [nnz].
at::Tensor places_in_token(const Pattern& pattern) {
  const at::Tensor first = pattern.offsets.index_select(0, pattern.tokens());
  return at::arange(pattern.indices.size(0), first.options()) - first;
}

/// True for the first `counts` [B] of what `which` [B, n] lists, [B, width].
at::Tensor first_of(const at::Tensor& which, const at::Tensor& counts, std::int64_t width) {
  const at::Tensor kept = at::arange(which.size(1), counts.options()) < counts.unsqueeze(1);
  return at::zeros({which.size(0), width}, kept.options()).scatter_(1, which, kept);
}

}  // namespace

Codes largest_of_token(const Spread& spread, const Codes& own, std::int64_t k) {
  if (!spread.splits_latents()) return own;
  const Codes codes = own.is_dense() ? own.to_sparse() : own;
  const Pattern& pattern = *codes.pattern();
  const at::Tensor place = places_in_token(pattern);
  // A token has k entries at most, in the order of latents, padded with zeros.
  const at::Tensor values = codes.values().detach();
  at::Tensor rows = at::zeros({pattern.batch, k}, values.options());
  rows.index_put_({pattern.tokens(), place}, values);
  const Sorted by_size = sorted(rows, k);
  const at::Tensor counts = kept_of_token(spread.mesh().latents, by_size.values, k);
  const at::Tensor kept = first_of(by_size.which, counts.to(rows.device()), k);
  return codes.where(kept.index({pattern.tokens(), place}));
}

at::Tensor largest_of_token(const Spread& spread, const at::Tensor& f, std::int64_t k) {
  if (!spread.splits_latents()) {
    return at::zeros_like(f).scatter_(1, std::get<1>(at::topk(f, k, /*dim=*/1)), 1);
  }
  const Sorted by_size = sorted(f, k);
  const at::Tensor counts = kept_of_token(spread.mesh().latents, by_size.values, k);
  return first_of(by_size.which, counts.to(f.device()), f.size(1)).to(f.scalar_type());
}

std::vector<Codes> largest_of_batch(const Spread& spread, std::vector<Codes> own,
                                    std::int64_t count, std::int64_t before) {
  if (spread.is_one()) return own;
  const at::Tensor ids = spread.ids().to(own.front().values().device());
  std::vector<at::Tensor> values, keys;
  for (const Codes& part : own) {
    const Pattern& pattern = *part.pattern();
    values.push_back(part.values().detach());
    keys.push_back((pattern.tokens() + before) * spread.d_sae() +
                   ids.index_select(0, pattern.indices));
    before += part.batch();
  }
  const at::Tensor all = at::cat(values);
  const at::Tensor all_keys = at::cat(keys);
  const at::Tensor kept =
      kept_by(limit_of_largest(spread.mesh().world, all, all_keys, count), all, all_keys);
  std::int64_t begin = 0;
  for (Codes& part : own) {
    const std::int64_t end = begin + part.values().size(0);
    part = part.where(kept.slice(0, begin, end));
    begin = end;
  }
  return own;
}

BatchTotals whole(const BatchTotals& own, const Spread& spread) {
  if (spread.is_one()) return own;
  BatchTotals all = own;
  if (spread.splits_tokens()) {
    const Group& data = spread.mesh().data;
    const std::int64_t d_in = own.residual_mean.size(0);
    const at::Tensor mine =
        at::cat({own.residual_mean.to(at::kDouble), own.residual_sum.to(at::kDouble).view(1),
                 at::full({1}, static_cast<double>(own.tokens),
                          own.residual_mean.options().dtype(at::kDouble))});
    const at::Tensor gathered = data.gather(mine);  // [R_d, D + 2]
    all = {};
    for (int rank = 0; rank < data.size(); ++rank) {
      const at::Tensor of_rank = gathered[rank];
      all.add({.tokens = of_rank[d_in + 1].to(at::kLong).item<std::int64_t>(),
               .active = at::zeros_like(own.active),
               .residual_mean = of_rank.slice(0, 0, d_in),
               .residual_sum = of_rank[d_in]});
    }
    all.residual_mean = all.residual_mean.to(own.residual_mean.scalar_type());
    all.residual_sum = all.residual_sum.to(own.residual_sum.scalar_type());
  }
  all.active = own.active.clone();
  spread.mesh().world.sum(all.active);
  return all;
}

BatchStatistics whole(const BatchStatistics& own, const Spread& spread) {
  if (!spread.splits_tokens()) return own;
  BatchStatistics all = own;
  at::Tensor tokens = at::scalar_tensor(own.tokens, own.fired.options().dtype(at::kLong));
  std::vector<at::Tensor*> parts{&tokens, &all.fired};
  if (all.magnitude.defined()) parts.push_back(&all.magnitude);
  if (all.contribution.defined()) parts.push_back(&all.contribution);
  spread.sum_tokens(parts);
  all.tokens = tokens.item<std::int64_t>();
  return all;
}

Codes whole(const Codes& own, const Spread& spread) {
  if (!spread.splits_latents()) return own;
  const Group& latents = spread.mesh().latents;
  const Codes codes = own.is_dense() ? own.to_sparse() : own;
  const Pattern& pattern = *codes.pattern();
  const at::Tensor place = places_in_token(pattern);
  const at::Tensor width = pattern.offsets.diff().max();
  const std::int64_t most = spread.most_of_latents(width.item<std::int64_t>());
  const auto in_rows = [&](const at::Tensor& entries, double none) {
    at::Tensor rows = at::full({pattern.batch, most}, none, entries.options());
    rows.index_put_({pattern.tokens(), place}, entries);
    return latents.gather(rows).transpose(0, 1).flatten(1);  // [B, R most]
  };
  const at::Tensor ids = spread.ids().to(pattern.indices.device());
  const at::Tensor global = in_rows(ids.index_select(0, pattern.indices), -1);
  const at::Tensor values = in_rows(codes.values().detach(), 0);
  const auto [ordered, order] = global.sort(/*stable=*/true, /*dim=*/1);
  const at::Tensor there = ordered >= 0;
  at::Tensor offsets =
      at::cat({at::zeros({1}, there.options().dtype(at::kLong)), there.sum(1).cumsum(0)});
  return {Pattern::sparse(ordered.masked_select(there), std::move(offsets), spread.d_sae()),
          values.gather(1, order).masked_select(there)};
}

}  // namespace sae

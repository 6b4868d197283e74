#include "distributed/selection.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

namespace sae {
namespace {

/// The k-th largest of each token's values [B, n]; 0 where there are fewer.
at::Tensor kth_largest(const at::Tensor& values, std::int64_t k) {
  if (values.size(1) < k) return at::zeros({values.size(0), 1}, values.options());
  return std::get<0>(values.topk(k, /*dim=*/1)).slice(1, k - 1, k);
}

/// [R, B, c] -> [B, R c]
at::Tensor by_token(const at::Tensor& all) { return all.transpose(0, 1).flatten(1); }

/// How many of its sorted values each rank keeps: [R, B] of `all` [R, B, c], in which nothing is
/// missing that equals or exceeds the `limit` [B, 1] where that is positive.
at::Tensor kept_of_all(const at::Tensor& all, const at::Tensor& limit, std::int64_t k) {
  const at::Tensor above = (all > limit).sum(2);                            // [R, B]
  const at::Tensor equal = ((all == limit).logical_and(limit > 0)).sum(2);  // [R, B]
  const at::Tensor room = (k - above.sum(0)).clamp_min(0);                  // [B]
  // Equals of lower ranks, whose latents are lower, come first.
  const at::Tensor before = equal.cumsum(0) - equal;
  const at::Tensor left = (room.unsqueeze(0) - before).clamp_min(0);
  return above + at::minimum(left, equal);
}

struct Bits {
  std::int64_t shift, count;
};

/// From the highest on.
std::vector<Bits> parts_of(std::int64_t width) {
  constexpr std::int64_t kAtATime = 11;
  std::vector<Bits> parts;
  for (std::int64_t left = width; left > 0;) {
    const std::int64_t count = std::min(left, kAtATime);
    left -= count;
    parts.push_back({left, count});
  }
  return parts;
}

/// [2^count] i64, over all ranks.
at::Tensor histogram(const Group& group, const at::Tensor& bins, const at::Tensor& wanted,
                     std::int64_t count) {
  at::Tensor counts = at::zeros({std::int64_t{1} << count}, bins.options());
  counts.scatter_add_(0, bins, wanted.to(at::kLong));
  group.sum(counts);
  return counts;
}

/// How many of this rank's `equal` keys [m] are among the `room` lowest of all ranks.
std::int64_t lowest_of(const Group& group, const at::Tensor& equal, std::int64_t room) {
  const at::Tensor own = std::get<0>(equal.sort()).slice(0, 0, room);
  at::Tensor most = at::tensor({own.size(0)}, at::kLong);
  group.max(most);
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  at::Tensor padded = at::full({most.item<std::int64_t>()}, kNone, equal.options());
  padded.slice(0, 0, own.size(0)).copy_(own);
  const at::Tensor all = std::get<0>(group.gather(padded).flatten().sort());
  return (own <= all[room - 1]).sum().item<std::int64_t>();
}

}  // namespace

at::Tensor kept_of_token(const Group& latents, const at::Tensor& largest, std::int64_t k) {
  const std::int64_t ranks = latents.size();
  const std::int64_t sent = std::min(k, (2 * k + ranks - 1) / ranks);
  const at::Tensor all = latents.gather(largest.slice(1, 0, sent));  // [R, B, c]
  at::Tensor limit = kth_largest(by_token(all), k);
  at::Tensor kept = kept_of_all(all, limit, k);
  if (sent < k) {
    const at::Tensor last = all.select(2, sent - 1);  // [R, B]
    const at::Tensor bound = limit.squeeze(1);
    const at::Tensor open = last.ge(bound).logical_and(last > 0).any(0);
    const at::Tensor which = open.nonzero().squeeze(1);  // the same on all ranks
    if (which.size(0) > 0) {
      const at::Tensor more = latents.gather(largest.index_select(0, which).slice(1, sent, k));
      const at::Tensor whole = at::cat({all.index_select(1, which), more}, 2);
      kept.index_copy_(1, which, kept_of_all(whole, kth_largest(by_token(whole), k), k));
    }
  }
  return kept.select(0, latents.rank());
}

Limit limit_of_largest(const Group& group, const at::Tensor& values, const at::Tensor& keys,
                       std::int64_t count) {
  if (count < 1) return {at::full({}, INFINITY, values.options()), 0};
  const bool wide = values.scalar_type() == at::kDouble;
  const at::Tensor bits = values.contiguous().view(wide ? at::kLong : at::kInt).to(at::kLong);
  at::Tensor wanted = values > 0;  // those that agree with the limit in the bits found so far
  std::int64_t found = 0, room = count;
  // Without the sign.
  for (const auto& [shift, size] : parts_of(wide ? 63 : 31)) {
    const std::int64_t mask = (std::int64_t{1} << size) - 1;
    const at::Tensor bins = bits.bitwise_right_shift(shift).bitwise_and(mask);
    const at::Tensor counts = histogram(group, bins, wanted, size).cpu();
    const auto* of = counts.const_data_ptr<std::int64_t>();
    std::int64_t bin = mask;
    while (bin > 0 && of[bin] < room) room -= of[bin--];
    if (of[bin] < room) {  // bin 0, and not enough: all are kept
      return {at::zeros({}, values.options()), 0};
    }
    found |= bin << shift;
    wanted = wanted.logical_and(bins == bin);
  }
  Limit limit;
  limit.value = wide ? at::tensor({found}, at::kLong).view(at::kDouble)
                     : at::tensor({static_cast<std::int32_t>(found)}, at::kInt).view(at::kFloat);
  limit.value = limit.value.squeeze(0).to(values.device());
  at::Tensor equal = wanted.sum().cpu();
  const std::int64_t own = equal.item<std::int64_t>();
  group.sum(equal);
  limit.equal = equal.item<std::int64_t>() <= room
                    ? own
                    : lowest_of(group, keys.masked_select(wanted).cpu(), room);
  return limit;
}

at::Tensor kept_by(const Limit& limit, const at::Tensor& values, const at::Tensor& keys) {
  at::Tensor kept = (values > limit.value).logical_and(values > 0);
  if (limit.equal == 0) return kept;
  const at::Tensor equal = (values == limit.value).nonzero().squeeze(1);
  const at::Tensor order = keys.index_select(0, equal).argsort();
  return kept.index_fill_(0, equal.index_select(0, order).slice(0, 0, limit.equal), 1);
}

}  // namespace sae

#include "sae/sparse/select.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <torch/types.h>

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/stages.h"
#include "kernels/rows.h"
#include "sparse/select_device.h"
#include "sparse/select_reference.h"

namespace sae {
namespace {

using Positions = std::vector<std::int64_t>;

/// Entries kept in each row, one list a row, to a pattern.
class RowLists {
 public:
  explicit RowLists(std::int64_t rows) : lists_(static_cast<std::size_t>(rows)) {}

  Positions& operator[](std::int64_t row) { return lists_[static_cast<std::size_t>(row)]; }

  std::int64_t total() const {
    std::int64_t sum = 0;
    for (const Positions& list : lists_) sum += static_cast<std::int64_t>(list.size());
    return sum;
  }

  c10::intrusive_ptr<Pattern> pattern(std::int64_t d_sae) const {
    at::Tensor indices = at::empty({total()}, at::kLong);
    at::Tensor offsets = at::empty({static_cast<std::int64_t>(lists_.size()) + 1}, at::kLong);
    auto* index = indices.mutable_data_ptr<std::int64_t>();
    auto* offset = offsets.mutable_data_ptr<std::int64_t>();
    *offset = 0;
    for (const Positions& list : lists_) {
      index = std::copy(list.begin(), list.end(), index);
      offset[1] = *offset + static_cast<std::int64_t>(list.size());
      ++offset;
    }
    return Pattern::sparse(std::move(indices), std::move(offsets), d_sae);
  }

 private:
  std::vector<Positions> lists_;
};

/// Runs `body(row, scratch)` for all rows; scratch has room for one row's positions.
template <class Body>
void for_each_row(const at::Tensor& h, const Body& body) {
  at::parallel_for(0, h.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
    Positions scratch(static_cast<std::size_t>(h.size(1)));
    for (std::int64_t b = begin; b < end; ++b) body(b, scratch);
  });
}

/// A pattern from a boolean mask [B, F], on any device.
Selection from_mask(const at::Tensor& keep, const StoragePolicy& policy, bool keep_is_activation) {
  const std::int64_t batch = keep.size(0);
  const std::int64_t d_sae = keep.size(1);
  const at::Tensor counts = keep.sum(1);
  const double kept = policy.storage == Storage::kAuto ? counts.sum().item<double>() : 0;
  if (policy.wants_dense(kept, static_cast<double>(keep.numel()))) {
    return {Pattern::dense(batch, d_sae), keep_is_activation ? at::Tensor() : keep, {}};
  }
  const at::Tensor places = at::nonzero(keep);
  return {Pattern::sparse(places.select(1, 1).contiguous(),
                          at::cat({at::zeros({1}, counts.options()), counts.cumsum(0)}), d_sae),
          {},
          {}};
}

/// True at the `count` largest positive entries along the last dimension, the first among equals.
at::Tensor largest_positive(const at::Tensor& h, std::int64_t count) {
  const at::Tensor value = at::where(h > 0, h, at::zeros({}, h.options()));  // NaN counts as 0
  const at::Tensor limit =
      std::get<0>(at::topk(value, count, /*dim=*/-1, /*largest=*/true, /*sorted=*/false))
          .amin(-1, /*keepdim=*/true);
  const at::Tensor above = value > limit;
  const at::Tensor equal = (value == limit).logical_and(value > 0);
  const at::Tensor room = count - above.sum(-1, /*keepdim=*/true);
  return above.logical_or(equal.logical_and(equal.cumsum(-1, at::kInt) <= room));
}

void check_count(std::int64_t count) {
  if (count >= 1) return;
  throw std::invalid_argument("select: got " + std::to_string(count) +
                              ", expected at least 1 entry to keep");
}

Selection to_selection(const RowLists& lists, const at::Tensor& h, const StoragePolicy& policy,
                       bool keep_is_activation) {
  const auto kept = static_cast<double>(lists.total());
  auto pattern = lists.pattern(h.size(1));
  if (!policy.wants_dense(kept, static_cast<double>(h.numel()))) return {pattern, {}, {}};
  at::Tensor keep;
  if (!keep_is_activation) {
    keep = at::zeros({h.numel()}, h.options().dtype(at::kBool));
    keep.index_fill_(0, pattern->tokens() * h.size(1) + pattern->indices, true);
    keep = keep.view(h.sizes());
  }
  return {Pattern::dense(h.size(0), h.size(1)), keep, {}};
}

bool has_cpu_kernel(const at::Tensor& h) {
  return h.is_cpu() && (h.scalar_type() == at::kFloat || h.scalar_type() == at::kDouble);
}

/// Whether a sample of the rows is so dense that listing all of them would be a waste.
bool looks_dense(const at::Tensor& h, const at::Tensor& threshold, const StoragePolicy& policy) {
  if (policy.storage != Storage::kAuto) return policy.storage == Storage::kDense;
  const std::int64_t stride = std::max<std::int64_t>(1, h.size(0) / 32);
  const at::Tensor sample = h.slice(0, 0, h.size(0), stride);
  return (sample > threshold).sum().item<double>() >
         policy.dense_above * static_cast<double>(sample.numel());
}

/// `activation_cuts`: a dense pattern needs no mask.
Selection select_above(const at::Tensor& h, const at::Tensor& threshold, bool activation_cuts,
                       const StoragePolicy& policy) {
  if (!h.is_cpu()) return on_device::above(h, threshold, activation_cuts, policy);
  if (looks_dense(h, threshold, policy)) {
    return {
        Pattern::dense(h.size(0), h.size(1)), activation_cuts ? at::Tensor() : h > threshold, {}};
  }
  if (!has_cpu_kernel(h)) {
    return reference::select_above(h, threshold, activation_cuts, Storage::kSparse);
  }
  const at::Tensor values = h.contiguous();
  const at::Tensor limits = threshold.to(h.dtype()).contiguous();
  const std::int64_t d_sae = h.size(1);
  RowLists lists(h.size(0));
  AT_DISPATCH_FLOATING_TYPES(h.scalar_type(), "select_above", [&] {
    const auto* data = values.const_data_ptr<scalar_t>();
    const auto* limit = limits.const_data_ptr<scalar_t>();
    const bool one_limit = limits.dim() == 0;
    for_each_row(h, [&](std::int64_t b, Positions& scratch) {
      const scalar_t* row = data + b * d_sae;
      const std::int64_t count = one_limit
                                     ? rows::positions_above(d_sae, row, *limit, scratch.data())
                                     : rows::positions_above(d_sae, row, limit, scratch.data());
      lists[b].assign(scratch.begin(), scratch.begin() + count);
    });
  });
  return to_selection(lists, h, policy, activation_cuts);
}

Selection select_top_k(const at::Tensor& h, std::int64_t k, const StoragePolicy& policy) {
  const std::int64_t d_sae = h.size(1);
  k = std::min(k, d_sae);
  if (!h.is_cpu()) return on_device::largest_of_token(h, k, policy);
  if (!has_cpu_kernel(h)) return reference::select_top_k(h, k, policy);
  const at::Tensor values = h.contiguous();
  RowLists lists(h.size(0));
  AT_DISPATCH_FLOATING_TYPES(h.scalar_type(), "select_top_k", [&] {
    const auto* data = values.const_data_ptr<scalar_t>();
    at::parallel_for(0, h.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
      Positions scratch(static_cast<std::size_t>(d_sae));
      scalar_t guess = 0;  // most rows resemble the one before: look near its k-th value first
      for (std::int64_t b = begin; b < end; ++b) {
        const scalar_t* row = data + b * d_sae;
        std::int64_t count = rows::positions_above(d_sae, row, guess, scratch.data());
        if (count < k && guess > 0) {
          count = rows::positions_above(d_sae, row, scalar_t(0), scratch.data());
        }
        const auto first = scratch.begin();
        if (count > k) {
          std::nth_element(first, first + (k - 1), first + count,
                           [row](std::int64_t i, std::int64_t j) {
                             return row[i] > row[j] || (row[i] == row[j] && i < j);
                           });
          guess = row[scratch[static_cast<std::size_t>(k - 1)]] * scalar_t(0.8);
          std::sort(first, first + k);
          count = k;
        }
        lists[b].assign(first, first + count);
      }
    });
  });
  return to_selection(lists, h, policy, false);
}

/// A number probably below the count-th largest entry of the batch, from a sample of its rows; 0 if
/// that is not positive. A bad guess costs time only.
template <class T>
T guess_batch_limit(const at::Tensor& h, std::int64_t count) {
  constexpr std::int64_t kRows = 32;
  if (h.numel() == 0) return 0;
  const std::int64_t stride = std::max<std::int64_t>(1, h.size(0) / kRows);
  const at::Tensor sample = h.slice(0, 0, h.size(0), stride).reshape({-1});
  std::vector<T> value(sample.const_data_ptr<T>(), sample.const_data_ptr<T>() + sample.numel());
  std::erase_if(value, [](T x) { return !(x > 0); });
  const double share = static_cast<double>(count) / static_cast<double>(h.numel());
  const auto place = static_cast<std::size_t>(share * static_cast<double>(sample.numel()));
  if (place >= value.size()) return 0;
  std::nth_element(value.begin(), value.begin() + static_cast<std::ptrdiff_t>(place), value.end(),
                   std::greater<>());
  return value[place] * T(0.8);
}

Selection select_batch_top_k(const at::Tensor& h, std::int64_t count, const StoragePolicy& policy) {
  const std::int64_t d_sae = h.size(1);
  if (!h.is_cpu()) return on_device::largest_of_batch(h, std::min(count, h.numel()), policy);
  if (!has_cpu_kernel(h)) return reference::select_batch_top_k(h, count, policy);
  const at::Tensor values = h.contiguous();
  RowLists lists(h.size(0));
  AT_DISPATCH_FLOATING_TYPES(h.scalar_type(), "select_batch_top_k", [&] {
    const auto* data = values.const_data_ptr<scalar_t>();
    const auto collect = [&](scalar_t floor) {
      for_each_row(h, [&](std::int64_t b, Positions& scratch) {
        const std::int64_t found =
            rows::positions_above(d_sae, data + b * d_sae, floor, scratch.data());
        lists[b].assign(scratch.begin(), scratch.begin() + found);
      });
      return lists.total();
    };
    const scalar_t guess = guess_batch_limit<scalar_t>(values, count);
    std::int64_t found = collect(guess);
    if (found < count && guess > 0) found = collect(0);
    if (found <= count) return;
    std::vector<scalar_t> candidates;
    candidates.reserve(static_cast<std::size_t>(found));
    for (std::int64_t b = 0; b < h.size(0); ++b) {
      for (const std::int64_t i : lists[b]) candidates.push_back(data[b * d_sae + i]);
    }
    const auto last = candidates.begin() + (count - 1);
    std::nth_element(candidates.begin(), last, candidates.end(), std::greater<>());
    const scalar_t limit = *last;
    std::int64_t ties = std::count(candidates.begin(), last + 1, limit);  // how many equals fit
    for (std::int64_t b = 0; b < h.size(0); ++b) {
      std::erase_if(lists[b], [&](std::int64_t i) {
        const scalar_t value = data[b * d_sae + i];
        return value < limit || (value == limit && ties-- <= 0);
      });
    }
  });
  return to_selection(lists, h, policy, false);
}

}  // namespace

bool StoragePolicy::wants_dense(double kept, double all) const {
  return storage == Storage::kAuto ? kept > dense_above * all : storage == Storage::kDense;
}

Selection select(const at::Tensor& h, const SelectionRule& rule, const StoragePolicy& policy) {
  const StageScope stage(Stage::kSelect);
  const at::NoGradGuard no_grad;
  if (const auto* above = std::get_if<Above>(&rule)) {
    return select_above(h, above->threshold, above->activation_cuts, policy);
  }
  if (const auto* token = std::get_if<LargestOfToken>(&rule)) {
    check_count(token->k);
    return select_top_k(h, token->k, policy);
  }
  if (const auto* batch = std::get_if<LargestOfBatch>(&rule)) {
    check_count(batch->count);
    return select_batch_top_k(h, batch->count, policy);
  }
  return select_above(h, at::zeros({}, h.options()), /*activation_cuts=*/true, policy);
}

double dense_above(const at::Device& device, std::int64_t d_sae, std::int64_t d_in) {
  if (!device.is_cpu()) {
    // Arithmetic, not measured: rows of 4 D bytes at 2.5 to 4 TB/s against dense products by an
    // H100's bfloat16, TF32 or float32 units, and what [B, F] takes besides.
    if (at::autocast::is_autocast_enabled(device.type())) return 0.003;
    return at::globalContext().allowTF32CuBLAS() ? 0.004 : 0.024;
  }
  // Rows that come from memory instead of the cache cost the sparse path twice as much.
  constexpr std::int64_t kCached = 16 << 20;
  return d_sae * d_in * static_cast<std::int64_t>(sizeof(float)) <= kCached ? 0.24 : 0.13;
}

namespace reference {

Selection select_above(const at::Tensor& h, const at::Tensor& threshold, bool activation_cuts,
                       const StoragePolicy& policy) {
  return from_mask(h > threshold, policy, activation_cuts);
}

Selection select_top_k(const at::Tensor& h, std::int64_t k, const StoragePolicy& policy) {
  return from_mask(largest_positive(h, std::min(k, h.size(1))), policy, false);
}

Selection select_batch_top_k(const at::Tensor& h, std::int64_t count, const StoragePolicy& policy) {
  const at::Tensor flat = h.reshape({-1});
  const at::Tensor keep = largest_positive(flat, std::min(count, flat.size(0)));
  return from_mask(keep.view(h.sizes()), policy, false);
}

}  // namespace reference
}  // namespace sae

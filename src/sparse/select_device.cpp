#include "sparse/select_device.h"

#include <torch/types.h>

#include <tuple>
#include <utility>

#include "cuda/launch.h"
#include "cuda/selection.h"

namespace sae::on_device {
namespace {

/// Where the `count` largest of max(h, 0) lie along the last dimension, ascending; among equals
/// the first. NaN counts as 0.
at::Tensor places_of_largest(const at::Tensor& h, std::int64_t count) {
  const at::Tensor value = at::where(h > 0, h, at::zeros({}, h.options()));
  at::Tensor places;
  if (h.scalar_type() == at::kDouble) {
    places =
        at::argsort(value, /*stable=*/true, /*dim=*/-1, /*descending=*/true).slice(-1, 0, count);
  } else {
    // A GPU's top-k takes equals as they come, so no two keys are equal: below the bits of a float,
    // which ascend with it, how many places follow.
    const std::int64_t size = h.size(-1);
    at::Tensor keys = value.to(at::kFloat).view(at::kInt).to(at::kLong);
    keys.mul_(std::int64_t{1} << 32).add_(at::arange(size - 1, -1, -1, keys.options()));
    places = std::get<1>(at::topk(keys, count, /*dim=*/-1, /*largest=*/true, /*sorted=*/false));
  }
  return std::get<0>(places.sort(-1));
}

/// The entries at `flat` [n], ascending, of which those that are not positive are padding.
Selection padded(const at::Tensor& h, at::Tensor flat, at::Tensor offsets,
                 const StoragePolicy& policy) {
  const std::int64_t d_sae = h.size(1);
  if (policy.wants_dense(static_cast<double>(flat.size(0)), static_cast<double>(h.numel()))) {
    at::Tensor keep = at::zeros({h.numel()}, h.options().dtype(at::kBool));
    keep.index_fill_(0, flat, true);
    return {Pattern::dense(h.size(0), d_sae), keep.view(h.sizes()).logical_and_(h > 0), {}};
  }
  const at::Tensor values = h.reshape({-1}).index_select(0, flat);
  return {Pattern::sparse(flat.remainder(d_sae), std::move(offsets), d_sae, /*padded=*/true),
          {},
          at::where(values > 0, values, at::zeros({}, values.options()))};
}

Selection listed(cuda::Kept kept, std::int64_t d_sae, bool is_padded) {
  return {Pattern::sparse(std::move(kept.indices), std::move(kept.offsets), d_sae, is_padded),
          {},
          std::move(kept.values)};
}

/// Whether a kernel of ours lists `kept` entries of h.
bool lists(const at::Tensor& h, std::int64_t kept, const StoragePolicy& policy) {
  return h.scalar_type() != at::kDouble && cuda::has_kernels(h.device()) && h.numel() > 0 &&
         !policy.wants_dense(static_cast<double>(kept), static_cast<double>(h.numel()));
}

/// As kernels read it: float32, or bfloat16, which it is under autocast.
at::Tensor readable(const at::Tensor& h) {
  return h.scalar_type() == at::kBFloat16 ? h.contiguous() : h.to(at::kFloat).contiguous();
}

}  // namespace

Selection largest_of_token(const at::Tensor& h, std::int64_t k, const StoragePolicy& policy) {
  if (lists(h, k * h.size(0), policy) && cuda::has_row_topk(k, h.size(1))) {
    return listed(cuda::largest_of_token(readable(h), k), h.size(1), /*is_padded=*/true);
  }
  const at::Tensor latents = places_of_largest(h, k);  // [B, k]
  const auto options = latents.options();
  const at::Tensor first = at::arange(h.size(0), options).mul_(h.size(1)).unsqueeze(1);
  return padded(h, (latents + first).reshape({-1}), at::arange(h.size(0) + 1, options).mul_(k),
                policy);
}

Selection largest_of_batch(const at::Tensor& h, std::int64_t count, const StoragePolicy& policy) {
  if (lists(h, count, policy) && cuda::has_batch_topk(h)) {
    return listed(cuda::largest_of_batch(readable(h), count), h.size(1), /*is_padded=*/true);
  }
  const at::Tensor flat = places_of_largest(h.reshape({-1}), count);
  const at::Tensor begins = at::arange(h.size(0) + 1, flat.options()).mul_(h.size(1));
  return padded(h, flat, at::searchsorted(flat, begins), policy);
}

Selection above(const at::Tensor& h, const at::Tensor& threshold, bool activation_cuts,
                const StoragePolicy& policy) {
  const std::int64_t batch = h.size(0);
  const std::int64_t d_sae = h.size(1);
  const auto dense = [&](const at::Tensor& keep) {
    return Selection{Pattern::dense(batch, d_sae), activation_cuts ? at::Tensor() : keep, {}};
  };
  if (lists(h, 0, policy)) {
    const at::Tensor all = readable(h);
    const at::Tensor limit = threshold.to(at::kFloat).contiguous();
    const at::Tensor counts = cuda::count_above(all, limit);
    const std::int64_t kept = counts.sum().item<std::int64_t>();
    if (lists(h, kept, policy)) {
      return listed(cuda::above(all, limit, counts, kept), d_sae, /*is_padded=*/false);
    }
    return dense(h > threshold);
  }
  const at::Tensor keep = h > threshold;
  if (policy.storage == Storage::kDense) return dense(keep);
  const at::Tensor counts = keep.sum(1);
  const std::int64_t kept = counts.sum().item<std::int64_t>();
  if (policy.wants_dense(static_cast<double>(kept), static_cast<double>(h.numel()))) {
    return dense(keep);
  }
  const at::Tensor flat = at::nonzero_static(keep.reshape({-1}), kept).squeeze(1);
  at::Tensor offsets = at::cat({at::zeros({1}, counts.options()), counts.cumsum(0)});
  return {Pattern::sparse(flat.remainder(d_sae), std::move(offsets), d_sae),
          {},
          h.reshape({-1}).index_select(0, flat)};
}

}  // namespace sae::on_device

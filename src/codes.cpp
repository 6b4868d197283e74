#include "sae/codes.h"

#include <torch/types.h>

#include <utility>

#include "sparse_ops.h"

namespace sae {

Codes::Codes(c10::intrusive_ptr<Pattern> pattern, at::Tensor values)
    : pattern_(std::move(pattern)), values_(std::move(values)) {}

Codes Codes::from_dense(at::Tensor values) {
  auto pattern = Pattern::dense(values.size(0), values.size(1));
  return {std::move(pattern), std::move(values)};
}

Codes Codes::with_values(at::Tensor values) const { return {pattern_, std::move(values)}; }

at::Tensor Codes::to_dense() const {
  if (is_dense()) return values_;
  const at::Tensor flat = pattern_->tokens() * d_sae() + pattern_->indices;
  return at::zeros({batch() * d_sae()}, values_.options())
      .index_put({flat}, values_)
      .view({batch(), d_sae()});
}

Codes Codes::to_sparse() const {
  const at::Tensor values = values_.detach();
  if (is_dense()) {
    const at::Tensor places = at::nonzero(values);  // [nnz, 2], row-major order
    const at::Tensor tokens = places.select(1, 0);
    at::Tensor offsets =
        at::cat({at::zeros({1}, places.options()), at::bincount(tokens, {}, batch()).cumsum(0)});
    at::Tensor indices = places.select(1, 1).contiguous();
    at::Tensor kept = values.index({tokens, indices});
    return {Pattern::sparse(std::move(indices), std::move(offsets), d_sae()), std::move(kept)};
  }
  const at::Tensor nonzero = values != 0;
  const at::Tensor places = at::nonzero(nonzero).squeeze(1);
  if (places.size(0) == values.size(0)) return with_values(values);
  const at::Tensor before = at::cat({at::zeros({1}, places.options()), nonzero.cumsum(0)});
  return {Pattern::sparse(pattern_->indices.index_select(0, places),
                          before.index_select(0, pattern_->offsets), d_sae()),
          values.index_select(0, places)};
}

at::Tensor Codes::per_entry(const at::Tensor& v) const {
  return is_dense() ? v.unsqueeze(0) : v.index_select(0, pattern_->indices);
}

at::Tensor Codes::sum_per_latent(const at::Tensor& entries) const {
  const at::NoGradGuard no_grad;
  if (is_dense()) return entries.expand({batch(), d_sae()}).sum(0);
  return sparse::sum_per_latent(*pattern_, entries.detach());
}

}  // namespace sae

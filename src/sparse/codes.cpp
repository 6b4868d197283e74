#include "sae/sparse/codes.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <span>
#include <type_traits>
#include <utility>

#include "sparse/products.h"
#include "sparse/saved_pattern.h"

namespace sae {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// v[indices]. Back, each latent's gradients are summed in token order, where index_select's own
/// gradient adds them up by atomics on a GPU: in any order, so that no two runs were the same.
class PerEntry : public torch::autograd::Function<PerEntry> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& v,
                            const c10::intrusive_ptr<Pattern>& pattern) {
    save_pattern(ctx, pattern);
    return v.index_select(0, pattern->indices);
  }
  static tensor_list backward(AutogradContext* ctx, tensor_list grads) {
    return {sparse::sum_per_latent(*saved_pattern(ctx), grads[0]), {}};
  }
};

}  // namespace

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

Codes Codes::to_sparse() const { return with_values(values_.detach()).where(values_ != 0); }

Codes Codes::where(const at::Tensor& keep) const {
  const at::Tensor places = at::nonzero(keep.reshape({-1})).squeeze(1);
  if (is_dense()) {
    const at::Tensor tokens = places.div(d_sae(), /*rounding_mode=*/"floor");
    at::Tensor offsets =
        at::cat({at::zeros({1}, places.options()), at::bincount(tokens, {}, batch()).cumsum(0)});
    return {Pattern::sparse(places - tokens * d_sae(), std::move(offsets), d_sae()),
            values_.reshape({-1}).index_select(0, places)};
  }
  if (places.size(0) == values_.size(0)) return *this;
  const at::Tensor before = at::cat({at::zeros({1}, places.options()), keep.cumsum(0)});
  return {Pattern::sparse(pattern_->indices.index_select(0, places),
                          before.index_select(0, pattern_->offsets), d_sae(), pattern_->is_padded),
          values_.index_select(0, places)};
}

at::Tensor Codes::per_entry(const at::Tensor& v) const {
  if (is_dense()) return v.unsqueeze(0);
  return v.requires_grad() ? PerEntry::apply(v, pattern_) : v.index_select(0, pattern_->indices);
}

at::Tensor Codes::sum_per_latent(const at::Tensor& entries) const {
  const at::NoGradGuard no_grad;
  if (is_dense()) return entries.expand({batch(), d_sae()}).sum(0);
  return sparse::sum_per_latent(*pattern_, entries.detach());
}

Codes to_cpu(const Codes& codes) {
  const Codes sparse = codes.to_sparse();
  const auto& pattern = sparse.pattern();
  return {Pattern::sparse(pattern->indices.cpu().contiguous(), pattern->offsets.cpu().contiguous(),
                          pattern->d_sae),
          sparse.values().to(at::kCPU, at::kFloat).contiguous()};
}

SparseView view_of(const Codes& sparse) {
  const auto span = [](const at::Tensor& t, auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    return std::span<const T>(t.const_data_ptr<T>(), static_cast<std::size_t>(t.numel()));
  };
  return {span(sparse.values(), static_cast<float*>(nullptr)),
          span(sparse.pattern()->indices, static_cast<std::int64_t*>(nullptr)),
          span(sparse.pattern()->offsets, static_cast<std::int64_t*>(nullptr))};
}

Codes rows_of(const Codes& x, const at::Tensor& rows) {
  if (x.is_dense()) return Codes::from_dense(x.values().index_select(0, rows));
  const Pattern& from = *x.pattern();
  const at::Tensor sizes = from.offsets.diff().index_select(0, rows);
  const at::Tensor offsets = at::cat({at::zeros({1}, sizes.options()), sizes.cumsum(0)});
  const std::int64_t count = offsets[-1].item<std::int64_t>();
  // The entries of sample r are a run: its start, then counting up.
  const at::Tensor shift = from.offsets.index_select(0, rows) - offsets.slice(0, 0, rows.size(0));
  const at::Tensor entries =
      at::arange(count, sizes.options()) + at::repeat_interleave(shift, sizes, 0, count);
  return {
      Pattern::sparse(from.indices.index_select(0, entries), offsets, x.d_sae(), from.is_padded),
      x.values().index_select(0, entries)};
}

Codes joined(const std::vector<Codes>& parts) {
  std::vector<at::Tensor> values, indices, offsets;
  std::int64_t before = 0;
  bool padded = false;
  for (const Codes& part : parts) {
    padded = padded || part.pattern()->is_padded;
    values.push_back(part.values());
    indices.push_back(part.pattern()->indices);
    const at::Tensor& own = part.pattern()->offsets;
    offsets.push_back(own.slice(0, offsets.empty() ? 0 : 1) + before);
    before += part.values().size(0);
  }
  return {Pattern::sparse(at::cat(indices), at::cat(offsets), parts.front().d_sae(), padded),
          at::cat(values)};
}

at::Tensor columns(const Codes& codes, const std::vector<std::int64_t>& which) {
  if (codes.is_dense()) return codes.values().index_select(1, at::tensor(which, at::kLong));
  const auto k = static_cast<std::int64_t>(which.size());
  at::Tensor out = at::zeros({codes.batch(), k}, codes.values().options());
  std::vector<std::int32_t> slot(static_cast<std::size_t>(codes.d_sae()), -1);
  for (std::int64_t i = 0; i < k; ++i) {
    slot[static_cast<std::size_t>(which[static_cast<std::size_t>(i)])] =
        static_cast<std::int32_t>(i);
  }
  const auto* latent = codes.pattern()->indices.const_data_ptr<std::int64_t>();
  const auto* offset = codes.pattern()->offsets.const_data_ptr<std::int64_t>();
  const auto* value = codes.values().const_data_ptr<float>();
  auto* row = out.mutable_data_ptr<float>();
  for (std::int64_t b = 0; b < codes.batch(); ++b, row += k) {
    for (std::int64_t e = offset[b]; e < offset[b + 1]; ++e) {
      const std::int32_t place = slot[static_cast<std::size_t>(latent[e])];
      if (place >= 0) row[place] = value[e];
    }
  }
  return out;
}

double mean_l0(const Codes& codes) {
  return codes.values().count_nonzero().item<double>() / static_cast<double>(codes.batch());
}

}  // namespace sae

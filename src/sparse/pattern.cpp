#include "sae/sparse/pattern.h"

#include <torch/types.h>

#include <utility>
#include <vector>

#include "sparse/products.h"

namespace sae {

c10::intrusive_ptr<Pattern> Pattern::dense(std::int64_t batch, std::int64_t d_sae) {
  return c10::make_intrusive<Pattern>(true, batch, d_sae, at::Tensor(), at::Tensor(), false);
}

c10::intrusive_ptr<Pattern> Pattern::sparse(at::Tensor indices, at::Tensor offsets,
                                            std::int64_t d_sae, bool padded) {
  const std::int64_t batch = offsets.size(0) - 1;
  return c10::make_intrusive<Pattern>(false, batch, d_sae, std::move(indices), std::move(offsets),
                                      padded);
}

Pattern::Pattern(bool is_dense, std::int64_t batch, std::int64_t d_sae, at::Tensor indices,
                 at::Tensor offsets, bool padded)
    : is_dense(is_dense),
      is_padded(padded),
      batch(batch),
      d_sae(d_sae),
      indices(std::move(indices)),
      offsets(std::move(offsets)) {}

const at::Tensor& Pattern::tokens() const {
  if (!tokens_.defined()) {
    tokens_ = at::repeat_interleave(at::arange(batch, offsets.options()), offsets.diff(),
                                    /*dim=*/0, /*output_size=*/indices.size(0));
  }
  return tokens_;
}

const Pattern::ByLatent& Pattern::by_latent() const {
  if (by_latent_.offsets.defined()) return by_latent_;
  if (!indices.is_cpu()) return by_latent_ = sparse::reference::by_latent(*this);
  const std::int64_t entries = indices.size(0);
  // A counting sort: two sweeps, stable, so each latent's entries stay in token order.
  at::Tensor sorted = at::empty({entries}, indices.options());
  at::Tensor sorted_tokens = at::empty({entries}, indices.options());
  at::Tensor starts = at::zeros({d_sae + 1}, indices.options());
  const auto* latent = indices.const_data_ptr<std::int64_t>();
  const auto* offset = offsets.const_data_ptr<std::int64_t>();
  auto* start = starts.mutable_data_ptr<std::int64_t>();
  for (std::int64_t e = 0; e < entries; ++e) ++start[latent[e] + 1];
  for (std::int64_t i = 0; i < d_sae; ++i) start[i + 1] += start[i];
  std::vector<std::int64_t> next(start, start + d_sae);
  auto* out = sorted.mutable_data_ptr<std::int64_t>();
  auto* out_token = sorted_tokens.mutable_data_ptr<std::int64_t>();
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t e = offset[b]; e < offset[b + 1]; ++e) {
      const std::int64_t place = next[static_cast<std::size_t>(latent[e])]++;
      out[place] = e;
      out_token[place] = b;
    }
  }
  by_latent_ = {std::move(sorted), std::move(sorted_tokens), std::move(starts)};
  return by_latent_;
}

}  // namespace sae

#include "sae/codes.h"

#include <torch/types.h>

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "reused.h"
#include "saved_pattern.h"
#include "sparse_ops.h"
#include "stages.h"

namespace sae {

c10::intrusive_ptr<Pattern> Pattern::dense(std::int64_t batch, std::int64_t d_sae) {
  return c10::make_intrusive<Pattern>(true, batch, d_sae, at::Tensor(), at::Tensor());
}

c10::intrusive_ptr<Pattern> Pattern::sparse(at::Tensor indices, at::Tensor offsets,
                                            std::int64_t d_sae) {
  const std::int64_t batch = offsets.size(0) - 1;
  return c10::make_intrusive<Pattern>(false, batch, d_sae, std::move(indices), std::move(offsets));
}

Pattern::Pattern(bool is_dense, std::int64_t batch, std::int64_t d_sae, at::Tensor indices,
                 at::Tensor offsets)
    : is_dense(is_dense),
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

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// (g) -> dvalues = <g, W_dec>, dW_dec = f^T g, db_dec = sum_b g. Under autocast only dense
/// decoding is of lower precision; reconstructions come back in the precision of the weights.
class Decode : public torch::autograd::Function<Decode> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& values, const at::Tensor& W_dec,
                            const at::Tensor& b_dec, const c10::intrusive_ptr<Pattern>& pattern) {
    const StageScope stage(Stage::kDecode);
    save_pattern(ctx, pattern);
    ctx->save_for_backward({values, W_dec});
    if (pattern->is_dense) return at::addmm(b_dec, values, W_dec).to(W_dec.scalar_type());
    return sparse::gather_sum(*pattern, values, W_dec).add_(b_dec);
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list grads) {
    const auto held = saved_pattern(ctx);
    const Pattern& pattern = *held;
    const tensor_list saved = ctx->get_saved_variables();
    const at::Tensor& values = saved[0];
    const at::Tensor& W_dec = saved[1];
    const at::Tensor& g = grads[0];
    if (pattern.is_dense) return {at::mm(g, W_dec.t()), at::mm(values.t(), g), g.sum(0), {}};
    return {sparse::gather_dot(pattern, g, W_dec),
            sparse::scatter_sum(pattern, values, g),
            g.sum(0),
            {}};
  }
};

/// The entries of B tokens as B * J rows: row (b, j) holds the entries of token b whose latent lies
/// between width j-1 and width j. Entries of a token ascend by latent, so they stay where they are.
c10::intrusive_ptr<Pattern> split_by_width(const Pattern& pattern,
                                           const std::vector<std::int64_t>& widths) {
  const at::Tensor ends = at::tensor(widths, at::kLong).to(pattern.indices.device());
  const at::Tensor part = at::searchsorted(ends, pattern.indices, /*out_int32=*/false,
                                           /*right=*/true);  // how many widths are <= the latent
  const auto parts = static_cast<std::int64_t>(widths.size());
  const at::Tensor counts =
      at::bincount(pattern.tokens() * parts + part, {}, parts * pattern.batch);
  at::Tensor offsets = at::cat({at::zeros({1}, counts.options()), counts.cumsum(0)});
  return Pattern::sparse(pattern.indices, std::move(offsets), pattern.d_sae);
}

/// Decode for split rows, summed up over j: out[b, j] = b_dec + sum over j' <= j of row (b, j').
/// Every entry of row (b, j) has the gradient sum over j' >= j of g[b, j'].
class DecodePrefixes : public torch::autograd::Function<DecodePrefixes> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& values, const at::Tensor& W_dec,
                            const at::Tensor& b_dec, const c10::intrusive_ptr<Pattern>& split,
                            std::int64_t parts) {
    const StageScope stage(Stage::kDecode);
    save_pattern(ctx, split);
    ctx->save_for_backward({values, W_dec});
    at::Tensor out = sparse::gather_sum(*split, values, W_dec).view({-1, parts, W_dec.size(1)});
    out.select(1, 0).add_(b_dec);
    for (std::int64_t j = 1; j < parts; ++j) out.select(1, j).add_(out.select(1, j - 1));
    return out;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list grads) {
    const auto split = saved_pattern(ctx);
    const tensor_list saved = ctx->get_saved_variables();
    at::Tensor suffix = reused(grads[0].sizes(), grads[0].options());
    suffix.copy_(grads[0]);
    for (std::int64_t j = suffix.size(1) - 1; j > 0; --j) {
      suffix.select(1, j - 1).add_(suffix.select(1, j));
    }
    const at::Tensor rows = suffix.flatten(0, 1);
    return {sparse::gather_dot(*split, rows, saved[1]),
            sparse::scatter_sum(*split, saved[0], rows),
            suffix.select(1, 0).sum(0),
            {},
            {}};
  }
};

}  // namespace

at::Tensor decode(const Codes& codes, const at::Tensor& W_dec, const at::Tensor& b_dec) {
  return Decode::apply(codes.values(), W_dec, b_dec, codes.pattern());
}

std::vector<at::Tensor> decode_prefixes(const Codes& codes, const std::vector<std::int64_t>& widths,
                                        const at::Tensor& W_dec, const at::Tensor& b_dec) {
  const bool ascending = std::is_sorted(widths.begin(), widths.end(), std::less_equal<>());
  if (widths.empty() || !ascending || widths.front() < 1 || widths.back() != codes.d_sae()) {
    throw std::invalid_argument("decode_prefixes: widths must ascend and end with d_sae = " +
                                std::to_string(codes.d_sae()));
  }
  if (widths.size() == 1) return {decode(codes, W_dec, b_dec)};
  std::vector<at::Tensor> out;
  if (codes.is_dense()) {
    std::int64_t from = 0;
    at::Tensor sum = b_dec.expand({codes.batch(), b_dec.size(0)});
    for (const std::int64_t to : widths) {
      sum = sum + at::mm(codes.values().slice(1, from, to), W_dec.slice(0, from, to));
      out.push_back(sum);
      from = to;
    }
    return out;
  }
  const at::Tensor sums =
      DecodePrefixes::apply(codes.values(), W_dec, b_dec, split_by_width(*codes.pattern(), widths),
                            static_cast<std::int64_t>(widths.size()));
  for (const at::Tensor& sum : sums.unbind(1)) out.push_back(sum);
  return out;
}

}  // namespace sae

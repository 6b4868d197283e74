#include "sae/sparse/decode.h"

#include <torch/types.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/reused.h"
#include "base/stages.h"
#include "sparse/low_precision.h"
#include "sparse/products.h"
#include "sparse/saved_pattern.h"

namespace sae {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// (g) -> dvalues = <g, W_dec>, dW_dec = f^T g, db_dec = sum_b g. Under autocast dense products are
/// of lower precision, and sparse ones read `low`, W_dec in bfloat16, if there is one;
/// reconstructions come back in the precision of the weights.
class Decode : public torch::autograd::Function<Decode> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& values, const at::Tensor& W_dec,
                            const at::Tensor& b_dec, const c10::intrusive_ptr<Pattern>& pattern,
                            const std::optional<at::Tensor>& low) {
    const StageScope stage(Stage::kDecode);
    save_pattern(ctx, pattern);
    save_precision(ctx, W_dec);
    const at::Tensor table = low.value_or(W_dec);
    ctx->save_for_backward({values, table});
    if (pattern->is_dense) return at::addmm(b_dec, values, table).to(W_dec.scalar_type());
    return sparse::gather_sum(*pattern, values, table, b_dec);
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list grads) {
    const auto held = saved_pattern(ctx);
    const Pattern& pattern = *held;
    const tensor_list saved = ctx->get_saved_variables();
    const at::Tensor& values = saved[0];
    const at::Tensor& table = saved[1];
    const at::Tensor& g = grads[0];
    at::Tensor dW_dec;  // of a frozen decoder nobody asks for it
    if (ctx->needs_input_grad(1)) {
      dW_dec = pattern.is_dense ? mm_as_forward(ctx, values.t(), g)
                                : sparse::scatter_sum(pattern, values, g);
    }
    at::Tensor dvalues =
        pattern.is_dense ? mm_as_forward(ctx, g, table.t()) : sparse::gather_dot(pattern, g, table);
    return {std::move(dvalues), std::move(dW_dec), g.sum(0), {}, {}};
  }
};

/// The entries of B tokens as B * J rows: row (b, j) holds the entries of token b whose latent lies
/// between width j-1 and width j. Entries of a token ascend by latent, so they stay where they are.
c10::intrusive_ptr<Pattern> split_by_width(const Pattern& pattern,
                                           const std::vector<std::int64_t>& widths) {
  // Widths as numbers, and offsets by search: nothing that a GPU's host would have to wait for.
  const auto parts = static_cast<std::int64_t>(widths.size());
  at::Tensor rows = pattern.tokens() * parts;  // ascending
  for (const std::int64_t width : widths) rows.add_(pattern.indices >= width);
  at::Tensor offsets =
      at::searchsorted(rows, at::arange(parts * pattern.batch + 1, rows.options()));
  return Pattern::sparse(pattern.indices, std::move(offsets), pattern.d_sae, pattern.is_padded);
}

/// Decode for split rows, summed up over j: out[b, j] = b_dec + sum over j' <= j of row (b, j').
/// Every entry of row (b, j) has the gradient sum over j' >= j of g[b, j'].
class DecodePrefixes : public torch::autograd::Function<DecodePrefixes> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& values, const at::Tensor& W_dec,
                            const at::Tensor& b_dec, const c10::intrusive_ptr<Pattern>& split,
                            std::int64_t parts, const std::optional<at::Tensor>& low) {
    const StageScope stage(Stage::kDecode);
    save_pattern(ctx, split);
    const at::Tensor table = low.value_or(W_dec);
    ctx->save_for_backward({values, table});
    at::Tensor out = sparse::gather_sum(*split, values, table).view({-1, parts, W_dec.size(1)});
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
            ctx->needs_input_grad(1) ? sparse::scatter_sum(*split, saved[0], rows) : at::Tensor(),
            suffix.select(1, 0).sum(0),
            {},
            {},
            {}};
  }
};

}  // namespace

at::Tensor decode(const Codes& codes, const at::Tensor& W_dec, const at::Tensor& b_dec,
                  const std::shared_ptr<Bf16Copy>& W_dec_copy) {
  return Decode::apply(codes.values(), W_dec, b_dec, codes.pattern(),
                       low_rows(W_dec, W_dec_copy.get()));
}

std::vector<at::Tensor> decode_prefixes(const Codes& codes, const std::vector<std::int64_t>& widths,
                                        const at::Tensor& W_dec, const at::Tensor& b_dec,
                                        const std::shared_ptr<Bf16Copy>& W_dec_copy) {
  const bool ascending = std::is_sorted(widths.begin(), widths.end(), std::less_equal<>());
  if (widths.empty() || !ascending || widths.front() < 1 || widths.back() != codes.d_sae()) {
    throw std::invalid_argument("decode_prefixes: widths must ascend and end with d_sae = " +
                                std::to_string(codes.d_sae()));
  }
  if (widths.size() == 1) return {decode(codes, W_dec, b_dec, W_dec_copy)};
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
  const at::Tensor sums = DecodePrefixes::apply(
      codes.values(), W_dec, b_dec, split_by_width(*codes.pattern(), widths),
      static_cast<std::int64_t>(widths.size()), low_rows(W_dec, W_dec_copy.get()));
  for (const at::Tensor& sum : sums.unbind(1)) out.push_back(sum);
  return out;
}

}  // namespace sae

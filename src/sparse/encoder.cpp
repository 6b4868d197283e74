#include "sae/sparse/encoder.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <utility>

#include "base/reused.h"
#include "base/stages.h"
#include "cuda/bf16_copy.h"
#include "cuda/launch.h"
#include "cuda/screen.h"
#include "sparse/low_precision.h"
#include "sparse/products.h"
#include "sparse/saved_pattern.h"
#include "sparse/screen.h"

namespace sae {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// (dh) -> dW_enc = dh^T (x - b_dec), db_enc = sum_b dh, db_dec = -db_enc W_enc.
class Pick : public torch::autograd::Function<Pick> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& W_enc, const at::Tensor& b_enc,
                            const at::Tensor& b_dec, const at::Tensor& centered,
                            const at::Tensor& values, const c10::intrusive_ptr<Pattern>& pattern) {
    (void)b_enc;
    (void)b_dec;
    save_pattern(ctx, pattern);
    save_precision(ctx, W_enc);
    ctx->save_for_backward({W_enc, centered});
    // Under autocast only dense products are of lower precision.
    return values.to(W_enc.scalar_type(), /*non_blocking=*/false, /*copy=*/false).alias();
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list grads) {
    const auto pattern = saved_pattern(ctx);
    const tensor_list saved = ctx->get_saved_variables();
    const at::Tensor& W_enc = saved[0];
    const at::Tensor& centered = saved[1];
    const at::Tensor& dh = grads[0];
    const bool dense = pattern->is_dense;
    const at::Tensor db_enc = dense ? dh.sum(0) : sparse::sum_per_latent(*pattern, dh);
    at::Tensor dW_enc;  // of a frozen encoder nobody asks for it
    if (ctx->needs_input_grad(0)) {
      dW_enc = dense ? mm_as_forward(ctx, dh.t(), centered)
                     : sparse::scatter_sum(*pattern, dh, centered);
    }
    at::Tensor db_dec = at::mv(W_enc.t(), db_enc).neg_();
    return {std::move(dW_enc), db_enc, std::move(db_dec), {}, {}, {}};
  }
};

at::Tensor centre(const at::Tensor& x, const EncoderWeights& weights) {
  const at::NoGradGuard no_grad;
  at::Tensor centered = reused(x.sizes(), x.options());
  return at::sub_out(centered, x, weights.b_dec);
}

Codes attach(const at::Tensor& centered, const EncoderWeights& weights, const at::Tensor& values,
             const c10::intrusive_ptr<Pattern>& pattern) {
  return {pattern, Pick::apply(weights.W_enc, weights.b_enc, weights.b_dec, centered,
                               values.detach(), pattern)};
}

at::Tensor product(const at::Tensor& centered, const EncoderWeights& weights) {
  const StageScope stage(Stage::kEncode);
  const at::NoGradGuard no_grad;
  if (!centered.is_cpu() || at::autocast::is_autocast_enabled(at::kCPU)) {
    const at::Tensor W = low_rows(weights.W_enc, weights.W_enc_copy.get()).value_or(weights.W_enc);
    return at::addmm(weights.b_enc, centered, W.t());
  }
  at::Tensor h = reused({centered.size(0), weights.W_enc.size(0)}, centered.options());
  return at::addmm_out(h, weights.b_enc, centered, weights.W_enc.t());
}

bool wants_screen(const at::Tensor& x, const EncoderWeights& weights, const EncodeOptions& how) {
  if (how.screening == Screening::kOff || how.storage == Storage::kDense) return false;
  if (how.screening == Screening::kAuto && !screens_by_default()) return false;
  return screen::possible(x, weights) && !at::autocast::is_autocast_enabled(at::kCPU);
}

/// Whether a GPU finds the k largest of each token by a bfloat16 product: where float32 is asked
/// for, which it multiplies many times slower.
const LargestOfToken* screened_on_device(const at::Tensor& x, const EncoderWeights& weights,
                                         const SelectionRule& rule, const EncodeOptions& how) {
  const auto* token = std::get_if<LargestOfToken>(&rule);
  const bool asked = how.screening != Screening::kOff && how.storage != Storage::kDense;
  if (!token || !asked || !cuda::has_kernels(x) || x.size(0) == 0) return nullptr;
  if (at::autocast::is_autocast_enabled(x.device().type())) return nullptr;
  const std::int64_t d_sae = weights.W_enc.size(0);
  const StoragePolicy policy(how.storage, dense_above(x.device(), d_sae, x.size(1)));
  const bool dense = policy.wants_dense(static_cast<double>(token->k), static_cast<double>(d_sae));
  const bool can = token->k >= 1 && cuda::can_screen(token->k, d_sae, x.size(1));
  return can && !dense && weights.W_enc.is_contiguous() ? token : nullptr;
}

cuda::Kept largest_by_screen(const at::Tensor& centered, const EncoderWeights& weights,
                             std::int64_t k) {
  const StageScope stage(Stage::kEncode);
  const at::NoGradGuard no_grad;
  const auto of_W = weights.W_enc_copy ? weights.W_enc_copy->rounded(weights.W_enc)
                                       : Bf16Copy::round(weights.W_enc);
  return cuda::screened_largest_of_token(centered, weights.W_enc, weights.b_enc, k, of_W);
}

}  // namespace

bool screens_by_default() { return screen::has_native_bf16(); }

at::Tensor preactivations(const at::Tensor& x, const EncoderWeights& weights) {
  return product(centre(x, weights), weights);
}

Codes pick(const at::Tensor& x, const EncoderWeights& weights, at::Tensor values,
           const c10::intrusive_ptr<Pattern>& pattern) {
  return attach(centre(x, weights), weights, values, pattern);
}

Codes encode(const at::Tensor& x, const EncoderWeights& weights, const SelectionRule& rule,
             const EncodeOptions& how) {
  const at::Tensor centered = centre(x, weights);
  if (wants_screen(x, weights, how)) {
    if (const auto found = screen::encode(centered, weights, rule)) {
      return attach(centered, weights, found->values, found->pattern);
    }
  }
  if (const LargestOfToken* token = screened_on_device(centered, weights, rule, how)) {
    cuda::Kept kept = largest_by_screen(centered, weights, token->k);
    return attach(centered, weights, kept.values,
                  Pattern::sparse(std::move(kept.indices), std::move(kept.offsets),
                                  weights.W_enc.size(0), /*padded=*/true));
  }
  at::Tensor h = product(centered, weights);
  const StoragePolicy policy(how.storage, dense_above(h.device(), h.size(1), x.size(1)));
  const Selection selection = select(h, rule, policy);
  if (selection.values.defined()) {
    h = selection.values;
  } else if (!selection.pattern->is_dense) {
    const at::Tensor flat =
        selection.pattern->tokens() * selection.pattern->d_sae + selection.pattern->indices;
    h = h.reshape({-1}).index_select(0, flat);
  }
  const Codes picked = attach(centered, weights, h, selection.pattern);
  return selection.keep.defined() ? picked.with_values(picked.values() * selection.keep) : picked;
}

Codes encode_kept(const at::Tensor& x, const EncoderWeights& weights, const Codes& kept,
                  const EncodeOptions& how) {
  const at::Tensor centered = centre(x, weights);
  const StoragePolicy policy(how.storage, dense_above(x.device(), kept.d_sae(), x.size(1)));
  if (!policy.wants_dense(static_cast<double>(kept.values().size(0)),
                          static_cast<double>(kept.batch() * kept.d_sae()))) {
    return attach(centered, weights, kept.values(), kept.pattern());
  }
  const at::Tensor h = kept.to_dense();
  const Codes all = attach(centered, weights, h, Pattern::dense(kept.batch(), kept.d_sae()));
  return all.with_values(all.values() * (h > 0));
}

}  // namespace sae

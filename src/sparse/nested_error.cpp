#include "sae/sparse/nested_error.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <stdexcept>

#include "base/stages.h"
#include "sparse/nested_sums.h"

namespace sae {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// The gradients are computed on the way forward, where the errors of all prefixes are at hand, and
/// are linear in the one number that flows back.
class NestedErrorFunction : public torch::autograd::Function<NestedErrorFunction> {
 public:
  static tensor_list forward(AutogradContext* ctx, const at::Tensor& values,
                             const at::Tensor& W_dec, const at::Tensor& b_dec, const at::Tensor& x,
                             const c10::intrusive_ptr<Pattern>& pattern, const Nesting& nesting,
                             bool gradients) {
    const StageScope stage(Stage::kDecode);
    const sparse::NestedSums sums =
        sparse::nested_sums(*pattern, x, values, nesting, W_dec, b_dec, gradients);
    if (gradients) ctx->save_for_backward({sums.dvalues, sums.dW, sums.db});
    ctx->mark_non_differentiable({sums.x_hat});
    return {sums.error, sums.x_hat};
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list grads) {
    const tensor_list saved = ctx->get_saved_variables();
    const at::Tensor& g = grads[0];
    // Usually 1, and then a pass over [F, D] is saved.
    if (g.is_cpu() && g.item<double>() == 1) return {saved[0], saved[1], saved[2], {}, {}, {}, {}};
    return {saved[0] * g, saved[1] * g, saved[2] * g, {}, {}, {}, {}};
  }
};

}  // namespace

NestedError nested_error(const at::Tensor& x, const Codes& codes, const Nesting& nesting,
                         const at::Tensor& W_dec, const at::Tensor& b_dec) {
  if (codes.is_dense())
    throw std::invalid_argument("nested_error: got dense codes, expected sparse");
  const bool gradients =
      at::GradMode::is_enabled() &&
      (codes.values().requires_grad() || W_dec.requires_grad() || b_dec.requires_grad());
  const tensor_list out = NestedErrorFunction::apply(codes.values(), W_dec, b_dec, x,
                                                     codes.pattern(), nesting, gradients);
  return {out[0], out[1]};
}

}  // namespace sae

#include "sae/models/jumprelu.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <cmath>
#include <string>
#include <utility>

#include "sae/base/error.h"
#include "sae/config/findings.h"

namespace sae {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// K((h - theta) / eps) / eps
at::Tensor kernel(const at::Tensor& h, const at::Tensor& theta, double bandwidth) {
  return ((h - theta).abs() < bandwidth / 2).to(h.dtype()) / bandwidth;
}

/// f = h H(h - theta), elementwise; theta is shaped to broadcast against h.
class Jump : public torch::autograd::Function<Jump> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& h, const at::Tensor& theta,
                            double bandwidth) {
    ctx->save_for_backward({h, theta});
    ctx->saved_data["bandwidth"] = bandwidth;
    return h * (h > theta);
  }
  static tensor_list backward(AutogradContext* ctx, tensor_list grads) {
    const tensor_list saved = ctx->get_saved_variables();
    const at::Tensor& h = saved[0];
    const at::Tensor& theta = saved[1];
    const double bandwidth = ctx->saved_data["bandwidth"].toDouble();
    at::Tensor dtheta = -theta * kernel(h, theta, bandwidth) * grads[0];
    return {grads[0] * (h > theta), dtheta.sum_to_size(theta.sizes()), {}};
  }
};

/// H(h - theta), elementwise; no gradient to h.
class Heaviside : public torch::autograd::Function<Heaviside> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& h, const at::Tensor& theta,
                            double bandwidth) {
    ctx->save_for_backward({h, theta});
    ctx->saved_data["bandwidth"] = bandwidth;
    return (h > theta).to(h.dtype());
  }
  static tensor_list backward(AutogradContext* ctx, tensor_list grads) {
    const tensor_list saved = ctx->get_saved_variables();
    const at::Tensor& theta = saved[1];
    const double bandwidth = ctx->saved_data["bandwidth"].toDouble();
    at::Tensor dtheta = -kernel(saved[0], theta, bandwidth) * grads[0];
    return {{}, dtheta.sum_to_size(theta.sizes()), {}};
  }
};

constexpr const char* kNoTarget = "missing; expected a number > 0 with sparsity_loss 'target'";

}  // namespace

void JumpReluOptions::check(Findings& findings) const {
  const bool target = sparsity_loss == SparsityLoss::kTarget;
  base.check(findings);
  sparsity.check(findings, base.d_sae, /*steers=*/!target);
  if (target && !sparsity.target_l0) findings.error("target_l0", kNoTarget);
  if (sparsity_loss != SparsityLoss::kTanh && tanh_scale != JumpReluOptions{}.tanh_scale) {
    findings.unused("tanh_scale", "with sparsity_loss '" + name_of(sparsity_loss) + "'");
  }
}

void JumpReluOptions::check(Findings& findings, const RunLength& run) const {
  base.check(findings, run);
  sparsity.check(findings, run);
}

JumpRelu::JumpRelu(JumpReluOptions options)
    : Autoencoder(options.base), options_(std::move(options)) {
  if (options_.sparsity_loss == SparsityLoss::kTarget && !options_.sparsity.target_l0) {
    throw ConfigError(std::string("model.target_l0: ") + kNoTarget);
  }
  const double init = options_.threshold_as == ThresholdAs::kLog ? std::log(options_.threshold_init)
                                                                 : options_.threshold_init;
  threshold_parameter_ =
      register_parameter(options_.threshold_as == ThresholdAs::kLog ? "log_threshold" : "threshold",
                         at::full({d_sae()}, init));
  sparsity_ = register_module("sparsity", std::make_shared<SparsityControl>(options_.sparsity));
}

at::Tensor JumpRelu::threshold() const {
  return options_.threshold_as == ThresholdAs::kLog ? threshold_parameter_.exp()
                                                    : threshold_parameter_.relu();
}

SelectionRule JumpRelu::rule(std::int64_t /*batch*/) const {
  // Entries just below their threshold carry no activation but a gradient for it.
  return Above{threshold().detach() - options_.bandwidth / 2};
}

SelectionRule JumpRelu::inference_rule(std::int64_t /*batch*/) const {
  return Above{threshold().detach()};
}

at::Tensor JumpRelu::activate(const Codes& preactivations) const {
  return Jump::apply(preactivations.values(), preactivations.per_entry(threshold()),
                     options_.bandwidth);
}

at::Tensor JumpRelu::live(const Codes& preactivations) const {
  const at::Tensor limit = preactivations.per_entry(threshold().detach()) - options_.bandwidth / 2;
  return preactivations.values() > limit;
}

at::Tensor JumpRelu::active_per_token(const Forward& pass, const at::Tensor& counted) const {
  const Codes& h = pass.preactivations;
  at::Tensor on = Heaviside::apply(h.values(), h.per_entry(threshold()), options_.bandwidth);
  if (counted.defined()) on = on * h.per_entry(counted);
  return spread().sum_latents(on.sum() / pass.x.size(0));
}

at::Tensor JumpRelu::target_loss(const Forward& pass) const {
  at::Tensor l0 = active_per_token(
      pass, pass.inference.defined() ? (pass.inference != 0).to(pass.x.dtype()) : pass.inference);
  if (pass.totals || spread().splits_tokens()) {
    // The square is of the batch's L0; this part contributes its share of the slope.
    const BatchTotals totals = totals_of(pass);
    const at::Tensor of_batch = totals.active.to(l0.dtype()) / totals.tokens;
    l0 = l0 + (of_batch - l0).detach();
  }
  return (l0 / *options_.sparsity.target_l0 - 1).square();
}

Losses JumpRelu::penalties(const Forward& pass, Step step) const {
  const at::Tensor lambda = sparsity_->coefficient(step.index);
  at::Tensor sparsity;
  if (options_.sparsity_loss == SparsityLoss::kL0) {
    sparsity = active_per_token(
        pass, pass.nesting ? pass.nesting->chance.to(pass.x.scalar_type()) : pass.mask);
  } else if (options_.sparsity_loss == SparsityLoss::kTarget) {
    sparsity = target_loss(pass);
  } else {
    const at::Tensor f = weigh_by_norm(pass.kept, pass.kept.values());
    const at::Tensor each = at::tanh(options_.tanh_scale * f);
    sparsity = spread().sum_latents(weigh_by_chance(pass, each).sum() / pass.x.size(0));
  }
  Losses all{{"sparsity", lambda * sparsity}};
  if (options_.preact_coefficient == 0 || !may_be_dead()) return all;
  const at::Tensor which = at::nonzero(dead()).squeeze(1);
  if (spread().count_latents(which.size(0)) == 0) return all;
  at::Tensor missing =
      (threshold().index_select(0, which) - preactivations_of(pass.x, which)).relu();
  if (!unit_norm_decoder()) missing = missing * W_dec.index_select(0, which).norm(2, /*dim=*/1);
  all.emplace_back(
      "preact", spread().sum_latents(options_.preact_coefficient * missing.sum() / pass.x.size(0)));
  return all;
}

void JumpRelu::observe_more(const BatchStatistics& batch, Step step) {
  if (options_.sparsity_loss == SparsityLoss::kTarget) return;
  sparsity_->observe(l0_at_inference(batch, mask().get(), spread()), step.index);
}

void JumpRelu::fold_more(double scale) {
  if (options_.threshold_as == ThresholdAs::kLog) {
    threshold_parameter_.sub_(std::log(scale));
  } else {
    threshold_parameter_.div_(scale);
  }
}

}  // namespace sae

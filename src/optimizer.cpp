#include "sae/optimizer.h"

#include <torch/types.h>

#include <utility>

namespace sae {

Adam::Adam(std::shared_ptr<Autoencoder> sae, AdamOptions options)
    : sae_(std::move(sae)), options_(options) {
  for (const auto& item : sae_->named_parameters()) {
    const at::Tensor& parameter = item.value();
    names_.push_back(item.key());
    parameters_.push_back(parameter);
    first_.push_back(at::zeros_like(parameter));
    second_.push_back(at::zeros_like(parameter));
    updates_.push_back(at::zeros({}, parameter.options().dtype(at::kFloat).requires_grad(false)));
  }
  gradient_norm_ = at::zeros({}, sae_->W_enc.options().requires_grad(false));
}

void Adam::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& parameter : parameters_) {
    at::Tensor& gradient = parameter.mutable_grad();
    if (!gradient.defined()) gradient = at::zeros_like(parameter);
    if (!gradient.is_contiguous()) gradient = gradient.contiguous();
    gradients.push_back(gradient);
  }
  const bool unit = sae_->unit_norm_decoder();
  if (unit) {
    at::Tensor& gradient = sae_->W_dec.mutable_grad();
    const at::Tensor parallel = (gradient * sae_->W_dec).sum(/*dim=*/1, /*keepdim=*/true);
    gradient.addcmul_(sae_->W_dec, parallel, -1);
  }
  gradient_norm_ = at::stack(at::_foreach_norm(gradients)).norm();
  std::optional<at::Tensor> shrink;
  if (options_.clip_norm > 0) {
    shrink = (gradient_norm_ / options_.clip_norm).clamp_min(1).to(at::kFloat);
  }
  for (const at::Tensor& updates : updates_) updates.add_(1);
  at::_fused_adam_(parameters_, gradients, first_, second_, /*max_exp_avg_sqs=*/{}, updates_,
                   learning_rate, options_.beta1, options_.beta2, /*weight_decay=*/0,
                   options_.epsilon, /*amsgrad=*/false, /*maximize=*/false, shrink);
  if (unit) sae_->W_dec.div_(sae_->W_dec.norm(2, /*dim=*/1, /*keepdim=*/true).clamp_min(1e-12));
  for (const at::Tensor& parameter : parameters_) parameter.mutable_grad() = at::Tensor();
}

void Adam::forget(const at::Tensor& which) {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (names_[i] == "b_dec") continue;  // the only parameter whose rows are not latents
    first_[i].index_fill_(0, which, 0);
    second_[i].index_fill_(0, which, 0);
  }
}

std::vector<std::pair<std::string, at::Tensor>> Adam::state() const {
  std::vector<std::pair<std::string, at::Tensor>> all;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    all.emplace_back(names_[i] + ".m", first_[i]);
    all.emplace_back(names_[i] + ".v", second_[i]);
    all.emplace_back(names_[i] + ".updates", updates_[i]);
  }
  return all;
}

}  // namespace sae

#include "sae/training/optimizer.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/stages.h"
#include "cuda/adam.h"
#include "cuda/bf16_copy.h"
#include "cuda/launch.h"
#include "kernels/adam.h"

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
  const StageScope stage(Stage::kOptimizer);
  const at::NoGradGuard no_grad;
  for (const at::Tensor& parameter : parameters_) {
    at::Tensor& gradient = parameter.mutable_grad();
    if (!gradient.defined()) gradient = at::zeros_like(parameter);
    if (!gradient.is_contiguous()) gradient = gradient.contiguous();
  }
  for (const at::Tensor& updates : updates_) updates.add_(1);
  const at::ScalarType type = sae_->W_enc.scalar_type();
  if (sae_->W_enc.is_cpu() && (type == at::kFloat || type == at::kDouble)) {
    step_by_rows(learning_rate);
  } else if (cuda::has_kernels(sae_->W_enc)) {
    step_on_device(learning_rate);
  } else {
    step_fused(learning_rate);
  }
  for (const at::Tensor& parameter : parameters_) parameter.mutable_grad() = at::Tensor();
}

void Adam::step_on_device(double learning_rate) {
  std::vector<cuda::AdamParameter> all;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& parameter = parameters_[i];
    all.push_back({parameter, parameter.grad(), first_[i], second_[i],
                   sae_->unit_norm_decoder() && parameter.is_same(sae_->W_dec)});
    if (const auto copy = sae_->copy_of(parameter)) all.back().copy = copy->to_write(parameter);
  }
  gradient_norm_ = cuda::adam_step(all, {learning_rate, options_.beta1, options_.beta2,
                                         options_.epsilon, options_.clip_norm, updates_.front()});
  for (const cuda::AdamParameter& one : all) {
    one.weight.unsafeGetTensorImpl()->bump_version();  // kernels do not
    if (one.copy.rows.defined()) sae_->copy_of(one.weight)->written(one.weight);
  }
}

void Adam::step_fused(double learning_rate) {
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& parameter : parameters_) gradients.push_back(parameter.grad());
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
  at::_fused_adam_(parameters_, gradients, first_, second_, /*max_exp_avg_sqs=*/{}, updates_,
                   learning_rate, options_.beta1, options_.beta2, /*weight_decay=*/0,
                   options_.epsilon, /*amsgrad=*/false, /*maximize=*/false, shrink);
  if (unit) sae_->W_dec.div_(sae_->W_dec.norm(2, /*dim=*/1, /*keepdim=*/true).clamp_min(1e-12));
}

namespace {

/// Runs `body(row)` for the rows of a parameter [rows, n] in parallel; a vector is one row.
template <class Body>
void for_each_row(const at::Tensor& parameter, const Body& body) {
  const std::int64_t rows = parameter.dim() == 2 ? parameter.size(0) : 1;
  at::parallel_for(0, rows, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) body(row);
  });
}

/// ||g||^2 after projection, summed over rows in their order; `parallel [rows]` gets <g, w>.
template <class T>
double squared_norm(const at::Tensor& parameter, bool unit, std::vector<double>& parallel) {
  const std::int64_t n = parameter.size(-1);
  const T* g = parameter.grad().const_data_ptr<T>();
  const T* w = parameter.const_data_ptr<T>();
  std::vector<double> squares(static_cast<std::size_t>(parameter.numel() / n));
  parallel.assign(squares.size(), 0);
  for_each_row(parameter, [&](std::int64_t row) {
    const adam::Products products = adam::products(n, g + row * n, w + row * n);
    const auto i = static_cast<std::size_t>(row);
    squares[i] = products.gg;
    if (!unit) return;
    parallel[i] = products.gw;
    squares[i] = std::max(0.0, products.gg - products.gw * products.gw);
  });
  return std::accumulate(squares.begin(), squares.end(), 0.0);
}

}  // namespace

void Adam::step_by_rows(double learning_rate) {
  AT_DISPATCH_FLOATING_TYPES(sae_->W_enc.scalar_type(), "Adam::step", [&] {
    std::vector<std::vector<double>> parallel(parameters_.size());
    const auto is_unit = [&](std::size_t i) {
      return sae_->unit_norm_decoder() && parameters_[i].is_same(sae_->W_dec);
    };
    double square = 0;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      square += squared_norm<scalar_t>(parameters_[i], is_unit(i), parallel[i]);
    }
    const double norm = std::sqrt(square);
    gradient_norm_.fill_(norm);
    const bool clips = options_.clip_norm > 0 && norm > options_.clip_norm;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const at::Tensor& parameter = parameters_[i];
      const double t = updates_[i].item<double>();
      const adam::Scalars scalars{
          .step = learning_rate / (1 - std::pow(options_.beta1, t)),
          .root = std::sqrt(1 - std::pow(options_.beta2, t)),
          .beta1 = options_.beta1,
          .beta2 = options_.beta2,
          .epsilon = options_.epsilon,
          .gradient_scale = clips ? options_.clip_norm / norm : 1,
      };
      const std::int64_t n = parameter.size(-1);
      const auto* g = parameter.grad().template const_data_ptr<scalar_t>();
      auto* w = parameter.mutable_data_ptr<scalar_t>();
      auto* m = first_[i].template mutable_data_ptr<scalar_t>();
      auto* v = second_[i].template mutable_data_ptr<scalar_t>();
      for_each_row(parameter, [&](std::int64_t row) {
        const std::int64_t at = row * n;
        adam::update_row(n, scalars, parallel[i][static_cast<std::size_t>(row)], is_unit(i), g + at,
                         w + at, m + at, v + at);
      });
      parameter.mutable_grad() = at::Tensor();
    }
  });
}

void Adam::forget(const at::Tensor& which) {
  const at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].is_same(sae_->b_dec))
      continue;  // the only parameter whose rows are not latents
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

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
#include "distributed/dealt.h"
#include "kernels/adam.h"

namespace sae {

Adam::Adam(std::shared_ptr<Autoencoder> sae, AdamOptions options)
    : sae_(std::move(sae)), options_(options) {
  const at::NoGradGuard no_grad;
  const Group& data = sae_->spread().mesh().data;
  rows_ = rows_of(sae_->d_sae(), data.rank(), data.size());
  for (const auto& item : sae_->named_parameters()) {
    if (sae_->is_frozen(item.value())) continue;
    Slot slot;
    slot.name = item.key();
    slot.whole = item.value();
    slot.by_latent = Autoencoder::is_by_latent(slot.name, slot.whole);
    slot.unit = sae_->unit_norm_decoder() && slot.whole.is_same(sae_->W_dec);
    const bool shared = slot.by_latent && sae_->spread().splits_tokens();
    const auto own = [&](const at::Tensor& whole) {
      return shared ? whole.slice(0, rows_.begin, rows_.end) : whole;
    };
    slot.rows = own(slot.whole);
    if (slot.whole.is_same(sae_->W_dec) && sae_->decoder_start().defined()) {
      slot.start = own(sae_->decoder_start());
    }
    slot.first = at::zeros_like(slot.rows);
    slot.second = at::zeros_like(slot.rows);
    slot.updates = at::zeros({}, slot.whole.options().dtype(at::kFloat).requires_grad(false));
    slots_.push_back(std::move(slot));
  }
  gradient_norm_ = at::zeros({}, sae_->W_enc.options().requires_grad(false));
}

void Adam::step(double learning_rate) {
  const StageScope stage(Stage::kOptimizer);
  const at::NoGradGuard no_grad;
  take_gradients();
  for (const Slot& slot : slots_) slot.updates.add_(1);
  const at::ScalarType type = sae_->W_enc.scalar_type();
  if (sae_->W_enc.is_cpu() && (type == at::kFloat || type == at::kDouble)) {
    step_by_rows(learning_rate);
  } else if (cuda::has_kernels(sae_->W_enc) && sae_->spread().is_one()) {
    step_on_device(learning_rate);
  } else {
    step_fused(learning_rate);
  }
  for (Slot& slot : slots_) {
    slot.gradient = at::Tensor();
    if (slot.start.defined()) hold_to_start(slot.rows, slot.start);
  }
  share_rows();
}

void Adam::take_gradients() {
  const Spread& spread = sae_->spread();
  for (Slot& slot : slots_) {
    slot.gradient = std::exchange(slot.whole.mutable_grad(), at::Tensor());
    if (!slot.gradient.defined()) slot.gradient = at::zeros_like(slot.whole);
    if (slot.by_latent && spread.splits_tokens()) {
      slot.gradient = own_rows_of_sum(spread.mesh().data, slot.gradient);
    }
    if (!slot.gradient.is_contiguous()) slot.gradient = slot.gradient.contiguous();
  }
}

void Adam::share_rows() {
  const Spread& spread = sae_->spread();
  if (!spread.splits_tokens()) return;
  for (const Slot& slot : slots_) {
    if (!slot.by_latent) continue;
    slot.whole.copy_(all_rows(spread.mesh().data, slot.rows, sae_->d_sae()));
  }
}

void Adam::complete(at::Tensor& square) {
  const Spread& spread = sae_->spread();
  if (spread.is_one()) return;
  const auto b_dec =
      std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.by_latent; });
  at::Tensor all =
      at::cat({b_dec->gradient.to(at::kDouble), square.to(at::kDouble).view({1})});  // [D + 1]
  spread.mesh().world.sum(all);
  b_dec->gradient.copy_(all.slice(0, 0, -1));
  square = all[-1].to(square.options());
}

void Adam::step_on_device(double learning_rate) {
  std::vector<cuda::AdamParameter> all;
  for (const Slot& slot : slots_) {
    all.push_back({slot.whole, slot.gradient, slot.first, slot.second, slot.unit});
    if (const auto copy = sae_->copy_of(slot.whole)) all.back().copy = copy->to_write(slot.whole);
  }
  gradient_norm_ =
      cuda::adam_step(all, {learning_rate, options_.beta1, options_.beta2, options_.epsilon,
                            options_.clip_norm, slots_.front().updates});
  for (const cuda::AdamParameter& one : all) {
    one.weight.unsafeGetTensorImpl()->bump_version();  // kernels do not
    if (one.copy.rows.defined()) sae_->copy_of(one.weight)->written(one.weight);
  }
}

void Adam::step_fused(double learning_rate) {
  std::vector<at::Tensor> rows, gradients, first, second, updates, of_latents;
  for (Slot& slot : slots_) {
    if (slot.unit) {
      const at::Tensor parallel = (slot.gradient * slot.rows).sum(/*dim=*/1, /*keepdim=*/true);
      slot.gradient.addcmul_(slot.rows, parallel, -1);
    }
    rows.push_back(slot.rows);
    gradients.push_back(slot.gradient);
    first.push_back(slot.first);
    second.push_back(slot.second);
    updates.push_back(slot.updates);
    if (slot.by_latent) of_latents.push_back(slot.gradient);
  }
  if (sae_->spread().is_one()) {
    gradient_norm_ = at::stack(at::_foreach_norm(gradients)).norm();
  } else {
    at::Tensor square = at::stack(at::_foreach_norm(of_latents)).norm().square();
    complete(square);
    for (const Slot& slot : slots_) {
      if (!slot.by_latent) square = square + slot.gradient.square().sum();
    }
    gradient_norm_ = square.sqrt();
  }
  std::optional<at::Tensor> shrink;
  if (options_.clip_norm > 0) {
    shrink = (gradient_norm_ / options_.clip_norm).clamp_min(1).to(at::kFloat);
  }
  at::_fused_adam_(rows, gradients, first, second, /*max_exp_avg_sqs=*/{}, updates, learning_rate,
                   options_.beta1, options_.beta2, /*weight_decay=*/0, options_.epsilon,
                   /*amsgrad=*/false, /*maximize=*/false, shrink);
  for (const Slot& slot : slots_) {
    if (slot.unit) slot.rows.div_(slot.rows.norm(2, /*dim=*/1, /*keepdim=*/true).clamp_min(1e-12));
  }
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
double squared_norm(const at::Tensor& parameter, const at::Tensor& gradient, bool unit,
                    std::vector<double>& parallel) {
  const std::int64_t n = parameter.size(-1);
  const T* g = gradient.const_data_ptr<T>();
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
    const bool is_one = sae_->spread().is_one();
    std::vector<std::vector<double>> parallel(slots_.size());
    const auto square_of = [&](std::size_t i) {
      const Slot& slot = slots_[i];
      return squared_norm<scalar_t>(slot.rows, slot.gradient, slot.unit, parallel[i]);
    };
    double square = 0;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (is_one || slots_[i].by_latent) square += square_of(i);
    }
    if (!is_one) {
      at::Tensor all = at::tensor(square, at::kDouble);
      complete(all);
      square = all.item<double>();
      for (std::size_t i = 0; i < slots_.size(); ++i) {
        if (!slots_[i].by_latent) square += square_of(i);
      }
    }
    const double norm = std::sqrt(square);
    gradient_norm_.fill_(norm);
    const bool clips = options_.clip_norm > 0 && norm > options_.clip_norm;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      Slot& slot = slots_[i];
      const double t = slot.updates.item<double>();
      const adam::Scalars scalars{
          .step = learning_rate / (1 - std::pow(options_.beta1, t)),
          .root = std::sqrt(1 - std::pow(options_.beta2, t)),
          .beta1 = options_.beta1,
          .beta2 = options_.beta2,
          .epsilon = options_.epsilon,
          .gradient_scale = clips ? options_.clip_norm / norm : 1,
      };
      const std::int64_t n = slot.rows.size(-1);
      const auto* g = slot.gradient.template const_data_ptr<scalar_t>();
      auto* w = slot.rows.mutable_data_ptr<scalar_t>();
      auto* m = slot.first.template mutable_data_ptr<scalar_t>();
      auto* v = slot.second.template mutable_data_ptr<scalar_t>();
      for_each_row(slot.rows, [&](std::int64_t row) {
        const std::int64_t at = row * n;
        adam::update_row(n, scalars, parallel[i][static_cast<std::size_t>(row)], slot.unit, g + at,
                         w + at, m + at, v + at);
      });
      slot.gradient = at::Tensor();
    }
  });
}

void Adam::forget(const at::Tensor& which) {
  const at::NoGradGuard no_grad;
  at::Tensor here = which;
  if (sae_->spread().splits_tokens()) {
    here = which.masked_select((which >= rows_.begin).logical_and(which < rows_.end)) - rows_.begin;
  }
  for (const Slot& slot : slots_) {
    if (!slot.by_latent) continue;
    slot.first.index_fill_(0, here, 0);
    slot.second.index_fill_(0, here, 0);
  }
}

at::Tensor Adam::latents() const { return sae_->spread().ids().slice(0, rows_.begin, rows_.end); }

std::vector<std::pair<std::string, at::Tensor>> Adam::state() const {
  std::vector<std::pair<std::string, at::Tensor>> all;
  for (const Slot& slot : slots_) {
    all.emplace_back(slot.name + ".m", slot.first);
    all.emplace_back(slot.name + ".v", slot.second);
    all.emplace_back(slot.name + ".updates", slot.updates);
  }
  return all;
}

}  // namespace sae

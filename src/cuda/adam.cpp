#include "cuda/adam.h"

#include <torch/types.h>

#include <cstdint>

#include "cuda/launch.h"

namespace sae::cuda {
namespace {

constexpr std::int64_t kAnyRow = 4096;  // elements of a block where rows mean nothing
constexpr std::int64_t kScalars = 8;    // floats of AdamScalars

std::int64_t row_of(const AdamParameter& one) {
  return one.unit || one.copy.norm.defined() ? one.weight.size(1) : kAnyRow;
}

std::int64_t rows_of(const AdamParameter& one) {
  return (one.weight.numel() + row_of(one) - 1) / row_of(one);
}

void* data_of(const at::Tensor& t) { return t.defined() ? t.mutable_data_ptr() : nullptr; }

/// `parallel` [F] is <g, w>, of unit rows.
void update(const AdamParameter& one, const at::Tensor& parallel, const at::Tensor& scalars) {
  const at::Device device = one.weight.device();
  if (one.copy.norm.defined()) {
    TORCH_INTERNAL_ASSERT(!one.unit);
    launch(device, "adam_update_rounded", {rows_of(one)}, 256, floats_of(one.gradient),
           mutable_floats_of(one.weight), mutable_floats_of(one.first),
           mutable_floats_of(one.second), data_of(one.copy.rows), mutable_floats_of(one.copy.norm),
           mutable_floats_of(one.copy.residual), floats_of(scalars), Index{one.weight.numel()},
           Index{row_of(one)});
    return;
  }
  launch(device, "adam_update", {rows_of(one)}, 256, floats_of(one.gradient),
         mutable_floats_of(one.weight), mutable_floats_of(one.first), mutable_floats_of(one.second),
         data_of(one.copy.rows), one.unit ? parallel.const_data_ptr<double>() : nullptr,
         floats_of(scalars), Index{one.weight.numel()}, Index{row_of(one)},
         static_cast<int>(one.unit));
}

}  // namespace

at::Tensor adam_step(const std::vector<AdamParameter>& parameters, const AdamSettings& settings) {
  const at::Device device = parameters.front().weight.device();
  const auto doubles = parameters.front().weight.options().dtype(at::kDouble).requires_grad(false);
  const at::Tensor total = at::empty({}, doubles);
  std::vector<at::Tensor> parallel;
  bool is_first = true;
  for (const AdamParameter& one : parameters) {
    const std::int64_t rows = rows_of(one);
    const at::Tensor gg = at::empty({rows}, doubles);
    const at::Tensor gw = one.unit ? at::empty({rows}, doubles) : at::Tensor();
    double* products = gw.defined() ? gw.mutable_data_ptr<double>() : nullptr;
    launch(device, "adam_products", {rows}, 256, floats_of(one.gradient),
           one.unit ? floats_of(one.weight) : nullptr, Index{one.weight.numel()},
           Index{row_of(one)}, gg.mutable_data_ptr<double>(), products);
    launch(device, "adam_norm", {1}, 512, gg.const_data_ptr<double>(),
           static_cast<const double*>(products), Index{rows}, static_cast<int>(one.unit),
           total.mutable_data_ptr<double>(), static_cast<int>(is_first));
    parallel.push_back(gw);
    is_first = false;
  }
  at::Tensor norm = at::empty({}, doubles.dtype(at::kFloat));
  const at::Tensor scalars = at::empty({kScalars}, norm.options());
  launch(device, "adam_scalars", {1}, 32, total.const_data_ptr<double>(),
         floats_of(settings.updates), settings.learning_rate, settings.beta1, settings.beta2,
         settings.epsilon, settings.clip_norm, mutable_floats_of(scalars), mutable_floats_of(norm));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    update(parameters[i], parallel[i], scalars);
  }
  return norm;
}

}  // namespace sae::cuda

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "evaluation/probes/training.h"
#include "kernels/adam.h"
#include "kernels/rows.h"
#include "sae/base/interrupt.h"

namespace sae {
namespace {

/// Classes do not see each other, so each thread trains its own for a whole epoch: steps of 64
/// samples are far too short to share.
template <class T>
class DenseTraining : public ProbeTraining {
 public:
  DenseTraining(ProbeSamples samples, const LinearProbe& start, const ProbeAdam& how)
      : x_(samples.x.values().contiguous()),
        inside_(samples.inside.t().contiguous()),
        weight_(samples.weight.contiguous()),
        how_(how),
        W_(start.W.to(x_.options()).clone(at::MemoryFormat::Contiguous)),
        b_(start.b.to(x_.options()).clone()),
        W_first_(at::zeros_like(W_)),
        W_second_(at::zeros_like(W_)),
        b_first_(at::zeros_like(b_)),
        b_second_(at::zeros_like(b_)) {}

  void epoch(const at::Tensor& order, double lr) override {
    const at::Tensor rows = order.contiguous();
    const std::int64_t samples = rows.size(0);
    at::parallel_for(0, W_.size(0), 1, [&](std::int64_t first, std::int64_t last) {
      std::int64_t steps = steps_;
      Scratch scratch(how_.batch_size, W_.size(1));
      for (std::int64_t begin = 0; begin < samples; begin += how_.batch_size) {
        check_interrupt();
        const Batch batch{rows.const_data_ptr<std::int64_t>() + begin,
                          std::min(how_.batch_size, samples - begin), lr, adam(++steps, lr)};
        for (std::int64_t c = first; c < last; ++c) step(c, batch, scratch);
      }
    });
    steps_ += (samples + how_.batch_size - 1) / how_.batch_size;
  }

  LinearProbe probe() const override { return {W_.clone(), b_.clone()}; }

 private:
  struct Batch {
    const std::int64_t* rows;
    std::int64_t size;
    double lr;
    adam::Scalars adam;
  };
  struct Scratch {
    Scratch(std::int64_t batch, std::int64_t width)
        : dz(static_cast<std::size_t>(batch)), dw(static_cast<std::size_t>(width)) {}
    std::vector<T> dz, dw;
  };

  static adam::Scalars adam(std::int64_t step, double lr) {
    const auto t = static_cast<double>(step);
    return {lr / (1 - std::pow(0.9, t)), std::sqrt(1 - std::pow(0.999, t)), 0.9, 0.999, 1e-8, 1};
  }

  void step(std::int64_t c, const Batch& batch, Scratch& scratch) {
    const std::int64_t width = W_.size(1);
    const T* x = x_.template const_data_ptr<T>();
    T* w = W_.template mutable_data_ptr<T>() + c * width;
    T* dz = scratch.dz.data();
    T* dw = scratch.dw.data();
    rows::dots(width, w, batch.size, batch.rows, x, dz);
    const T db = slopes(c, batch, dz);
    rows::weighted_sum(width, batch.size, dz, batch.rows, x, dw);
    if (how_.l1_decay != 0) {
      const T l1 = static_cast<T>(how_.l1_decay / static_cast<double>(W_.size(0)));
      for (std::int64_t j = 0; j < width; ++j) {
        dw[j] += l1 * static_cast<T>((w[j] > 0 ? 1 : 0) - (w[j] < 0 ? 1 : 0));
      }
    }
    update(width, batch, dw, w, at_class(W_first_, c), at_class(W_second_, c));
    update(1, batch, &db, at_class(b_, c), at_class(b_first_, c), at_class(b_second_, c));
  }

  /// From w . x to dL/dz, in place; returns their sum.
  T slopes(std::int64_t c, const Batch& batch, T* z) const {
    const bool* inside = inside_.const_data_ptr<bool>() + c * inside_.size(1);
    const T bias = b_.template const_data_ptr<T>()[c];
    const T weight = weight_.template const_data_ptr<T>()[c];
    const T count = static_cast<T>(batch.size) * static_cast<T>(W_.size(0));
    T sum = 0;
    for (std::int64_t i = 0; i < batch.size; ++i) {
      const T p = 1 / (1 + std::exp(-(z[i] + bias)));
      // d softplus(-z) = sigma(z) - 1 inside the class, d softplus(z) = sigma(z) outside of it.
      z[i] = (inside[batch.rows[i]] ? (p - 1) * weight : p) / count;
      sum += z[i];
    }
    return sum;
  }

  void update(std::int64_t n, const Batch& batch, const T* g, T* w, T* first, T* second) const {
    if (how_.decoupled) {
      const T keep = static_cast<T>(1 - batch.lr * how_.weight_decay);
      for (std::int64_t j = 0; j < n; ++j) w[j] *= keep;
    }
    adam::update_row(n, batch.adam, how_.decoupled ? 0 : -how_.weight_decay, /*unit=*/false, g, w,
                     first, second);
  }

  static T* at_class(at::Tensor& parameter, std::int64_t c) {
    return parameter.mutable_data_ptr<T>() + c * parameter.stride(0);
  }

  at::Tensor x_;       // [N, D]
  at::Tensor inside_;  // [C, N] bool
  at::Tensor weight_;  // [C]
  ProbeAdam how_;
  at::Tensor W_, b_;  // [C, D], [C]
  at::Tensor W_first_, W_second_, b_first_, b_second_;
  std::int64_t steps_ = 0;
};

}  // namespace

std::unique_ptr<ProbeTraining> dense_probe_training(ProbeSamples samples, const LinearProbe& start,
                                                    const ProbeAdam& how) {
  std::unique_ptr<ProbeTraining> training;
  AT_DISPATCH_FLOATING_TYPES(samples.x.values().scalar_type(), "dense_probe_training", [&] {
    training = std::make_unique<DenseTraining<scalar_t>>(std::move(samples), start, how);
  });
  return training;
}

}  // namespace sae

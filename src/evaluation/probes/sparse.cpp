#include <torch/types.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "evaluation/probes/training.h"
#include "sae/base/interrupt.h"
#include "sparse/products.h"

namespace sae {
namespace {

class SparseTraining : public ProbeTraining {
 public:
  SparseTraining(ProbeSamples samples, const LinearProbe& start, const ProbeAdam& how)
      : samples_(std::move(samples)), how_(how) {
    const at::TensorOptions options = samples_.x.values().options();
    // Transposed: a feature's row is what sparse samples touch.
    parameters_ = {start.W.t().to(options).clone(at::MemoryFormat::Contiguous),
                   start.b.to(options).clone()};
    for (const at::Tensor& parameter : parameters_) {
      first_.push_back(at::zeros_like(parameter));
      second_.push_back(at::zeros_like(parameter));
      updates_.push_back(at::zeros({}, at::kFloat));
    }
  }

  void epoch(const at::Tensor& order, double lr) override {
    const std::int64_t samples = order.size(0);
    for (std::int64_t begin = 0; begin < samples; begin += how_.batch_size) {
      check_interrupt();
      step(order.slice(0, begin, std::min(begin + how_.batch_size, samples)), lr);
    }
  }

  LinearProbe probe() const override {
    return {parameters_[0].t().clone(at::MemoryFormat::Contiguous), parameters_[1].clone()};
  }

 private:
  void step(const at::Tensor& rows, double lr) {
    const Codes batch = rows_of(samples_.x, rows);
    const at::Tensor y = samples_.inside.index_select(0, rows);
    const auto classes = static_cast<double>(y.size(1));
    const at::Tensor p = sparse::gather_sum(*batch.pattern(), batch.values(), parameters_[0])
                             .add_(parameters_[1])
                             .sigmoid_();
    // d softplus(-z) = sigma(z) - 1 inside the class, d softplus(z) = sigma(z) outside of it.
    at::Tensor dz = at::where(y, (p - 1) * samples_.weight, p);
    dz.div_(static_cast<double>(rows.size(0)) * classes);
    at::Tensor dW = sparse::scatter_sum(*batch.pattern(), batch.values(), dz);
    if (how_.l1_decay != 0) dW.add_(parameters_[0].sign(), how_.l1_decay / classes);
    update({dW, dz.sum(0)}, lr);
  }

  void update(const std::vector<at::Tensor>& gradients, double lr) {
    for (const at::Tensor& updates : updates_) updates.add_(1);
    if (how_.decoupled) {
      at::_fused_adamw_(parameters_, gradients, first_, second_, {}, updates_, lr, 0.9, 0.999,
                        how_.weight_decay, 1e-8, /*amsgrad=*/false, /*maximize=*/false);
    } else {
      at::_fused_adam_(parameters_, gradients, first_, second_, {}, updates_, lr, 0.9, 0.999,
                       how_.weight_decay, 1e-8, /*amsgrad=*/false, /*maximize=*/false);
    }
  }

  ProbeSamples samples_;
  ProbeAdam how_;
  std::vector<at::Tensor> parameters_;  // W^T [D, C], b [C]
  std::vector<at::Tensor> first_, second_, updates_;
};

}  // namespace

std::unique_ptr<ProbeTraining> sparse_probe_training(ProbeSamples samples, const LinearProbe& start,
                                                     const ProbeAdam& how) {
  return std::make_unique<SparseTraining>(std::move(samples), start, how);
}

}  // namespace sae

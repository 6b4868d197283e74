#include "sae/probes.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "sae/rng.h"
#include "sparse_ops.h"

namespace sae {
namespace {

constexpr std::uint64_t kInitDraw = std::uint64_t{1} << 32;  // apart from the epochs' orders

/// Features of `batch` times a [D, C] matrix: [B, C].
at::Tensor product(const Codes& batch, const at::Tensor& Wt) {
  return batch.is_dense() ? at::mm(batch.values(), Wt)
                          : sparse::gather_sum(*batch.pattern(), batch.values(), Wt);
}

/// Transposed features of `batch` times dz [B, C]: [D, C].
at::Tensor transposed_product(const Codes& batch, const at::Tensor& dz) {
  return batch.is_dense() ? at::mm(batch.values().t(), dz)
                          : sparse::scatter_sum(*batch.pattern(), batch.values(), dz);
}

at::Tensor uniform(std::int64_t count, double bound, Rng& rng) {
  at::Tensor values = at::empty({count}, at::kDouble);
  auto* value = values.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < count; ++i) value[i] = bound * (2 * rng.uniform() - 1);
  return values;
}

/// A probe in training. Weights are kept transposed: a feature's row is what sparse samples touch.
class Training {
 public:
  Training(Codes x, at::Tensor y, at::Tensor positive_weight, std::uint64_t seed,
           const ProbeDraws& draws)
      : x_(std::move(x)),
        y_(std::move(y)),
        positive_weight_(std::move(positive_weight)),
        seed_(seed),
        draws_(draws) {
    const at::TensorOptions options = x_.values().options();
    const std::int64_t classes = y_.size(1);
    at::Tensor W, b;
    if (draws.initial.W.defined()) {
      W = draws.initial.W.to(options);
      b = draws.initial.b.to(options);
    } else {
      Rng rng(seed, Stream::kEvaluation, kInitDraw);
      const double bound = 1 / std::sqrt(static_cast<double>(x_.d_sae()));
      W = uniform(classes * x_.d_sae(), bound, rng).view({classes, -1}).to(options);
      b = uniform(classes, bound, rng).to(options);
    }
    parameters_ = {W.t().clone(at::MemoryFormat::Contiguous), b.clone()};
    for (const at::Tensor& parameter : parameters_) {
      first_.push_back(at::zeros_like(parameter));
      second_.push_back(at::zeros_like(parameter));
      updates_.push_back(at::zeros({}, at::kFloat));
    }
  }

  LinearProbe probe() const {
    return {parameters_[0].t().clone(at::MemoryFormat::Contiguous), parameters_[1].clone()};
  }

  double l1_decay = 0;
  double weight_decay = 0;
  bool decoupled = false;  ///< weight decay as AdamW has it
  std::int64_t batch_size = 0;

  void epoch(std::int64_t index, double lr) {
    const std::int64_t samples = y_.size(0);
    const at::Tensor order = draws_.orders.empty()
                                 ? random_order(samples, seed_, static_cast<std::uint64_t>(index))
                                 : draws_.orders.at(static_cast<std::size_t>(index));
    for (std::int64_t begin = 0; begin < samples; begin += batch_size) {
      step(order.slice(0, begin, std::min(begin + batch_size, samples)), lr);
    }
  }

 private:
  void step(const at::Tensor& rows, double lr) {
    const Codes batch = select_samples(x_, rows);
    const at::Tensor y = y_.index_select(0, rows);
    const auto classes = static_cast<double>(y.size(1));
    const at::Tensor p = product(batch, parameters_[0]).add_(parameters_[1]).sigmoid_();
    // d softplus(-z) = sigma(z) - 1 inside the class, d softplus(z) = sigma(z) outside of it.
    at::Tensor dz = at::where(y, (p - 1) * positive_weight_, p);
    dz.div_(static_cast<double>(rows.size(0)) * classes);
    at::Tensor dW = transposed_product(batch, dz);
    if (l1_decay != 0) dW.add_(parameters_[0].sign(), l1_decay / classes);
    std::vector<at::Tensor> gradients = {dW.contiguous(), dz.sum(0)};
    for (const at::Tensor& updates : updates_) updates.add_(1);
    if (decoupled) {
      at::_fused_adamw_(parameters_, gradients, first_, second_, {}, updates_, lr, 0.9, 0.999,
                        weight_decay, 1e-8, /*amsgrad=*/false, /*maximize=*/false);
    } else {
      at::_fused_adam_(parameters_, gradients, first_, second_, {}, updates_, lr, 0.9, 0.999,
                       weight_decay, 1e-8, /*amsgrad=*/false, /*maximize=*/false);
    }
  }

  Codes x_;
  at::Tensor y_;                // [N, C] bool
  at::Tensor positive_weight_;  // [C]
  std::uint64_t seed_;
  const ProbeDraws& draws_;
  std::vector<at::Tensor> parameters_;  // W^T [D, C], b [C]
  std::vector<at::Tensor> first_, second_, updates_;
};

void check_labels(const Codes& x, const at::Tensor& labels, std::int64_t classes,
                  const char* where) {
  if (labels.dim() != 1 || labels.size(0) != x.batch() || labels.scalar_type() != at::kLong) {
    throw std::invalid_argument(std::string(where) + ": expected an integer label for each of " +
                                std::to_string(x.batch()) + " samples");
  }
  if (labels.numel() == 0) throw std::invalid_argument(std::string(where) + ": got no samples");
  const auto low = labels.min().item<std::int64_t>();
  const auto high = labels.max().item<std::int64_t>();
  if (low < 0 || high >= classes) {
    throw std::invalid_argument(std::string(where) + ": got labels from " + std::to_string(low) +
                                " to " + std::to_string(high) + ", expected 0 to " +
                                std::to_string(classes - 1));
  }
}

double accuracy(const LinearProbe& probe, const Codes& x, const at::Tensor& labels) {
  const at::Tensor predicted = probe_scores(probe, x).select(1, 0) > 0;
  return predicted.eq(labels.to(at::kBool)).to(at::kDouble).mean().item<double>();
}

}  // namespace

at::Tensor probe_scores(const LinearProbe& probe, const Codes& x) {
  const at::NoGradGuard no_grad;
  return product(x, probe.W.t().contiguous()).add_(probe.b);
}

LinearProbe train_multi_probe(const Codes& x, const at::Tensor& labels, std::int64_t classes,
                              const MultiProbeTraining& how, std::uint64_t seed,
                              const ProbeDraws& draws) {
  const at::NoGradGuard no_grad;
  check_labels(x, labels, classes, "train_multi_probe");
  const at::Tensor y = labels.unsqueeze(1) == at::arange(classes, at::kLong);
  const at::Tensor inside = y.sum(0);
  if (inside.min().item<std::int64_t>() == 0) {
    throw std::invalid_argument("train_multi_probe: class " +
                                std::to_string(inside.argmin().item<std::int64_t>()) +
                                " has no samples, expected some of each");
  }
  const at::Tensor ratio = (labels.size(0) - inside).to(at::kDouble) / inside;
  Training training(x, y, ratio.to(x.values().scalar_type()), seed, draws);
  training.batch_size = how.batch_size;
  training.weight_decay = how.weight_decay;
  training.l1_decay = how.l1_decay;
  const double decay = std::exp(std::log(how.end_lr / how.lr) /
                                static_cast<double>(std::max<std::int64_t>(how.epochs, 1)));
  double lr = how.lr;
  for (std::int64_t epoch = 0; epoch < how.epochs; ++epoch, lr *= decay) training.epoch(epoch, lr);
  return training.probe();
}

BinaryProbe train_binary_probe(const Codes& train_x, const at::Tensor& train_labels,
                               const Codes& test_x, const at::Tensor& test_labels,
                               const BinaryProbeTraining& how, std::uint64_t seed,
                               const ProbeDraws& draws) {
  const at::NoGradGuard no_grad;
  check_labels(train_x, train_labels, 2, "train_binary_probe");
  check_labels(test_x, test_labels, 2, "train_binary_probe, test");
  Training training(train_x, train_labels.to(at::kBool).unsqueeze(1),
                    at::ones({1}, train_x.values().options()), seed, draws);
  training.batch_size = how.batch_size;
  training.weight_decay = how.weight_decay;
  training.decoupled = true;
  BinaryProbe best;
  best.test_accuracy = -1;
  for (std::int64_t waited = 0; best.epochs < how.epochs && waited < how.patience;) {
    training.epoch(best.epochs++, how.lr);
    LinearProbe probe = training.probe();
    const double now = accuracy(probe, test_x, test_labels);
    ++waited;
    if (now <= best.test_accuracy) continue;
    best.probe = std::move(probe);
    best.test_accuracy = now;
    waited = 0;
  }
  return best;
}

Codes select_samples(const Codes& x, const at::Tensor& rows) {
  if (x.is_dense()) return Codes::from_dense(x.values().index_select(0, rows));
  const Pattern& from = *x.pattern();
  const at::Tensor sizes = from.offsets.diff().index_select(0, rows);
  const at::Tensor offsets = at::cat({at::zeros({1}, sizes.options()), sizes.cumsum(0)});
  const std::int64_t count = offsets[-1].item<std::int64_t>();
  // The entries of sample r are a run: its start, then counting up.
  const at::Tensor shift = from.offsets.index_select(0, rows) - offsets.slice(0, 0, rows.size(0));
  const at::Tensor entries =
      at::arange(count, sizes.options()) + at::repeat_interleave(shift, sizes, 0, count);
  return {Pattern::sparse(from.indices.index_select(0, entries), offsets, x.d_sae()),
          x.values().index_select(0, entries)};
}

at::Tensor random_order(std::int64_t n, std::uint64_t seed, std::uint64_t index) {
  at::Tensor order = at::empty({n}, at::kLong);
  auto* place = order.mutable_data_ptr<std::int64_t>();
  std::iota(place, place + n, 0);
  Rng rng(seed, Stream::kEvaluation, index);
  for (std::int64_t i = n; i > 1; --i) {
    std::swap(place[i - 1], place[rng.below(static_cast<std::uint64_t>(i))]);
  }
  return order;
}

}  // namespace sae

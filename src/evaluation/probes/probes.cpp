#include "sae/evaluation/probes.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "evaluation/probes/training.h"
#include "sae/base/interrupt.h"
#include "sae/base/rng.h"
#include "sparse/products.h"

namespace sae {
namespace {

constexpr std::uint64_t kInitDraw = std::uint64_t{1} << 32;  // apart from the epochs' orders

/// Features of `batch` times a [D, C] matrix: [B, C].
at::Tensor product(const Codes& batch, const at::Tensor& Wt) {
  return batch.is_dense() ? at::mm(batch.values(), Wt)
                          : sparse::gather_sum(*batch.pattern(), batch.values(), Wt);
}

at::Tensor uniform(std::int64_t count, double bound, Rng& rng) {
  at::Tensor values = at::empty({count}, at::kDouble);
  auto* value = values.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < count; ++i) value[i] = bound * (2 * rng.uniform() - 1);
  return values;
}

LinearProbe start_of(const Codes& x, std::int64_t classes, std::uint64_t seed,
                     const ProbeDraws& draws) {
  if (draws.initial.W.defined()) return draws.initial;
  Rng rng(seed, Stream::kEvaluation, kInitDraw);
  const double bound = 1 / std::sqrt(static_cast<double>(x.d_sae()));
  const at::Tensor W = uniform(classes * x.d_sae(), bound, rng).view({classes, -1});
  return {W, uniform(classes, bound, rng)};
}

/// A training with its order of the samples.
class Epochs {
 public:
  Epochs(ProbeSamples samples, const ProbeAdam& how, std::uint64_t seed, const ProbeDraws& draws)
      : samples_(samples.inside.size(0)), seed_(seed), draws_(draws) {
    const LinearProbe start = start_of(samples.x, samples.inside.size(1), seed, draws);
    const auto make = samples.x.is_dense() ? dense_probe_training : sparse_probe_training;
    training_ = make(std::move(samples), start, how);
  }

  void run(std::int64_t epoch, double lr) {
    check_interrupt();
    training_->epoch(draws_.orders.empty()
                         ? random_order(samples_, seed_, static_cast<std::uint64_t>(epoch))
                         : draws_.orders.at(static_cast<std::size_t>(epoch)),
                     lr);
  }
  LinearProbe probe() const { return training_->probe(); }

 private:
  std::int64_t samples_;
  std::uint64_t seed_;
  const ProbeDraws& draws_;
  std::unique_ptr<ProbeTraining> training_;
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
  const ProbeAdam adam{
      .batch_size = how.batch_size, .weight_decay = how.weight_decay, .l1_decay = how.l1_decay};
  Epochs training({x, y, ratio.to(x.values().scalar_type())}, adam, seed, draws);
  const double decay = std::exp(std::log(how.end_lr / how.lr) /
                                static_cast<double>(std::max<std::int64_t>(how.epochs, 1)));
  double lr = how.lr;
  for (std::int64_t epoch = 0; epoch < how.epochs; ++epoch, lr *= decay) training.run(epoch, lr);
  return training.probe();
}

BinaryProbe train_binary_probe(const Codes& train_x, const at::Tensor& train_labels,
                               const Codes& test_x, const at::Tensor& test_labels,
                               const BinaryProbeTraining& how, std::uint64_t seed,
                               const ProbeDraws& draws) {
  const at::NoGradGuard no_grad;
  check_labels(train_x, train_labels, 2, "train_binary_probe");
  check_labels(test_x, test_labels, 2, "train_binary_probe, test");
  const ProbeAdam adam{
      .batch_size = how.batch_size, .weight_decay = how.weight_decay, .decoupled = true};
  Epochs training(
      {train_x, train_labels.to(at::kBool).unsqueeze(1), at::ones({1}, train_x.values().options())},
      adam, seed, draws);
  BinaryProbe best;
  best.test_accuracy = -1;
  for (std::int64_t waited = 0; best.epochs < how.epochs && waited < how.patience;) {
    training.run(best.epochs++, how.lr);
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

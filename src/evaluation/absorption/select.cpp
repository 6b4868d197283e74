#include <torch/types.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "evaluation/encode_all.h"
#include "evaluation/logistic.h"
#include "sae/base/interrupt.h"
#include "sae/evaluation/absorption.h"

namespace sae {
namespace {

/// Latents by weight, the largest first; equal ones by index.
std::vector<std::int64_t> largest(const at::Tensor& weights, std::int64_t count) {
  const at::Tensor row = weights.to(at::kFloat).contiguous();
  const auto* weight = row.const_data_ptr<float>();
  std::vector<std::int64_t> order(static_cast<std::size_t>(row.size(0)));
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](std::int64_t a, std::int64_t b) {
                      return weight[a] != weight[b] ? weight[a] > weight[b] : a < b;
                    });
  order.resize(static_cast<std::size_t>(count));
  return order;
}

/// Activations of one class's candidates with the class's labels.
struct Candidates {
  at::Tensor x;       // [n, max_k] float32
  at::Tensor inside;  // [n] u8

  Candidates(const Codes& codes, const std::vector<std::int64_t>& latents, const at::Tensor& y,
             std::int64_t label)
      : x(columns(codes, latents)), inside((y == label).to(at::kByte).contiguous()) {}

  std::span<const std::uint8_t> labels() const {
    return {inside.const_data_ptr<std::uint8_t>(), static_cast<std::size_t>(inside.numel())};
  }
  LogisticFit fit(std::int64_t k) const {
    const at::Tensor part = x.slice(1, 0, k).contiguous();
    return fit_logistic(logistic_problem(
        {part.const_data_ptr<float>(), static_cast<std::size_t>(part.numel())}, labels(), true));
  }
  std::vector<double> scores(const LogisticFit& fit) const {
    const auto width = static_cast<std::size_t>(x.size(1));
    const auto* row = x.const_data_ptr<float>();
    std::vector<double> out(labels().size(), fit.b);
    for (double& score : out) {
      for (std::size_t j = 0; j < fit.w.size(); ++j) score += row[j] * fit.w[j];
      row += width;
    }
    return out;
  }
  Confusion confusion(const std::vector<double>& scores, double threshold) const {
    Confusion counts;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      counts.add(scores[i] > threshold, labels()[i] != 0);
    }
    return counts;
  }
};

/// The threshold on `scores` with the best F1: halfway between neighbouring scores.
double best_threshold(const std::vector<double>& scores, std::span<const std::uint8_t> labels) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  const auto inside = std::count_if(labels.begin(), labels.end(), [](auto l) { return l != 0; });
  Confusion counts;
  counts.false_negative = inside;
  double best = -1;
  double threshold = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const bool actual = labels[order[i]] != 0;
    ++(actual ? counts.true_positive : counts.false_positive);
    if (actual) --counts.false_negative;
    const bool last = i + 1 == order.size();
    const double below = last ? scores[order[i]] - 1 : scores[order[i + 1]];
    if (below == scores[order[i]] || counts.f1() <= best) continue;
    best = counts.f1();
    threshold = 0.5 * (scores[order[i]] + below);
  }
  return threshold;
}

/// How many of the candidates are main latents: up to the first that adds no more than tau_fs.
std::int64_t count_main(const std::vector<double>& f1, double tau_fs) {
  std::int64_t count = 1;
  while (count < static_cast<std::int64_t>(f1.size()) &&
         f1[static_cast<std::size_t>(count)] > f1[static_cast<std::size_t>(count - 1)] + tau_fs) {
    ++count;
  }
  return count;
}

/// Whether the first `main` candidates fire on more of the class's words than of the others.
bool carries(const Candidates& held, std::int64_t main) {
  const at::Tensor fires = (held.x.slice(1, 0, main) != 0).any(1).to(at::kDouble);
  const at::Tensor inside = held.inside.to(at::kBool);
  const double others = fires.masked_select(inside.logical_not()).mean().item<double>();
  return fires.masked_select(inside).mean().item<double>() > others;
}

}  // namespace

std::vector<KSparseClass> select_main_latents(const Codes& train, const at::Tensor& train_y,
                                              const Codes& test, const at::Tensor& test_y,
                                              const at::Tensor& l1_weights,
                                              const AbsorptionOptions& options) {
  const at::NoGradGuard no_grad;
  const std::int64_t most = std::min(options.max_k_value, l1_weights.size(1));
  std::vector<KSparseClass> out;
  for (std::int64_t label = 0; label < l1_weights.size(0); ++label) {
    KSparseClass one;
    one.latents = largest(l1_weights[label], most);
    const Candidates seen(train, one.latents, train_y, label);
    const Candidates held(test, one.latents, test_y, label);
    std::vector<LogisticFit> fits;
    for (std::int64_t k = 1; k <= most; ++k) {
      check_interrupt();
      fits.push_back(seen.fit(k));
      one.f1.push_back(held.confusion(held.scores(fits.back()), 0).f1());
    }
    one.main = count_main(one.f1, options.tau_fs);
    const LogisticFit& fit = fits[static_cast<std::size_t>(one.main - 1)];
    const double threshold = best_threshold(seen.scores(fit), seen.labels());
    one.recall = held.confusion(held.scores(fit), threshold).recall();
    one.carried = carries(held, one.main);
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace sae

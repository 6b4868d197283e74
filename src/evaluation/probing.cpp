#include "sae/evaluation/probing.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include "evaluation/encode_all.h"
#include "evaluation/logistic.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/config/findings.h"
#include "sae/evaluation/ranking.h"
#include "sae/metrics/reconstruction.h"
#include "sparse/row_norms.h"

namespace sae {
namespace {

/// Features of the texts of one split, and their labels.
struct Texts {
  Codes x;
  at::Tensor y;  // [N] i64

  Texts rows(const at::Tensor& which) const {
    return {rows_of(x, which), y.index_select(0, which)};
  }
  Texts against_the_rest(std::int64_t label) const { return {x, (y == label).to(at::kLong)}; }
};

Codes raw(const LabelledSplit& split) {
  const Codes x = Codes::from_dense(split.x);
  return split.offsets.defined() ? text_means(x, split.offsets) : x;
}

/// Codes of each text, for decoder rows of norm 1. Texts of many tokens are encoded and averaged a
/// few at a time: their codes together may be far larger than the averages.
Codes encoded(const Autoencoder& sae, const LabelledSplit& split, std::int64_t batch,
              const std::function<void(const at::Tensor&, const Codes&)>& visit = {}) {
  const at::Tensor units = decoder_units(sae.W_dec.detach().to(at::kCPU, at::kFloat));
  const auto encode = [&](const at::Tensor& x) {
    return in_decoder_units(encode_all(sae, x, batch, visit), units);
  };
  if (!split.offsets.defined()) return encode(split.x);
  std::vector<at::Tensor> parts;
  const auto* offset = split.offsets.const_data_ptr<std::int64_t>();
  for (std::int64_t begin = 0; begin < split.samples();) {
    std::int64_t end = begin + 1;
    while (end < split.samples() && offset[end + 1] - offset[begin] <= batch) ++end;
    const Codes codes = encode(split.x.slice(0, offset[begin], offset[end]));
    const at::Tensor own = split.offsets.slice(0, begin, end + 1) - offset[begin];
    parts.push_back(text_means(codes, own).values());
    begin = end;
  }
  return Codes::from_dense(at::cat(parts));
}

/// Everything that is asked about one kind of features in one task.
void probe(const Texts& train, const Texts& test, const std::string& kind,
           const SparseProbingOptions& options, std::uint64_t seed, ProbingTask& task) {
  for (const std::int64_t k : options.k_values) {
    check_interrupt();
    const auto which = top_mean_differences(train.x, train.y, k);
    task.accuracy[kind + "_top_" + std::to_string(k) + "_test_accuracy"] =
        k_sparse_accuracy(train.x, train.y, test.x, test.y, which);
    if (kind == "sae") task.latents.push_back(which);
  }
  if (!options.dense) return;
  BinaryProbeTraining how;
  how.epochs = options.probe_epochs;
  how.batch_size = options.probe_batch_size;
  how.lr = options.probe_lr;
  how.patience = options.patience;
  task.accuracy[kind + "_test_accuracy"] =
      train_binary_probe(train.x, train.y, test.x, test.y, how, seed).test_accuracy;
}

/// In place of what cannot be probed.
void no_probe(const SparseProbingOptions& options, ProbingTask& task) {
  for (const std::int64_t k : options.k_values) {
    task.accuracy["sae_top_" + std::to_string(k) + "_test_accuracy"] = NAN;
  }
  if (options.dense) task.accuracy["sae_test_accuracy"] = NAN;
}

bool is_finite(const Codes& codes) { return codes.values().isfinite().all().item<bool>(); }

}  // namespace

void SparseProbingOptions::check(Findings& findings) const {
  const SparseProbingOptions defaults;
  if (std::set<std::int64_t>(k_values.begin(), k_values.end()).size() < k_values.size()) {
    findings.warn("k_values", "a number stands there twice");
  }
  if (k_values.empty() && !dense) {
    findings.error("k_values", "got an empty list and dense false: there is nothing to probe");
  }
  if (dense) {
    if (patience > probe_epochs && patience != defaults.patience) {
      findings.warn("patience", "got " + std::to_string(patience) + ", above probe_epochs " +
                                    std::to_string(probe_epochs) + ": no probe stops early");
    }
    return;
  }
  if (probe_epochs != defaults.probe_epochs) findings.unused("probe_epochs", "with dense false");
  if (probe_lr != defaults.probe_lr) findings.unused("probe_lr", "with dense false");
  if (patience != defaults.patience) findings.unused("patience", "with dense false");
}

Codes text_means(const Codes& x, const at::Tensor& offsets) {
  const at::NoGradGuard no_grad;
  const at::Tensor lengths = offsets.diff();
  const std::int64_t texts = lengths.size(0);
  const at::Tensor text = at::repeat_interleave(at::arange(texts, at::kLong), lengths);
  at::Tensor sums = at::zeros({texts, x.d_sae()}, x.values().options());
  if (x.is_dense()) {
    sums.index_add_(0, text, x.values());
  } else {
    const at::Tensor of_entry = text.index_select(0, x.pattern()->tokens());
    sums.view({-1}).index_add_(0, of_entry * x.d_sae() + x.pattern()->indices, x.values());
  }
  return Codes::from_dense(sums.div_(lengths.unsqueeze(1)));
}

std::vector<std::int64_t> top_mean_differences(const Codes& x, const at::Tensor& labels,
                                               std::int64_t k) {
  const at::NoGradGuard no_grad;
  const auto mean = [&](std::int64_t label) {
    const Codes part = rows_of(x, at::nonzero(labels == label).squeeze(1));
    return part.sum_per_latent(part.values()) / static_cast<double>(part.batch());
  };
  const at::Tensor difference = (mean(1) - mean(0)).abs().to(at::kDouble).contiguous();
  const auto* size = difference.const_data_ptr<double>();
  std::vector<std::int64_t> order(static_cast<std::size_t>(x.d_sae()));
  std::iota(order.begin(), order.end(), 0);
  const auto count = static_cast<std::ptrdiff_t>(std::min(k, x.d_sae()));
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](std::int64_t a, std::int64_t b) {
                      return size[a] != size[b] ? size[a] > size[b] : a < b;
                    });
  order.resize(static_cast<std::size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

double k_sparse_accuracy(const Codes& train_x, const at::Tensor& train_labels, const Codes& test_x,
                         const at::Tensor& test_labels, const std::vector<std::int64_t>& which) {
  const at::Tensor x = columns(train_x, which).to(at::kFloat).contiguous();
  const at::Tensor inside = train_labels.to(at::kByte).contiguous();
  const LogisticFit fit = fit_logistic(logistic_problem(
      {x.const_data_ptr<float>(), static_cast<std::size_t>(x.numel())},
      {inside.const_data_ptr<std::uint8_t>(), static_cast<std::size_t>(inside.numel())}, false));
  const at::Tensor held = columns(test_x, which).to(at::kDouble);
  const at::Tensor score = at::mv(held, at::tensor(fit.w, at::kDouble)) + fit.b;
  return (score > 0).eq(test_labels.to(at::kBool)).to(at::kDouble).mean().item<double>();
}

at::Tensor balanced_rows(const at::Tensor& y, std::int64_t classes, std::int64_t label,
                         std::uint64_t seed, std::uint64_t draw) {
  const at::Tensor own = at::nonzero(y == label).squeeze(1);
  const std::int64_t wanted = own.size(0);
  const std::int64_t each = (wanted + classes - 2) / (classes - 1);
  std::vector<at::Tensor> others;
  for (std::int64_t other = 0; other < classes; ++other) {
    if (other == label) continue;
    const at::Tensor rows = at::nonzero(y == other).squeeze(1);
    const auto index = draw * static_cast<std::uint64_t>(classes + 1);
    const at::Tensor order =
        random_order(rows.size(0), seed, index + static_cast<std::uint64_t>(other));
    others.push_back(rows.index_select(0, order.slice(0, 0, each)));
  }
  const at::Tensor pool = at::cat(others);
  const auto index = (draw + 1) * static_cast<std::uint64_t>(classes + 1) - 1;
  const at::Tensor order = random_order(pool.size(0), seed, index);
  return at::cat({own, pool.index_select(0, order.slice(0, 0, wanted))});
}

ProbingSubject encode_texts(const Autoencoder& sae, const LabelledActivations& data,
                            std::int64_t batch) {
  const at::NoGradGuard no_grad;
  check_width(data, sae.d_in());
  ReconstructionMetrics metrics(sae.d_sae());
  ProbingSubject subject{raw(data.train),
                         raw(data.test),
                         encoded(sae, data.train, batch),
                         encoded(sae, data.test, batch,
                                 [&](const at::Tensor& x, const Codes& codes) {
                                   metrics.add(x, sae.decode(codes), codes);
                                 }),
                         "",
                         count_samples(data.train),
                         count_samples(data.test)};
  for (const std::string& why : {why_degenerate(subject.train_codes, "training texts"),
                                 why_degenerate(subject.test_codes, "test texts"),
                                 why_degenerate(metrics.values(), sae.d_sae())}) {
    if (subject.degenerate.empty()) subject.degenerate = why;
  }
  return subject;
}

ProbingDataset probe_dataset(const ProbingSubject& subject, const LabelledActivations& data,
                             const SparseProbingOptions& options, std::int64_t seed_value) {
  const at::NoGradGuard no_grad;
  const auto seed = static_cast<std::uint64_t>(seed_value);
  const auto classes = static_cast<std::int64_t>(data.classes.size());
  const std::vector<std::pair<std::string, std::pair<Texts, Texts>>> kinds = {
      {"llm", {{subject.train, data.train.y}, {subject.test, data.test.y}}},
      {"sae", {{subject.train_codes, data.train.y}, {subject.test_codes, data.test.y}}}};
  ProbingDataset dataset;
  dataset.name = data.task;
  dataset.unranked = subject.degenerate;
  dataset.train_texts = subject.train_texts;
  dataset.test_texts = subject.test_texts;
  const bool finite = is_finite(subject.train_codes) && is_finite(subject.test_codes);
  for (std::int64_t label = classes == 2 ? 1 : 0; label < classes; ++label) {
    ProbingTask task;
    task.name = data.classes[static_cast<std::size_t>(label)];
    for (const auto& [kind, splits] : kinds) {
      if (kind == "sae" && !finite) {
        no_probe(options, task);
        continue;
      }
      const auto rest = [&](const Texts& texts, std::uint64_t split) {
        if (classes == 2) return texts;
        const auto draw = 2 * static_cast<std::uint64_t>(label) + split;
        return texts.rows(balanced_rows(texts.y, classes, label, seed, draw))
            .against_the_rest(label);
      };
      const Texts train = rest(splits.first, 0), test = rest(splits.second, 1);
      task.train_texts = train.y.size(0);
      task.test_texts = test.y.size(0);
      probe(train, test, kind, options, seed, task);
    }
    dataset.tasks.push_back(std::move(task));
  }
  return dataset;
}

ProbingDataset probe_dataset(const Autoencoder& sae, const LabelledActivations& data,
                             const SparseProbingOptions& options, std::int64_t seed) {
  return probe_dataset(encode_texts(sae, data, options.batch), data, options, seed);
}

}  // namespace sae

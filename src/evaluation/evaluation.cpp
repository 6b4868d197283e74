#include "sae/evaluation/evaluation.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "data/device_batches.h"
#include "data/shared_source.h"
#include "distributed/agreement.h"
#include "models/over_ranks.h"
#include "sae/base/error.h"
#include "sae/config/findings.h"
#include "sae/evaluation/ranking.h"
#include "sae/metrics/catalogue.h"
#include "sae/metrics/reconstruction.h"

namespace sae {
namespace {

/// Counts latents by log10 of their firing frequency, in bins of a quarter of a decade.
FiringHistogram firing_histogram(const at::Tensor& frequency, std::int64_t tokens) {
  constexpr int kPerDecade = 4;
  const int decades =
      std::max(1, static_cast<int>(std::ceil(std::log10(static_cast<double>(tokens)))));
  FiringHistogram histogram;
  for (int i = -decades * kPerDecade; i <= 0; ++i) {
    histogram.edges.push_back(static_cast<double>(i) / kPerDecade);
  }
  histogram.counts.assign(histogram.edges.size() - 1, 0);
  const at::Tensor values = frequency.contiguous();
  const auto* value = values.const_data_ptr<double>();
  for (std::int64_t i = 0; i < values.size(0); ++i) {
    if (value[i] <= 0) {
      ++histogram.never;
      continue;
    }
    const double place = (std::log10(value[i]) + decades) * kPerDecade;
    const auto last = static_cast<double>(histogram.counts.size() - 1);
    ++histogram.counts[static_cast<std::size_t>(std::clamp(std::floor(place), 0.0, last))];
  }
  return histogram;
}

void add_average(const TruthAverage& average, const char* micro, const char* macro,
                 MetricValues& values) {
  values[micro] = average.micro;
  values[macro] = average.macro;
}

void add_truth(const TruthMetrics& truth, MetricValues& values) {
  values[metric::kTrueL0] = truth.true_l0;
  values[metric::kMcc] = truth.mcc;
  values[metric::kUniqueness] = truth.uniqueness;
  values[metric::kPrecision] = truth.precision;
  values[metric::kRecall] = truth.recall;
  values[metric::kF1] = truth.f1;
  values[metric::kShrinkage] = truth.shrinkage;
  add_average(truth.miss_on, metric::kMissOnMicro, metric::kMissOnMacro, values);
  add_average(truth.miss_off, metric::kMissOffMicro, metric::kMissOffMacro, values);
  add_average(truth.gap, metric::kAbsorptionGapMicro, metric::kAbsorptionGapMacro, values);
  add_average(truth.full, metric::kAbsorptionFullMicro, metric::kAbsorptionFullMacro, values);
  add_average(truth.fraction, metric::kAbsorptionFractionMicro, metric::kAbsorptionFractionMacro,
              values);
  add_average(truth.partial, metric::kPartialAbsorptionMicro, metric::kPartialAbsorptionMacro,
              values);
  values[metric::kAbsorptionParents] = static_cast<double>(truth.full.parents);
  if (truth.missing > 0) values[metric::kAbsorptionMissing] = static_cast<double>(truth.missing);
  values[metric::kAbsorptionCosine] = truth.absorption_cosine;
  values[metric::kHedgingCosine] = truth.hedging_cosine;
}

/// Calls `body(x)` for batches of held-out activations, which are on the autoencoder's device.
void for_held_out(const Autoencoder& sae, const Data& data, std::int64_t tokens, std::int64_t batch,
                  const std::function<void(const at::Tensor&)>& body) {
  const auto source = data.held_out();
  std::optional<SharedSource> shared;  // each rank has its part of the tokens
  if (!sae.spread().is_one()) shared.emplace(*source, sae.spread().mesh(), batch);
  DeviceBatches batches(shared ? *shared : *source, sae.W_enc.device(), batch, tokens);
  for (std::int64_t done = 0; done < tokens; done += batch) {
    body(batches.next().to(sae.W_enc.scalar_type()));
  }
}

/// The same with ground truth; over ranks each has all tokens.
void for_held_out_with_truth(
    const Autoencoder& sae, const Data& data, std::int64_t tokens, std::int64_t batch,
    const std::function<void(const at::Tensor&, const SparseRows&)>& body) {
  const auto source = data.held_out_with_truth();
  std::deque<SparseRows> truth;
  std::int64_t left = tokens;
  SentAhead sent(sae.W_enc.device(), (tokens + batch - 1) / batch, [&] {
    const std::int64_t count = std::min(batch, left);
    left -= count;
    LabelledBatch labelled = source->next_with_truth(count);
    truth.push_back(std::move(labelled.truth));
    return labelled.x;
  });
  for (std::int64_t done = 0; done < tokens; done += batch) {
    const at::Tensor x = sent.next();
    body(x, truth.front());
    truth.pop_front();
  }
}

void check_width(const Autoencoder& sae, const Data& data) {
  if (sae.d_in() == data.d_in) return;
  throw DataError("evaluation data: activations have width " + std::to_string(data.d_in) +
                  ", the autoencoder takes " + std::to_string(sae.d_in()));
}

}  // namespace

void EvalOptions::check(Findings& findings) const {
  if (every == 0 && every_tokens != EvalOptions{}.every_tokens) {
    findings.unused("every_tokens", "with every 0");
  }
}

void EvalOptions::check(Findings& findings, const RunLength& run) const {
  if (every > run.steps) {
    findings.warn("every", "got " + std::to_string(every) + ", the run has " +
                               std::to_string(run.steps) +
                               " steps: there is no evaluation before its end");
  }
}

MetricValues evaluate_reconstruction(const Autoencoder& sae, const Data& data, std::int64_t tokens,
                                     std::int64_t batch, const InputMap& input) {
  const at::NoGradGuard no_grad;
  check_width(sae, data);
  ReconstructionMetrics metrics(sae.d_sae());
  for_held_out(sae, data, data.held_out_at_most(tokens), batch, [&](const at::Tensor& x) {
    const Codes codes = sae.encode(input.apply(x));
    metrics.add(x, input.undo(sae.decode(codes)), codes);
  });
  metrics.join(sae.spread(), TokensOfRanks::kParts);
  return metrics.values();
}

Evaluation evaluate(const Autoencoder& sae, const Data& data, const EvalOptions& options,
                    const BatchVisitor& visit) {
  const at::NoGradGuard no_grad;
  check_width(sae, data);
  Evaluation result;
  ReconstructionMetrics metrics(sae.d_sae());
  const auto measure = [&](const at::Tensor& x) {
    check_interrupt(sae.spread().mesh().world);
    Codes codes = sae.encode(x);
    const at::Tensor x_hat = sae.decode(codes);
    metrics.add(x, x_hat, codes);
    if (visit) visit(x, x_hat, codes);
    return codes;
  };
  if (data.world) {
    const auto cpu = [](const at::Tensor& t) {
      return t.detach().to(at::kCPU, at::kFloat).contiguous();
    };
    const auto all = [&](const at::Tensor& rows) { return cpu(sae.spread().all_latents(rows)); };
    TruthEvaluation truth(data.world, {all(sae.W_dec), cpu(sae.b_dec), all(sae.W_enc)},
                          options.truth);
    for_held_out_with_truth(sae, data, data.held_out_at_most(options.tokens), options.batch,
                            [&](const at::Tensor& x, const SparseRows& of_batch) {
                              const Codes codes = to_cpu(whole(measure(x), sae.spread()));
                              truth.add(of_batch, view_of(codes));
                            });
    TruthMetrics measured = truth.metrics();
    metrics.join(sae.spread(), TokensOfRanks::kAll);
    result.values = metrics.values();
    add_truth(measured, result.values);
    result.parents = std::move(measured.parents);
  } else {
    for_held_out(sae, data, data.held_out_at_most(options.tokens), options.batch, measure);
    metrics.join(sae.spread(), TokensOfRanks::kParts);
    result.values = metrics.values();
  }
  result.tokens = metrics.tokens();
  if (result.tokens < options.tokens) {
    result.notices.push_back(
        {Notice::Kind::kNote, "eval.tokens asks for " + std::to_string(options.tokens) + ", " +
                                  std::to_string(result.tokens) +
                                  " are held out: the evaluation rests on these"});
  }
  result.firing = firing_histogram(metrics.firing_frequency(), metrics.tokens());
  result.degenerate = why_degenerate(result.values, sae.all_latents());
  return result;
}

}  // namespace sae

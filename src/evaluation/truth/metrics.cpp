// From counts to metrics.
#include <algorithm>
#include <cmath>

#include "evaluation/truth/state.h"

namespace sae {

using truth::dot;
using truth::index;
using truth::mean;
using truth::ParentSums;

void TruthEvaluation::State::firing_metrics(TruthMetrics& metrics) const {
  metrics.samples = samples;
  metrics.l0 = mean(static_cast<double>(fired_total), samples);
  metrics.true_l0 = mean(static_cast<double>(true_total), samples);
  metrics.mcc = mcc;
  metrics.matched = std::min(d_sae, world->features());
  metrics.shrinkage = mean(shrinkage_sum, shrinkage_count);
  std::vector<std::int64_t> distinct = best_feature;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  metrics.uniqueness = mean(static_cast<double>(distinct.size()), d_sae);
  std::int64_t silent = 0;
  double precision = 0;
  double recall = 0;
  double f1 = 0;
  for (std::size_t j = 0; j < fired.size(); ++j) {
    const auto hit = static_cast<double>(hits[j]);
    const std::int64_t on = feature_on[index(best_feature[j])];
    silent += fired[j] == 0;
    if (hits[j] == 0) continue;  // all three are 0, or undefined and count as 0
    precision += hit / static_cast<double>(fired[j]);
    recall += hit / static_cast<double>(on);
    f1 += 2 * hit / static_cast<double>(fired[j] + on);
  }
  metrics.never_fired = mean(static_cast<double>(silent), d_sae);
  metrics.precision = mean(precision, d_sae);
  metrics.recall = mean(recall, d_sae);
  metrics.f1 = mean(f1, d_sae);
}

ParentTruth TruthEvaluation::State::parent_truth(std::size_t slot) const {
  const ParentSums& sum = sums[slot];
  ParentTruth parent;
  parent.feature = parents[slot];
  parent.latent = latent_of[index(parent.feature)];
  parent.cosine =
      parent_cosines.const_data_ptr<float>()[slot * index(d_sae) + index(parent.latent)];
  parent.events_on = sum.events[1];
  parent.events_off = sum.events[0];
  parent.miss_on = mean(static_cast<double>(sum.misses[1]), sum.events[1]);
  parent.miss_off = mean(static_cast<double>(sum.misses[0]), sum.events[0]);
  parent.full = mean(static_cast<double>(sum.full), sum.events[1]);
  parent.fraction = mean(sum.fraction, sum.events[1]);
  parent.ratio_on = mean(sum.ratio[1], sum.ratios[1]);
  parent.ratio_off = mean(sum.ratio[0], sum.ratios[0]);
  parent.tracked =
      parent.events_on >= options.min_events && std::abs(parent.cosine) >= options.min_match_cosine;
  const bool fires = sum.misses[0] + sum.misses[1] < sum.events[0] + sum.events[1];
  parent.missing = parent.tracked && !fires && sum.full == 0 && sum.fraction == 0;
  return parent;
}

namespace {

using Rows = std::vector<ParentTruth>;

/// The average of one rate over parents, weighted by that rate's own events for micro.
TruthAverage average(const Rows& rows, double ParentTruth::*rate,
                     std::int64_t ParentTruth::*events) {
  double micro = 0;
  double macro = 0;
  TruthAverage result;
  for (const ParentTruth& row : rows) {
    if (std::isnan(row.*rate)) continue;  // none of its events has this rate
    micro += row.*rate * static_cast<double>(row.*events);
    macro += row.*rate;
    result.events += row.*events;
    ++result.parents;
  }
  result.micro = mean(micro, result.events);
  result.macro = mean(macro, result.parents);
  return result;
}

Rows without_missing(Rows rows) {
  std::erase_if(rows, [](const ParentTruth& row) { return row.missing; });
  return rows;
}

}  // namespace

void TruthEvaluation::State::absorption_metrics(TruthMetrics& metrics) const {
  Rows tracked;
  Rows both;  // ... with enough samples of the parent alone, too
  for (std::size_t slot = 0; slot < parents.size(); ++slot) {
    metrics.parents.push_back(parent_truth(slot));
    const ParentTruth& parent = metrics.parents.back();
    if (!parent.tracked) continue;
    tracked.push_back(parent);
    if (parent.events_off >= options.min_events) both.push_back(parent);
  }
  constexpr auto kOn = &ParentTruth::events_on;
  constexpr auto kOff = &ParentTruth::events_off;
  metrics.miss_on = average(tracked, &ParentTruth::miss_on, kOn);
  metrics.miss_off = average(both, &ParentTruth::miss_off, kOff);
  const Rows present = without_missing(tracked);
  metrics.missing = std::ssize(tracked) - std::ssize(present);
  metrics.full = average(present, &ParentTruth::full, kOn);
  metrics.fraction = average(present, &ParentTruth::fraction, kOn);
  metrics.ratio_on = average(tracked, &ParentTruth::ratio_on, kOn);
  metrics.ratio_off = average(both, &ParentTruth::ratio_off, kOff);

  const Rows both_present = without_missing(both);
  const TruthAverage miss_on = average(both_present, &ParentTruth::miss_on, kOn);
  const TruthAverage miss_off = average(both_present, &ParentTruth::miss_off, kOff);
  metrics.gap = {miss_on.micro - miss_off.micro, miss_on.macro - miss_off.macro, miss_on.parents,
                 miss_on.events + miss_off.events};
  const TruthAverage ratio_on = average(both, &ParentTruth::ratio_on, kOn);
  double partial = 0;
  std::int64_t count = 0;
  for (const ParentTruth& parent : both) {
    if (!(parent.ratio_off > 0)) continue;  // never seen alone by its latent
    partial += 1 - parent.ratio_on / parent.ratio_off;
    ++count;
  }
  metrics.partial = {1 - ratio_on.micro / metrics.ratio_off.micro, mean(partial, count), count,
                     ratio_on.events + metrics.ratio_off.events};
}

void TruthEvaluation::State::weight_metrics(TruthMetrics& metrics) const {
  const std::size_t d = index(world->d_in());
  const float* dictionary = world->dictionary().const_data_ptr<float>();
  const float* decoder = W_dec.const_data_ptr<float>();
  const float* encoder = W_enc.defined() ? W_enc.const_data_ptr<float>() : nullptr;
  const auto cosine = [&](std::size_t latent, std::size_t feature) {
    const double product = dot({decoder + latent * d, d}, dictionary + feature * d);
    return norms[latent] > 0 ? product / norms[latent] : 0;
  };
  double absorption = 0;
  double hedging = 0;
  std::int64_t negative = 0;
  for (std::size_t c = 0; c < latent_of.size(); ++c) {
    if (world->tables().parent[c] < 0) continue;
    const std::size_t p = index(world->tables().parent[c]);
    if (latent_of[c] >= 0) {
      absorption += cosine(index(latent_of[c]), p);
      ++metrics.absorption_pairs;
    }
    if (latent_of[p] >= 0) {
      const std::size_t latent = index(latent_of[p]);
      hedging += std::max(0.0, cosine(latent, c));
      if (encoder != nullptr) {
        negative += dot({encoder + latent * d, d}, dictionary + c * d) < 0;
      }
      ++metrics.hedging_pairs;
    }
  }
  metrics.absorption_cosine = mean(absorption, metrics.absorption_pairs);
  metrics.hedging_cosine = mean(hedging, metrics.hedging_pairs);
  metrics.encoder_negative =
      mean(static_cast<double>(negative), encoder != nullptr ? metrics.hedging_pairs : 0);
}

TruthMetrics TruthEvaluation::metrics() const {
  TruthMetrics metrics;
  state_->firing_metrics(metrics);
  state_->absorption_metrics(metrics);
  state_->weight_metrics(metrics);
  return metrics;
}

}  // namespace sae

// Whether latents fire as often as they should.
#include <algorithm>
#include <cmath>
#include <optional>

#include "sae/models/matryoshka.h"
#include "tools/diagnose/checks.h"

namespace sae::diagnose {
namespace {

/// What revives latents in this architecture, by the options that it has.
std::string how_to_revive(const RunRecord& run) {
  std::string change;
  const auto add = [&](const std::string& text) { change += (change.empty() ? "" : "; ") + text; };
  if (run.mask && run.mask->draw == MaskDraw::kBernoulli) {
    add("the mask is too aggressive: lower model.mask.threshold (" + brief(run.mask->threshold) +
        ") or model.mask.relaxed_threshold (" + brief(run.mask->relaxed_threshold) + ")");
  }
  if (const auto aux = run.model_number("aux_coefficient")) {
    add(*aux > 0 ? "lower model.dead_after_tokens, so that AuxK acts sooner"
                 : "set model.aux_coefficient=0.03125 (AuxK), which is off");
    // Normalised, its weight against the error falls with the square of the inputs' size.
    const auto normalised = run.model.find("aux_normalize");
    if (normalised != run.model.end() && normalised->get<bool>() &&
        run.train.input_norm != InputNorm::kUnit) {
      add("set model.aux_normalize=false, so that AuxK keeps its weight however large inputs are");
    }
  }
  if (run.model.contains("resample_every")) {
    add(run.model_number("resample_every") ? "lower model.resample_every"
                                           : "set model.resample_every, which is off");
  }
  if (const auto pre = run.model_number("preact_coefficient")) {
    add(*pre > 0 ? "raise model.preact_coefficient" : "set model.preact_coefficient=3e-6");
  }
  add("lower train.lr (" + brief(run.train.schedule.lr) +
      "), ask for a higher L0, or use fewer "
      "latents than model.d_sae=" +
      trimmed(run.d_sae(), 0));
  return change;
}

struct MeasuredL0 {
  double value;
  const char* source;
};

MeasuredL0 l0_of(const RunRecord& run) {
  const double held_out = value_in(run.held_out, metric::kL0);
  if (std::isfinite(held_out)) return {held_out, "on held-out data"};
  return {median(series(tail(run.rows), metric::kL0)), "in training"};
}

/// How many latents nested prefixes make dense by design: the shortest prefix serves every token,
/// so of its latents as many as a token has, L0, fire on a large share of all. 0 without nesting.
double nested_allowance(const RunRecord& run, double l0) {
  if (run.mask && run.mask->draw != MaskDraw::kBernoulli) return l0;  // prefixes of any length
  if (!run.model.contains("widths")) return 0;
  const auto shortest =
      static_cast<double>(matryoshka_widths(run.model["widths"].get<std::vector<std::int64_t>>(),
                                            static_cast<std::int64_t>(run.d_sae()))
                              .front());
  return shortest < run.d_sae() ? std::min(l0, shortest) : 0;
}

/// What moves L0 to where it should be.
std::string how_to_steer(const RunRecord& run, double l0, double target) {
  if (run.model_number("k")) {
    return l0 < target ? "fewer latents than model.k are active: train longer, lower model.k or "
                         "raise model.d_sae"
                       : "the inference threshold lags behind: train longer or lower "
                         "model.threshold_decay";
  }
  return l0 > target ? "raise model.sparsity, where steering starts; or raise model.target_rate or "
                       "train longer, so that it gets there"
                     : "lower model.sparsity, where steering starts; or raise model.target_rate or "
                       "train longer, so that it gets there";
}

}  // namespace

Check check_dead(const RunRecord& run, const DiagnoseOptions& limits) {
  // Training has looked at more tokens than the evaluation, once it is past dead_after_tokens.
  const double tokens = static_cast<double>(run.rows.back().step * run.train.batch);
  const double patience = run.model_number("dead_after_tokens").value_or(INFINITY);
  const double dead = value_in(run.rows.back().values, metric::kDead);
  const double never_fired = value_in(run.held_out, metric::kNeverFired);
  const bool use_training = tokens > patience && std::isfinite(dead);
  const double share = use_training ? dead : never_fired;
  if (!std::isfinite(share)) {
    return skipped("dead_latents", "too few tokens yet: a latent is dead after " +
                                       trimmed(patience, 0) + ", the run has seen " +
                                       trimmed(tokens, 0));
  }
  Check check{"dead_latents",
              fired_if(share > limits.dead),
              percent(share) + " of " + trimmed(run.d_sae(), 0) + " latents " +
                  (use_training ? "have been silent for " + trimmed(patience, 0) + " tokens"
                                : "never fired on held-out data"),
              {},
              ""};
  if (use_training) check.evidence.emplace_back(metric::kDead, dead);
  check.evidence.emplace_back("limit", limits.dead);
  if (std::isfinite(never_fired)) check.evidence.emplace_back("eval.never_fired", never_fired);
  if (share > limits.dead) check.change = how_to_revive(run);
  return check;
}

Check check_dense(const RunRecord& run, const DiagnoseOptions& limits) {
  if (!run.firing || run.firing->counts.empty()) {
    return skipped("dense_latents", "there is no final evaluation yet");
  }
  const double l0 = l0_of(run).value;
  const double average = l0 / run.d_sae();
  const double wanted =
      std::max(limits.dense_frequency, std::min(limits.dense_ratio * average, 0.5));
  // The bins are a quarter of a decade wide; those that `wanted` cuts through are not counted.
  double dense = 0;
  double limit = 1;
  for (std::size_t i = 0; i < run.firing->counts.size(); ++i) {
    if (run.firing->edges[i] < std::log10(wanted) - 1e-9) continue;
    limit = std::min(limit, std::pow(10, run.firing->edges[i]));
    dense += static_cast<double>(run.firing->counts[i]);
  }
  const double share = dense / run.d_sae();
  const double nested = nested_allowance(run, l0);
  const double most = limits.dense_share + nested / run.d_sae();
  Check check{"dense_latents",
              fired_if(share > most),
              trimmed(dense, 0) + " of " + trimmed(run.d_sae(), 0) + " latents fire on at least " +
                  percent(limit) + " of the tokens, the average one on " + percent(average),
              {{"dense", dense},
               {"dense_share", share},
               {"frequency", limit},
               {"average_frequency", average},
               {"limit", most}},
              ""};
  if (nested > 0) {
    check.evidence.emplace_back("nested", nested);
    check.found += "; nested prefixes explain up to " + trimmed(nested, 0) + ", as the shortest " +
                   "serves every token";
  }
  if (share > most) {
    check.change =
        "see that b_dec starts at the data's centre (train.b_dec_init) and that no "
        "dimension outweighs the others (sae inspect, train.input_norm); ask for a "
        "lower L0, or for more latents";
  }
  return check;
}

Check check_l0_target(const RunRecord& run, const DiagnoseOptions& limits) {
  const auto k = run.model_number("k");
  const auto target = k ? k : run.model_number("target_l0");
  if (!target) return skipped("l0_target", "the configuration sets no k and no target_l0");
  const MeasuredL0 l0 = l0_of(run);
  const double distance = std::abs(l0.value / *target - 1);
  Check check{"l0_target",
              fired_if(distance > limits.l0_tolerance),
              "L0 is " + brief(l0.value) + " " + l0.source + ", " +
                  (k ? "model.k" : "model.target_l0") + " asks for " + brief(*target),
              {{"l0", l0.value},
               {"target", *target},
               {"distance", distance},
               {"limit", limits.l0_tolerance}},
              ""};
  if (distance > limits.l0_tolerance) check.change = how_to_steer(run, l0.value, *target);
  return check;
}

Check check_l0_width(const RunRecord& run, const DiagnoseOptions& limits) {
  const MeasuredL0 l0 = l0_of(run);
  const double limit = limits.l0_width * run.d_in();
  Check check{"l0_width",
              fired_if(l0.value > limit),
              "L0 is " + brief(l0.value) + " " + l0.source + ", activations have " +
                  trimmed(run.d_in(), 0) + " dimensions",
              {{"l0", l0.value}, {"d_in", run.d_in()}, {"limit", limit}},
              ""};
  if (l0.value > limit) {
    check.change =
        std::string("codes this dense reconstruct without finding features: ") +
        (run.model_number("k") ? "lower model.k" : "raise model.sparsity or set model.target_l0") +
        "; nothing measured here compares with sparser autoencoders";
  }
  return check;
}

}  // namespace sae::diagnose

// Whether an adaptive temporal mask did what it is there for: arXiv 2510.08855's own list of
// failures (statistics still drifting when masking begins, too few latents retained, importance
// that does not converge), and a mask that hides nothing or everything.
#include <algorithm>
#include <cmath>

#include "tools/diagnose/checks.h"

namespace sae::diagnose {
namespace {

std::string nothing_masked_yet(const RunRecord& run) {
  return "no step was logged after the warm-up of " + std::to_string(run.mask->warmup_steps) +
         " steps";
}

/// theta on the steps of one part of the pruning cycle: the parts have different thresholds, so
/// that going from one to the other is no oscillation. The part with more steps is taken.
std::vector<double> theta_of_one_part(const RunRecord& run) {
  std::vector<MetricsRow> pruning;
  std::vector<MetricsRow> relaxed;
  for (const MetricsRow& row : masked_rows(run)) {
    const auto place = static_cast<double>((row.step - 1) % run.mask->cycle);
    const bool prunes = place < run.mask->active_fraction * static_cast<double>(run.mask->cycle);
    (prunes ? pruning : relaxed).push_back(row);
  }
  return series(pruning.size() >= relaxed.size() ? pruning : relaxed, "mask.theta");
}

/// The median distance of a value from the middle of its two neighbours.
double swing_of(const std::vector<double>& values) {
  std::vector<double> distances;
  for (std::size_t i = 1; i + 1 < values.size(); ++i) {
    distances.push_back(std::abs(values[i] - (values[i - 1] + values[i + 1]) / 2));
  }
  return median(distances);
}

std::string how_to_mask_less(const AtmMaskOptions& mask) {
  return "lower model.mask.threshold (" + brief(mask.threshold) + ") or model.mask.rate (" +
         brief(mask.rate) + "), or raise model.mask.min_keep (" + brief(mask.min_keep) + ")";
}

}  // namespace

Check check_mask_share(const RunRecord& run, const DiagnoseOptions& limits) {
  const AtmMaskOptions& mask = *run.mask;
  if (mask.warmup_steps >= run.total_steps) {
    return {"mask_share",
            CheckState::kFired,
            "the mask never begins: its warm-up takes " + std::to_string(mask.warmup_steps) +
                " of " + std::to_string(run.total_steps) + " steps",
            {{"warmup_steps", static_cast<double>(mask.warmup_steps)},
             {"total_steps", static_cast<double>(run.total_steps)}},
            "lower model.mask.warmup_steps or train longer"};
  }
  const std::vector<MetricsRow> rows = masked_rows(run);
  if (rows.empty()) return skipped("mask_share", nothing_masked_yet(run));
  const double masked = median(series(rows, "mask.masked"));
  const double theta = median(series(rows, "mask.theta"));
  const bool nothing = masked <= limits.masked_least;
  // A nested draw keeps few latents on most steps and all of them on some; a ranked one few always.
  const bool collapsed = mask.draw == MaskDraw::kBernoulli && masked >= limits.masked_most;
  Check check{
      "mask_share",
      fired_if(nothing || collapsed),
      "half of the steps mask " + percent(masked) + " of the latents or more",
      {{"mask.masked", masked}, {"least", limits.masked_least}, {"most", limits.masked_most}},
      ""};
  if (std::isfinite(theta)) check.evidence.emplace_back("mask.theta", theta);
  if (nothing) {
    check.change = theta <= 0
                       ? "theta is not positive, which masks nothing: raise "
                         "model.mask.threshold (" +
                             brief(mask.threshold) + ")"
                       : "raise model.mask.threshold (" + brief(mask.threshold) +
                             ") or model.mask.rate (" + brief(mask.rate) +
                             "), or lower model.mask.min_keep (" + brief(mask.min_keep) + ")";
  } else if (collapsed) {
    check.change = how_to_mask_less(mask);
  }
  return check;
}

Check check_mask_warmup(const RunRecord& run, const DiagnoseOptions& limits) {
  const AtmMaskOptions& mask = *run.mask;
  const auto start = std::find_if(run.rows.begin(), run.rows.end(), [&](const MetricsRow& row) {
    return row.step >= mask.warmup_steps && std::isfinite(value_in(row.values, "mask.drift"));
  });
  if (start == run.rows.end()) return skipped("mask_warmup", nothing_masked_yet(run));
  const double drift = value_in(start->values, "mask.drift");
  // Drift falls with time, so that a row from long after the warm-up cannot clear it.
  const double window = 1 / (1 - mask.decay);
  if (drift <= limits.drift_start &&
      static_cast<double>(start->step - mask.warmup_steps) > window) {
    return skipped("mask_warmup", "the warm-up ended at step " + std::to_string(mask.warmup_steps) +
                                      ", the next logged step is " + std::to_string(start->step) +
                                      "; lower train.log_every");
  }
  Check check{"mask_warmup",
              fired_if(drift > limits.drift_start),
              "importance changed by " + percent(drift) + " in a step when masking began (step " +
                  std::to_string(start->step) + ")",
              {{"mask.drift", drift},
               {"step", static_cast<double>(start->step)},
               {"warmup_steps", static_cast<double>(mask.warmup_steps)},
               {"limit", limits.drift_start}},
              ""};
  const double absorbed = value_in(run.held_out, metric::kAbsorptionFullMicro);
  if (std::isfinite(absorbed)) check.evidence.emplace_back("absorption_full_micro", absorbed);
  if (drift <= limits.drift_start) return check;
  const auto calm = std::find_if(start, run.rows.end(), [&](const MetricsRow& row) {
    return value_in(row.values, "mask.drift") <= limits.drift_start;
  });
  const double enough = calm != run.rows.end() ? static_cast<double>(calm->step) : 3 * window;
  check.change =
      "the mask acts on statistics that are not settled, and features stay absorbed: "
      "raise model.mask.warmup_steps (" +
      std::to_string(mask.warmup_steps) + ") to " +
      trimmed(std::max(enough, static_cast<double>(start->step + 1)), 0) + " or more";
  return check;
}

Check check_mask_importance(const RunRecord& run, const DiagnoseOptions& limits) {
  const std::vector<double> drifts = series(tail(run.rows), "mask.drift");
  if (drifts.empty()) return skipped("mask_importance", "no drift of importance was logged");
  const double drift = median(drifts);
  const double decay = run.mask->decay;
  Check check{"mask_importance",
              fired_if(drift > limits.drift),
              "importance changes by " + percent(drift) + " a step in the last quarter of the log",
              {{"mask.drift", drift}, {"limit", limits.drift}, {"decay", decay}},
              ""};
  if (drift > limits.drift) {  // the noise of an average is proportional to 1 - decay
    check.change = "importance does not converge: raise model.mask.decay (" + shortest(decay) +
                   ") to " + trimmed(1 - (1 - decay) * limits.drift / drift, 4) +
                   " or more, or train.batch (" + std::to_string(run.train.batch) + ")";
  }
  return check;
}

Check check_mask_theta(const RunRecord& run, const DiagnoseOptions& limits) {
  if (run.mask->draw != MaskDraw::kBernoulli) {
    return skipped("mask_theta", "a mask by rank has no threshold");
  }
  std::vector<double> theta = theta_of_one_part(run);
  theta.erase(theta.begin(), theta.begin() + static_cast<std::ptrdiff_t>(theta.size() / 2));
  if (theta.size() < 5) {
    return skipped("mask_theta", "fewer than ten masked steps were logged; lower train.log_every");
  }
  const double level = std::abs(mean(theta));
  const double swing = level > 0 ? swing_of(theta) / level : 0;
  Check check{"mask_theta",
              fired_if(swing > limits.theta_swing),
              "theta is " + percent(swing) + " off its neighbours, around " + brief(level) +
                  ", in the second half of the log",
              {{"swing", swing}, {"mask.theta", level}, {"limit", limits.theta_swing}},
              ""};
  if (swing > limits.theta_swing) {
    check.change = "theta oscillates with the noise of single batches: raise model.mask.decay (" +
                   shortest(run.mask->decay) + ") or train.batch (" +
                   std::to_string(run.train.batch) +
                   "); importance 'frequency' is steadier than 'product'";
  }
  return check;
}

Check check_mask_retention(const RunRecord& run, const DiagnoseOptions& limits) {
  if (run.mask->paths != MaskPaths::kMasked || run.mask->draw == MaskDraw::kExpected) {
    return skipped("mask_retention", "the unmasked reconstruction is trained too");
  }
  const std::vector<MetricsRow> rows = masked_rows(run);
  if (rows.empty()) return skipped("mask_retention", nothing_masked_yet(run));
  const double held_out = value_in(run.held_out, metric::kCosine);
  const double cosine =
      std::isfinite(held_out) ? held_out : median(series(tail(run.rows), metric::kCosine));
  const double retained = 1 - mean(series(rows, "mask.masked"));
  const bool fired = cosine < limits.cosine && retained < limits.retained;
  Check check{"mask_retention",
              fired_if(fired),
              "the mask leaves " + percent(retained) + " of the latents; cosine " + brief(cosine),
              {{"cosine", cosine},
               {"retained", retained},
               {"least_cosine", limits.cosine},
               {"least_retained", limits.retained}},
              ""};
  if (fired) {
    check.change =
        run.mask->draw != MaskDraw::kBernoulli
            ? "too few latents are left to reconstruct from: raise model.mask.min_keep "
              "(" +
                  brief(run.mask->min_keep) + ") or set model.mask.paths=both"
            : "too few latents are left to reconstruct from: " + how_to_mask_less(*run.mask);
  }
  return check;
}

}  // namespace sae::diagnose

// Whether training went through, and went well.
#include <algorithm>
#include <cmath>
#include <optional>

#include "tools/diagnose/checks.h"

namespace sae::diagnose {
namespace {

constexpr int kWindow = 5;  // logged rows on either side that a spike is held against

/// The first row whose loss or gradient is not finite.
std::optional<std::int64_t> first_not_finite(const std::vector<MetricsRow>& rows) {
  for (const MetricsRow& row : rows) {
    for (const char* name : {"loss", "nmse", "grad_norm"}) {
      const auto found = row.values.find(name);
      if (found != row.values.end() && !std::isfinite(found->second)) return row.step;
    }
  }
  return {};
}

std::vector<double> last_of(const std::vector<double>& values, std::size_t most) {
  const std::size_t count = std::min(most, values.size());
  return {values.end() - static_cast<std::ptrdiff_t>(count), values.end()};
}

/// How many times the error at `i` is that of its neighbours on either side, whichever is larger.
double spike_at(const std::vector<double>& error, std::ptrdiff_t i) {
  const auto size = static_cast<std::ptrdiff_t>(error.size());
  const auto here = error.begin() + i;
  const double before = median({here - std::min<std::ptrdiff_t>(i, kWindow), here});
  const double after =
      median({here + 1, here + 1 + std::min<std::ptrdiff_t>(size - i - 1, kWindow)});
  return *here / std::max({before, after, 1e-12});
}

}  // namespace

Check check_unfinished(const RunRecord& run) {
  Check check{"unfinished",
              CheckState::kClear,
              "all " + std::to_string(run.step) + " steps done",
              {{"step", static_cast<double>(run.step)},
               {"total_steps", static_cast<double>(run.total_steps)}},
              ""};
  if (run.finished && run.step >= run.total_steps) return check;
  check.state = CheckState::kFired;
  check.found =
      "stopped at step " + std::to_string(run.step) + " of " + std::to_string(run.total_steps);
  if (run.checkpoint) {
    check.evidence.emplace_back("checkpoint_step", static_cast<double>(*run.checkpoint));
    check.found += "; the newest checkpoint holds step " + std::to_string(*run.checkpoint);
    if (*run.checkpoint < run.step) check.found += ", so it was killed or it diverged";
  } else {
    check.found += "; there is no checkpoint";
  }
  const double lr = value_in(run.rows.back().values, "lr");
  check.evidence.emplace_back("lr", lr);
  if (run.train.schedule.lr_decay != LrDecay::kNone && lr >= run.train.schedule.lr) {
    check.found += "; the learning rate had not begun to fall";
  }
  check.change = "go on with: sae train " + (run.folder / "config.json").string() + " --out " +
                 run.folder.string() + " --resume";
  return check;
}

Check check_divergence(const RunRecord& run, const DiagnoseOptions& limits) {
  const std::vector<double> error = series(run.rows, metric::kNmse);
  const double variance = run.finished
                              ? value_in(run.held_out, metric::kExplainedVariance)
                              : median(last_of(series(run.rows, metric::kExplainedVariance), 3));
  const auto not_finite = first_not_finite(run.rows);
  Check check{"divergence", CheckState::kClear, "", {{"explained_variance", variance}}, ""};
  if (!error.empty()) {
    check.evidence.emplace_back("nmse", error.back());
    check.evidence.emplace_back("least_nmse", *std::min_element(error.begin(), error.end()));
  }
  std::vector<double> before = error;
  if (!before.empty()) before.pop_back();
  const double usual = median(last_of(before, kWindow));
  if (not_finite) {
    check.found = "loss or gradient is not finite at step " + std::to_string(*not_finite);
    check.evidence.emplace_back("step", static_cast<double>(*not_finite));
  } else if (variance < 0 && (run.finished || (!error.empty() && error.back() > error.front()))) {
    check.found = "explained variance is " + brief(variance) +
                  ": worse than the mean of the data, which has 0";
  } else if (!run.finished && error.size() > 2 && error.back() > limits.spike * usual) {
    check.found = "the error was rising when it stopped: nmse " + brief(error.back()) +
                  " at step " + std::to_string(run.rows.back().step) + ", " + brief(usual) +
                  " before";
  } else {
    check.found = "explained variance " + brief(variance) + " at the end";
    return check;
  }
  check.state = CheckState::kFired;
  check.change = "lower train.lr (" + brief(run.train.schedule.lr) +
                 "), raise train.lr_warmup_steps or set train.clip_norm=1; look for outliers in "
                 "the data with sae inspect";
  return check;
}

Check check_spikes(const RunRecord& run, const DiagnoseOptions& limits) {
  // The error and not the loss, which under a nested mask jumps with every draw.
  std::vector<double> error;
  std::vector<std::int64_t> step;
  for (const MetricsRow& row : run.rows) {
    const double value = value_in(row.values, metric::kNmse);
    if (!std::isfinite(value)) continue;
    error.push_back(value);
    step.push_back(row.step);
  }
  if (std::ssize(error) < kWindow) {
    return skipped("loss_spikes", "only " + std::to_string(error.size()) +
                                      " steps were logged; lower train.log_every");
  }
  double largest = 0;
  std::ptrdiff_t place = 0;
  std::int64_t count = 0;
  for (std::ptrdiff_t i = 3; i + 1 < std::ssize(error); ++i) {
    const double ratio = spike_at(error, i);
    count += ratio > limits.spike ? 1 : 0;
    if (ratio > largest) {
      largest = ratio;
      place = i;
    }
  }
  const auto at = static_cast<std::size_t>(place);
  Check check{"loss_spikes",
              fired_if(count > 0),
              std::to_string(count) + (count == 1 ? " spike" : " spikes") +
                  "; the largest error is " + brief(largest) +
                  " times that of its neighbours, nmse " + brief(error[at]) + " at step " +
                  std::to_string(step[at]),
              {{"spikes", static_cast<double>(count)},
               {"ratio", largest},
               {"nmse", error[at]},
               {"step", static_cast<double>(step[at])},
               {"limit", limits.spike}},
              ""};
  if (count == 0) return check;
  check.change = "set train.clip_norm=1 or lower train.lr (" + brief(run.train.schedule.lr) +
                 "); look for outliers in the data with sae inspect";
  return check;
}

Check check_gap(const RunRecord& run, const DiagnoseOptions& limits) {
  const double held_out = value_in(run.held_out, metric::kExplainedVariance);
  const std::vector<double> trained = series(tail(run.rows), metric::kExplainedVariance);
  if (!std::isfinite(held_out) || trained.empty()) {
    return skipped("held_out_gap",
                   "not evaluated on held-out data yet; eval.every does it on the "
                   "way");
  }
  const double training = mean(trained);
  const double gap = training - held_out;
  Check check{"held_out_gap",
              fired_if(gap > limits.gap),
              "explained variance " + brief(training) + " in training, " + brief(held_out) +
                  " on held-out data",
              {{"explained_variance", training},
               {"eval.explained_variance", held_out},
               {"gap", gap},
               {"limit", limits.gap}},
              ""};
  if (gap > limits.gap) {
    check.change =
        "train on more tokens of more kinds (fewer passes over the same ones), lower "
        "model.d_sae, or check that held-out data come from the same source";
  }
  return check;
}

}  // namespace sae::diagnose

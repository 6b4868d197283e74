#include "sae/training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "sae/config/findings.h"

namespace sae {

void ScheduleOptions::check(Findings& findings) const {
  const ScheduleOptions defaults;
  if (lr_decay != LrDecay::kNone) return;
  if (lr_decay_share != defaults.lr_decay_share) {
    findings.unused("lr_decay_share", "with lr_decay 'none'");
  }
  if (lr_end != defaults.lr_end) findings.unused("lr_end", "with lr_decay 'none'");
}

void ScheduleOptions::check(Findings& findings, const RunLength& run) const {
  const std::string got = "got " + std::to_string(lr_warmup_steps) + ", the run has " +
                          std::to_string(run.steps) + " steps: ";
  const auto warmup = static_cast<double>(lr_warmup_steps);
  const auto steps = static_cast<double>(run.steps);
  const double decaying = lr_decay == LrDecay::kNone || lr_end == 1 ? 0 : lr_decay_share * steps;
  if (lr_warmup_steps > run.steps) {
    findings.error("lr_warmup_steps",
                   got + "the learning rate never reaches lr; expected at most these");
  } else if (2 * lr_warmup_steps > run.steps) {
    findings.warn("lr_warmup_steps", got + "the learning rate grows for most of the run");
  } else if (lr_warmup_steps > 0 && warmup + decaying > steps) {
    findings.warn("lr_warmup_steps", got + "the decay begins before the learning rate reaches lr",
                  {"lr_decay_share"});
  }
}

double learning_rate(const ScheduleOptions& options, std::int64_t step, std::int64_t steps) {
  double factor = 1;
  if (step < options.lr_warmup_steps) {
    factor = static_cast<double>(step + 1) / static_cast<double>(options.lr_warmup_steps);
  }
  const double decaying = options.lr_decay_share * static_cast<double>(steps);
  const double remaining = static_cast<double>(steps - step);
  if (options.lr_decay != LrDecay::kNone && remaining < decaying) {
    double left = remaining / decaying;  // 1 at the start of the decay, 0 after the last step
    if (options.lr_decay == LrDecay::kCosine)
      left = 0.5 * (1 + std::cos(std::numbers::pi * (1 - left)));
    factor = std::min(factor, options.lr_end + (1 - options.lr_end) * left);
  }
  return options.lr * factor;
}

}  // namespace sae

#include "sae/training/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sae {

double learning_rate(const ScheduleOptions& options, std::int64_t step, std::int64_t steps) {
  double factor = 1;
  if (step < options.lr_warmup_steps) {
    factor = static_cast<double>(step + 1) / static_cast<double>(options.lr_warmup_steps);
  }
  const double decaying = options.lr_decay_share * static_cast<double>(steps);
  const double remaining = static_cast<double>(steps - step);
  if (options.lr_decay != "none" && remaining < decaying) {
    double left = remaining / decaying;  // 1 at the start of the decay, 0 after the last step
    if (options.lr_decay == "cosine") left = 0.5 * (1 + std::cos(std::numbers::pi * (1 - left)));
    factor = std::min(factor, options.lr_end + (1 - options.lr_end) * left);
  }
  return options.lr * factor;
}

}  // namespace sae

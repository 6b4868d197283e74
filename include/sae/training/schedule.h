// Learning-rate schedules: pure functions of the step.
#pragma once

#include <array>
#include <cstdint>

#include "sae/config/fields.h"

namespace sae {

/// How the learning rate falls at the end of training.
enum class LrDecay { kNone, kLinear, kCosine };
constexpr auto names_of(LrDecay) { return std::array{"none", "linear", "cosine"}; }

struct ScheduleOptions {
  double lr = 3e-4;
  std::int64_t lr_warmup_steps = 0;
  LrDecay lr_decay = LrDecay::kLinear;
  double lr_decay_share = 0.2;
  double lr_end = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("lr", self.lr, above(0), "learning rate");
    visit("lr_warmup_steps", self.lr_warmup_steps, at_least(0),
          "steps over which the learning rate grows linearly to lr");
    visit("lr_decay", self.lr_decay, any, "how the learning rate falls at the end of training");
    visit("lr_decay_share", self.lr_decay_share, between(0, 1),
          "share of all steps, at the end, over which it falls");
    visit("lr_end", self.lr_end, between(0, 1), "last learning rate, as a share of lr");
  }

  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;
};

/// The learning rate of step `step` (0 for the first) out of `steps`. Warm-up gives
/// lr (step + 1) / warmup; the decay reaches lr_end * lr one step after the last.
double learning_rate(const ScheduleOptions& options, std::int64_t step, std::int64_t steps);

}  // namespace sae

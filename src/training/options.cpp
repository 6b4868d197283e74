// What the options of training say that contradicts itself or the length of the run.
#include <algorithm>
#include <string>

#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/config/findings.h"
#include "sae/training/trainer.h"

namespace sae {
namespace {

/// The option that leaves the number of steps open, "" for the group, and what is wrong with it.
struct WrongLength {
  const char* key = "";
  std::string what;
};

WrongLength wrong_length(const TrainOptions& options) {
  if (options.steps && options.tokens) {
    return {"", "got both steps and tokens, expected one of them"};
  }
  if (!options.steps && !options.tokens) {
    return {"", "got neither steps nor tokens, expected one of them"};
  }
  if (options.tokens && *options.tokens < options.batch) {
    return {"tokens", "got " + std::to_string(*options.tokens) +
                          ", expected at least one batch of " + std::to_string(options.batch)};
  }
  return {};
}

std::string got_of(std::int64_t value, const RunLength& run) {
  return "got " + std::to_string(value) + ", the run has " + std::to_string(run.steps) + " steps: ";
}

}  // namespace

std::int64_t TrainOptions::total_steps() const {
  const WrongLength wrong = wrong_length(*this);
  if (!wrong.what.empty()) {
    throw ConfigError("train" + std::string(*wrong.key == '\0' ? "" : ".") + wrong.key + ": " +
                      wrong.what);
  }
  return steps ? *steps : *tokens / batch;
}

void TrainOptions::check(Findings& findings) const {
  schedule.check(findings);
  adam.check(findings);
  const WrongLength wrong = wrong_length(*this);
  if (!wrong.what.empty()) findings.error(wrong.key, wrong.what);
  if (accumulate > batch) {
    findings.warn("accumulate", "got " + std::to_string(accumulate) + " parts of a batch of " +
                                    std::to_string(batch) + " tokens: there is one a token");
  }
  const bool calibrates = input_norm != InputNorm::kNone || input_centre != InputCentre::kNone ||
                          b_dec_init != BDecInit::kZero;
  if (!calibrates && calibration_tokens != TrainOptions{}.calibration_tokens) {
    findings.unused("calibration_tokens",
                    "with input_norm and input_centre 'none' and b_dec_init 'zero'");
  }
}

void TrainOptions::check(Findings& findings, const RunLength& run) const {
  const TrainOptions defaults;
  schedule.check(findings, run);
  // Defaults are no one's intention: a short run is only logged at its end, as it should be.
  if (log_every > run.steps && log_every != defaults.log_every) {
    findings.warn("log_every", got_of(log_every, run) + "only the last one is logged");
  }
  if (static_cast<double>(calibration_tokens) > run.tokens() &&
      calibration_tokens != defaults.calibration_tokens) {
    findings.warn("calibration_tokens", "got " + std::to_string(calibration_tokens) +
                                            ", more than the " + trimmed(run.tokens(), 0) +
                                            " tokens of the run");
  }
}

void AdamOptions::check(Findings& findings) const {
  if (beta1 > beta2) {
    findings.warn(
        "beta1",
        "got " + shortest(beta1) + ", above beta2 " + shortest(beta2) + ": they may be swapped",
        {"beta2"});
  }
}

}  // namespace sae

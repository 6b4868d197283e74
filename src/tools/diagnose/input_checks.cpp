// Whether the activations let the metrics of a run say anything.
#include "tools/diagnose/checks.h"

namespace sae::diagnose {
namespace {

constexpr const char* kNotRecorded =
    "the run does not say what its inputs were like; sae inspect looks at a store";

std::vector<std::pair<std::string, double>> evidence_of(const InputStatistics& inputs,
                                                        const char* name, double share,
                                                        double limit) {
  return {{name, share}, {"limit", limit}, {"tokens", static_cast<double>(inputs.tokens)}};
}

}  // namespace

Check check_large_inputs(const RunRecord& run, const DiagnoseOptions& limits) {
  if (!run.inputs) return skipped("large_inputs", kNotRecorded);
  const InputStatistics& inputs = *run.inputs;
  const bool fires = inputs.large_share > limits.large_inputs;
  Check check{"large_inputs", fired_if(fires),
              std::to_string(inputs.large) + " of the first " + std::to_string(inputs.tokens) +
                  " tokens have more than " + trimmed(kLargeNorm, 0) +
                  " times the median norm and hold " + percent(inputs.large_share) +
                  " of the squared norm",
              evidence_of(inputs, "large_share", inputs.large_share, limits.large_inputs), ""};
  check.evidence.emplace_back("large", static_cast<double>(inputs.large));
  if (fires) {
    check.change =
        "explained variance says how well these few are reconstructed, and no more: leave them out "
        "of the store (sae inspect shows them; they are mostly the first positions of contexts, so "
        "harvest with a beginning-of-sequence token in front and without its own row), or rank by "
        "cosine";
  }
  return check;
}

Check check_mean_input(const RunRecord& run, const DiagnoseOptions& limits) {
  if (!run.inputs) return skipped("mean_input", kNotRecorded);
  const InputStatistics& inputs = *run.inputs;
  const bool centred = run.train.input_centre != InputCentre::kNone;
  const bool fires = inputs.mean_share > limits.mean_input && !centred;
  Check check{"mean_input", fired_if(fires),
              "the mean vector of the first " + std::to_string(inputs.tokens) + " tokens holds " +
                  percent(inputs.mean_share) + " of the squared norm" +
                  (centred ? " and is subtracted" : ""),
              evidence_of(inputs, "mean_share", inputs.mean_share, limits.mean_input), ""};
  if (fires) {
    check.change =
        "set train.input_centre=mean: any reconstruction that has the mean gets a good cosine and "
        "NMSE, and input_norm, thresholds and penalties are measured against it; compare "
        "explained variance, which the mean leaves alone";
  }
  return check;
}

}  // namespace sae::diagnose

// The checks of a diagnosis: each looks at one thing in a run's record.
#pragma once

#include <string>
#include <utility>

#include "sae/base/text.h"
#include "sae/metrics/catalogue.h"
#include "sae/models/autoencoder.h"
#include "sae/tools/diagnose.h"
#include "tools/diagnose/record.h"

namespace sae::diagnose {

Check check_unfinished(const RunRecord& run);
Check check_divergence(const RunRecord& run, const DiagnoseOptions& limits);
Check check_spikes(const RunRecord& run, const DiagnoseOptions& limits);
Check check_gap(const RunRecord& run, const DiagnoseOptions& limits);

Check check_large_inputs(const RunRecord& run, const DiagnoseOptions& limits);
Check check_mean_input(const RunRecord& run, const DiagnoseOptions& limits);

Check check_dead(const RunRecord& run, const DiagnoseOptions& limits);
Check check_dense(const RunRecord& run, const DiagnoseOptions& limits);
Check check_l0_target(const RunRecord& run, const DiagnoseOptions& limits);
Check check_l0_width(const RunRecord& run, const DiagnoseOptions& limits);

// Of a run that was evaluated on classes of words.
Check check_words_l0(const RunRecord& run, const DiagnoseOptions& limits);
Check check_words_latents(const RunRecord& run, const DiagnoseOptions& limits);

// Of a run with a mask.
Check check_mask_share(const RunRecord& run, const DiagnoseOptions& limits);
Check check_mask_warmup(const RunRecord& run, const DiagnoseOptions& limits);
Check check_mask_importance(const RunRecord& run, const DiagnoseOptions& limits);
Check check_mask_theta(const RunRecord& run, const DiagnoseOptions& limits);
Check check_mask_retention(const RunRecord& run, const DiagnoseOptions& limits);

// Of an autoencoder without a record.
Check check_zero_rows(const Autoencoder& sae, const DiagnoseOptions& limits);
Check check_twins(const Autoencoder& sae, const DiagnoseOptions& limits);

inline Check skipped(std::string name, std::string why) {
  return {std::move(name), CheckState::kSkipped, std::move(why), {}, ""};
}

inline CheckState fired_if(bool fired) { return fired ? CheckState::kFired : CheckState::kClear; }

/// 0.0712 -> "7.1 %".
inline std::string percent(double share) { return trimmed(100 * share, 1) + " %"; }

}  // namespace sae::diagnose

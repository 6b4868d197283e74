// What a run has to say about its data before it is trained.
#pragma once

#include <optional>
#include <vector>

#include "sae/base/notice.h"
#include "sae/data/data.h"
#include "sae/training/run.h"

namespace sae {

/// How many distinct tokens training, calibration and evaluation rest on, where that is not what
/// the options say, and what is left out.
std::vector<Notice> notices_about(const RunOptions& options, const Data& data);

/// Chooses the kernels that a run wants, and says why where they cannot be had. Among the above.
std::optional<Notice> kernels_for(const RunOptions& options);

/// Warnings about inputs of which the metrics, or the training, say little.
std::vector<Notice> notices_about(const InputStatistics& inputs, const RunOptions& options,
                                  const Data& data);

}  // namespace sae

// summary.json of a finished run, as others read it.
#pragma once

#include <cstdint>
#include <filesystem>

#include "sae/metrics/metric_values.h"

namespace sae {

struct RunSummary {
  std::int64_t steps = 0;
  MetricValues metrics;
  FiringHistogram firing;
  double wall_s = 0;
};

/// Of the run in `folder`, which must be finished; DataError if the file is damaged.
RunSummary read_summary(const std::filesystem::path& folder);

}  // namespace sae

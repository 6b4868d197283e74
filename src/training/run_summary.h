// summary.json of a finished run: written here, read here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "sae/data/fingerprint.h"
#include "sae/metrics/metric_values.h"
#include "sae/training/checkpoint.h"

namespace sae {

struct RunSummary {
  std::int64_t seed = 0;
  std::int64_t steps = 0;
  std::int64_t tokens = 0;                      ///< trained on, repeated ones counted again
  std::optional<std::int64_t> distinct_tokens;  ///< of these; none in the summaries of old
  std::optional<double> passes;                 ///< tokens / those there are; none: they never end
  std::optional<std::int64_t> held_out_tokens;  ///< that the metrics rest on, all distinct
  MetricValues metrics;
  FiringHistogram firing;
  double wall_s = 0;
  std::optional<DataFingerprint> data;
  std::vector<Replanned> replanned;
  std::optional<StartedFrom> started_from;  ///< none: from random weights
};

/// Of the run in `folder`, which must be finished; DataError if the file is damaged.
RunSummary read_summary(const std::filesystem::path& folder);

/// Makes the run in `folder` a finished one; replaces an older summary.
void write_summary(const std::filesystem::path& folder, const RunSummary& summary);

}  // namespace sae

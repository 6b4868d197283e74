// What a run left in its folder, as the checks of a diagnosis read it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sae/metrics/metric_values.h"
#include "sae/metrics/statistics.h"
#include "sae/models/atm_mask.h"
#include "sae/results/results.h"
#include "sae/training/input_statistics.h"
#include "sae/training/trainer.h"

namespace sae::diagnose {

struct RunRecord {
  std::filesystem::path folder;
  nlohmann::ordered_json model;  ///< resolved
  std::optional<AtmMaskOptions> mask;
  TrainOptions train;
  std::int64_t total_steps = 0;

  std::vector<MetricsRow> rows;            ///< of training, at least one
  bool finished = false;                   ///< there is a summary
  std::int64_t step = 0;                   ///< the last that is known to be done
  std::optional<std::int64_t> checkpoint;  ///< step of the newest one, of unfinished runs

  MetricValues held_out;                  ///< final, or the latest; empty: never evaluated
  std::optional<FiringHistogram> firing;  ///< of the final evaluation
  MetricValues words;                     ///< of absorption, in evaluation.json; empty: none there

  std::optional<InputStatistics> inputs;  ///< that it was calibrated on; none in runs of old

  double d_in() const { return model.at("d_in").get<double>(); }
  double d_sae() const { return model.at("d_sae").get<double>(); }
  /// A number of the model group; nothing if it is absent, null or no number.
  std::optional<double> model_number(const char* name) const;
};

/// DataError for anything but the folder of a run that has logged a training step.
RunRecord read_record(const std::filesystem::path& folder);

/// The finite values of a metric, in order.
std::vector<double> series(const std::vector<MetricsRow>& rows, const std::string& name);

/// The last quarter of the rows, rounded up.
std::vector<MetricsRow> tail(const std::vector<MetricsRow>& rows);

/// The rows of steps that were trained under the mask.
std::vector<MetricsRow> masked_rows(const RunRecord& run);

/// A value of a row; NaN if it is not there.
double value_in(const MetricValues& values, const std::string& name);

double mean(const std::vector<double>& values);

}  // namespace sae::diagnose

// Metrics by name, as every room from the trainer to the report hands them on.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace sae {

/// Metric name -> value. NaN means "asked for, but has no value here" (null in JSON).
using MetricValues = std::map<std::string, double>;

/// What was logged at one step.
struct MetricsRow {
  std::int64_t step = 0;
  MetricValues values{};

  bool operator==(const MetricsRow& other) const = default;
};

/// Latents counted by log10 of their firing frequency; those that never fired have no logarithm.
struct FiringHistogram {
  std::vector<double> edges;         ///< log10, ascending, one more than counts; empty: no data
  std::vector<std::int64_t> counts;  ///< latents with edges[i] <= log10 frequency < edges[i + 1]
  std::int64_t never = 0;            ///< latents that did not fire at all

  bool operator==(const FiringHistogram& other) const = default;
};

/// A number as JSON has it: null unless it is finite.
nlohmann::ordered_json to_json(double value);
/// An object of numbers, in order of the names.
nlohmann::ordered_json to_json(const MetricValues& values);
/// null reads as NaN; nlohmann's exceptions for anything that is no object of numbers.
MetricValues metric_values_from_json(const nlohmann::ordered_json& object);

/// All latents that the histogram counts.
std::int64_t latents_of(const FiringHistogram& firing);

/// {"edges": [...], "counts": [...], "never": 0}
nlohmann::ordered_json to_json(const FiringHistogram& firing);
/// nlohmann's exceptions for anything else.
FiringHistogram firing_from_json(const nlohmann::ordered_json& object);

}  // namespace sae

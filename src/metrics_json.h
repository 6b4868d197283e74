// Metrics as JSON: an object of numbers in which those that are not finite are null.
#pragma once

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "sae/metrics_log.h"

namespace sae {

inline nlohmann::ordered_json number_json(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

inline nlohmann::ordered_json values_json(const MetricValues& values) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const auto& [name, value] : values) object[name] = number_json(value);
  return object;
}

/// null reads as NaN; nlohmann's exceptions for anything that is no such object.
inline MetricValues values_from_json(const nlohmann::ordered_json& object) {
  MetricValues values;
  for (const auto& [name, value] : object.items()) {
    values[name] = value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
  }
  return values;
}

}  // namespace sae

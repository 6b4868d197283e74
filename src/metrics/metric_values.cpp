#include "sae/metrics/metric_values.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

namespace sae {

using Json = nlohmann::ordered_json;

Json to_json(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json to_json(const MetricValues& values) {
  Json object = Json::object();
  for (const auto& [name, value] : values) object[name] = to_json(value);
  return object;
}

MetricValues metric_values_from_json(const Json& object) {
  MetricValues values;
  for (const auto& [name, value] : object.items()) {
    values[name] = value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
  }
  return values;
}

std::int64_t latents_of(const FiringHistogram& firing) {
  return std::accumulate(firing.counts.begin(), firing.counts.end(), firing.never);
}

FiringHistogram firing_from_json(const Json& object) {
  return {object.at("edges").get<std::vector<double>>(),
          object.at("counts").get<std::vector<std::int64_t>>(),
          object.at("never").get<std::int64_t>()};
}

Json to_json(const FiringHistogram& firing) {
  Json edges = Json::array();
  for (const double edge : firing.edges) edges.push_back(to_json(edge));
  return {{"edges", std::move(edges)}, {"counts", firing.counts}, {"never", firing.never}};
}

}  // namespace sae

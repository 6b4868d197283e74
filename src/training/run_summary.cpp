#include "training/run_summary.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/metrics/metric_values.h"

namespace sae {

RunSummary read_summary(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "summary.json";
  RunSummary out;
  try {
    const auto json = nlohmann::ordered_json::parse(read_file(path));
    out.steps = json.at("steps").get<std::int64_t>();
    out.metrics = metric_values_from_json(json.at("metrics"));
    const auto& firing = json.at("firing");
    out.firing = {firing.at("edges").get<std::vector<double>>(),
                  firing.at("counts").get<std::vector<std::int64_t>>(),
                  firing.at("never").get<std::int64_t>()};
    if (json.contains("wall_s")) out.wall_s = json.at("wall_s").get<double>();
  } catch (const nlohmann::json::exception& error) {
    throw DataError(path.string() + ": damaged: " + error.what());
  }
  return out;
}

}  // namespace sae

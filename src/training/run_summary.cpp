#include "training/run_summary.h"

#include <nlohmann/json.hpp>
#include <string>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/version.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kName = "summary.json";
constexpr const char* kFormat = "sae-summary";
constexpr int kFormatVersion = 1;

template <class T>
void read_if_there(const Json& json, const char* key, std::optional<T>& value) {
  if (json.contains(key)) value = json.at(key).get<T>();
}

template <class T>
void write_if_there(Json& json, const char* key, const std::optional<T>& value) {
  if (value) json[key] = *value;
}

}  // namespace

RunSummary read_summary(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kName;
  RunSummary out;
  try {
    const Json json = Json::parse(read_file(path));
    const Json format = json.value("format", Json(kFormat));
    const Json version = json.value("version", Json(kFormatVersion));
    if (format != kFormat || version != kFormatVersion) {
      throw DataError(path.string() + ": got format " + format.dump() + " version " +
                      version.dump() + ", expected \"" + kFormat + "\" version " +
                      std::to_string(kFormatVersion));
    }
    out.seed = json.value("seed", std::int64_t{0});
    out.steps = json.at("steps").get<std::int64_t>();
    out.tokens = json.value("tokens", std::int64_t{0});
    read_if_there(json, "distinct_tokens", out.distinct_tokens);
    read_if_there(json, "passes", out.passes);
    read_if_there(json, "held_out_tokens", out.held_out_tokens);
    out.metrics = metric_values_from_json(json.at("metrics"));
    out.firing = firing_from_json(json.at("firing"));
    out.wall_s = json.value("wall_s", 0.0);
    if (json.contains("data")) out.data = fingerprint_from_json(json.at("data"));
    if (json.contains("started_from")) out.started_from = started_from_json(json["started_from"]);
    if (json.contains("replanned")) out.replanned = replanned_from_json(json.at("replanned"));
  } catch (const Json::exception& error) {
    throw DataError(path.string() + ": damaged: " + error.what());
  }
  return out;
}

void write_summary(const std::filesystem::path& folder, const RunSummary& summary) {
  Json json{{"format", kFormat},
            {"version", kFormatVersion},
            {"seed", summary.seed},
            {"steps", summary.steps},
            {"tokens", summary.tokens}};
  write_if_there(json, "distinct_tokens", summary.distinct_tokens);
  write_if_there(json, "passes", summary.passes);
  write_if_there(json, "held_out_tokens", summary.held_out_tokens);
  json["metrics"] = to_json(summary.metrics);
  json["firing"] = to_json(summary.firing);
  json["wall_s"] = summary.wall_s;
  json["sae"] = kVersion;
  json["libtorch"] = kTorchVersion;
  if (summary.data) json["data"] = to_json(*summary.data);
  if (summary.started_from) json["started_from"] = to_json(*summary.started_from);
  if (!summary.replanned.empty()) json["replanned"] = to_json(summary.replanned);
  write_file_atomically(folder / kName, json.dump(2) + "\n");
}

}  // namespace sae

#include "training/run_record.h"

#include <functional>
#include <set>
#include <string>

#include "config/fields_json.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/training/run.h"
#include "training/run_options.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kConfig = "config.json";
constexpr const char* kData = "data.json";

/// The first path at which two configurations differ, for a message.
std::string first_difference(const Json& a, const Json& b, const std::string& path = "") {
  if (a == b) return "";
  if (a.is_object() && b.is_object()) {
    std::set<std::string> keys;
    for (const auto& item : a.items()) keys.insert(item.key());
    for (const auto& item : b.items()) keys.insert(item.key());
    for (const std::string& key : keys) {
      const Json left = a.value(key, Json());
      const Json right = b.value(key, Json());
      const std::string found =
          first_difference(left, right, path.empty() ? key : path + "." + key);
      if (!found.empty()) return found;
    }
  }
  return path + " is " + a.dump() + " there and " + b.dump() + " here";
}

/// What must agree for a run to be continued. Where data are known by their content, it does not
/// matter where they lie, and where their features are not known, how those would be measured; how
/// many steps are taken is compared apart.
Json comparable(Json config, bool same_data, bool with_truth) {
  config = run_identity(std::move(config));
  for (const char* key : {"steps", "tokens"}) config["train"].erase(key);
  if (!with_truth) config["eval"].erase("truth");
  if (!same_data) return config;
  for (const char* key : {"path", "held_out_path"}) {
    Json& data = config["data"];
    if (data.contains(key) && data[key].is_string()) data[key] = "";
  }
  return config;
}

void write_if_new(const fs::path& path, const std::string& text) {
  if (!fs::exists(path) || read_file(path) != text) write_file_atomically(path, text);
}

/// What `read` finds in data.json; nothing where there is no such file.
template <class T>
std::optional<T> from_data_record(const fs::path& folder,
                                  const std::function<std::optional<T>(const Json&)>& read) {
  const fs::path path = folder / kData;
  if (!fs::exists(path)) return std::nullopt;
  try {
    const Json json = Json::parse(read_file(path));
    if (json.at("format") != "sae-data" || json.at("version") != 1) {
      throw DataError(path.string() + ": got format " + json.at("format").dump() + " version " +
                      json.at("version").dump() + ", expected \"sae-data\" version 1");
    }
    return read(json);
  } catch (const Json::exception& error) {
    throw DataError(path.string() + ": damaged: " + error.what());
  }
}

}  // namespace

Json run_identity(Json config) {
  config.erase("device");
  config.erase("threads");
  config.erase("distributed");
  return config;
}

bool is_fresh(const fs::path& folder) {
  if (!fs::exists(folder)) return true;
  if (!fs::is_directory(folder)) {
    throw ConfigError(folder.string() + ": exists and is no folder; choose another --out");
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!entry.path().filename().string().starts_with(".")) return false;
  }
  return true;
}

Json recorded_config(const fs::path& folder) {
  if (!fs::exists(folder / kConfig)) {
    throw ConfigError(folder.string() + ": exists and is no run; choose another --out");
  }
  return resolve_run(read_recorded_run(read_config((folder / kConfig).string())));
}

std::optional<DataFingerprint> recorded_data(const fs::path& folder) {
  return from_data_record<DataFingerprint>(folder, fingerprint_from_json);
}

std::optional<InputStatistics> recorded_inputs(const fs::path& folder) {
  return from_data_record<InputStatistics>(folder,
                                           [](const Json& json) -> std::optional<InputStatistics> {
                                             if (!json.contains("inputs")) return std::nullopt;
                                             return input_statistics_from_json(json.at("inputs"));
                                           });
}

void record_run(const fs::path& folder, const Json& config,
                const std::optional<DataFingerprint>& data,
                const std::optional<InputStatistics>& inputs) {
  write_if_new(folder / kConfig, config.dump(2) + "\n");
  if (!data) return;
  Json json{{"format", "sae-data"}, {"version", 1}};
  json.update(to_json(*data));
  if (inputs) json["inputs"] = to_json(*inputs);
  write_if_new(folder / kData, json.dump(2) + "\n");
}

std::int64_t planned_steps(const Json& config) {
  return read_fields<RunTrainOptions>(config_from_json(config, "config").at("train"))
      .train.total_steps();
}

std::optional<DataFingerprint> require_same_run(const fs::path& folder, Json config,
                                                const std::optional<DataFingerprint>& data) {
  const Json before = recorded_config(folder);
  const std::optional<DataFingerprint> known = recorded_data(folder);
  const bool same_data = known && data && same_content(*known, *data);
  if (known && data && !same_data) {
    throw DataError(folder.string() +
                    ": was trained on other data: " + change_of_data(*known, *data) +
                    "; put those data back, or choose another --out");
  }
  if (config["model"]["d_in"].is_null()) config["model"]["d_in"] = before.at("model").at("d_in");
  const bool with_truth = knows_truth(config_from_json(config["data"], "data"));
  const std::string difference = first_difference(comparable(before, same_data, with_truth),
                                                  comparable(config, same_data, with_truth));
  if (!difference.empty()) {
    throw ConfigError(folder.string() + ": is a run of another configuration: " + difference +
                      "; choose another --out");
  }
  if (planned_steps(config) < planned_steps(before)) {
    throw ConfigError(folder.string() + ": is a run of " + std::to_string(planned_steps(before)) +
                      " steps, got " + std::to_string(planned_steps(config)) +
                      ", expected as many or more; raise train.steps, or choose another --out");
  }
  return known;
}

}  // namespace sae

#include "data/store/manifest.h"

#include <cctype>

#include "base/strict_json.h"
#include "data/store/file_facts.h"
#include "sae/base/error.h"
#include "sae/base/files.h"

namespace sae {

namespace fs = std::filesystem;

namespace {

std::int64_t count_of(const nlohmann::json& object, const char* key, const std::string& place) {
  const auto& value = object.at(key);
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT64_MAX) {
    throw DataError(place + ": " + key + " is " + value.dump() + ", expected a count");
  }
  return value.get<std::int64_t>();
}

std::string text_of(const nlohmann::json& object, const char* key, const std::string& place) {
  const auto& value = object.at(key);
  if (!value.is_string()) {
    throw DataError(place + ": " + key + " is " + value.dump() + ", expected a string");
  }
  return value.get<std::string>();
}

StoreManifest::File shard_of(const nlohmann::json& entry, const std::string& place) {
  check_keys(entry, {"file", "tokens"}, {"sha256"}, place);
  StoreManifest::File file{text_of(entry, "file", place), count_of(entry, "tokens", place), ""};
  if (file.name.empty() || file.name != fs::path(file.name).filename().string()) {
    throw DataError(place + ": file " + nlohmann::json(file.name).dump() +
                    " is not the name of a file in this folder");
  }
  if (entry.contains("sha256")) file.sha256 = text_of(entry, "sha256", place);
  return file;
}

}  // namespace

StoreManifest read_store_manifest(const fs::path& path) {
  const std::string place = path.string();
  const nlohmann::json json = parse_strict_json(read_file(path), place);
  if (!json.is_object() || json.value("format", nlohmann::json()) != "sae-activations") {
    throw DataError(place + ": not the manifest of an activation store: no format sae-activations");
  }
  if (json.value("version", nlohmann::json()) != 1) {
    throw DataError(place + ": version " + json.value("version", nlohmann::json()).dump() +
                    ", this program reads version 1");
  }
  check_keys(json, {"format", "version", "d_in", "dtype", "tokens", "shards"},
             {"source", "mean_norm"}, place);
  StoreManifest manifest{.d_in = count_of(json, "d_in", place),
                         .dtype = text_of(json, "dtype", place),
                         .mean_norm = {},
                         .source = json.value("source", nlohmann::json()),
                         .files = {}};
  if (manifest.dtype != "f32" && manifest.dtype != "f16" && manifest.dtype != "bf16") {
    throw DataError(place + ": dtype is '" + manifest.dtype + "', expected f32, f16 or bf16");
  }
  if (json.contains("mean_norm")) {
    if (!json["mean_norm"].is_number()) throw DataError(place + ": mean_norm is not a number");
    manifest.mean_norm = json["mean_norm"].get<double>();
  }
  if (!json["shards"].is_array()) throw DataError(place + ": shards is not a list");
  std::int64_t total = 0;
  for (const auto& entry : json["shards"]) {
    manifest.files.push_back(
        shard_of(entry, place + ": shard " + std::to_string(manifest.files.size())));
    if (__builtin_add_overflow(total, manifest.files.back().tokens, &total)) total = -1;
  }
  if (total != count_of(json, "tokens", place)) {
    throw DataError(place + ": tokens is " + json["tokens"].dump() + ", but its shards have " +
                    std::to_string(total));
  }
  return manifest;
}

void check_shard(const Shard& shard, const StoreManifest& manifest, const StoreManifest::File& file,
                 bool verify) {
  std::string dtype = manifest.dtype;
  for (char& c : dtype) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const std::string found = shard.name() + ": activations is " + shard.dtype + " [" +
                            std::to_string(shard.rows) + ", " + std::to_string(shard.width) +
                            "], manifest says ";
  if (shard.width != manifest.d_in) {
    throw DataError(found + "d_in " + std::to_string(manifest.d_in));
  }
  if (shard.rows != file.tokens) throw DataError(found + std::to_string(file.tokens) + " tokens");
  if (shard.dtype != dtype) throw DataError(found + "dtype " + manifest.dtype);
  if (verify && !file.sha256.empty() && sha256_of(*shard.file) != file.sha256) {
    throw DataError(shard.name() + ": damaged: its SHA-256 is not the one in the manifest");
  }
}

}  // namespace sae

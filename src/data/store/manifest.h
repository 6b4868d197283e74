// The manifest of an activation store, read strictly.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/store/shard.h"

namespace sae {

struct StoreManifest {
  struct File {
    std::string name;
    std::int64_t tokens = 0;
    std::string sha256;  ///< may be empty
  };
  std::int64_t d_in = 0;
  std::string dtype;
  std::optional<double> mean_norm;
  nlohmann::json source;
  std::vector<File> files;
};

/// Throws DataError for anything but a complete manifest of version 1.
StoreManifest read_store_manifest(const std::filesystem::path& path);

/// Throws DataError unless `shard` is what the manifest says; compares checksums if `verify`.
void check_shard(const Shard& shard, const StoreManifest& manifest, const StoreManifest::File& file,
                 bool verify);

}  // namespace sae

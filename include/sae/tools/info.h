// What a path holds, in a few facts: a run, an autoencoder, a store, a checkpoint, a comparison.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace sae {

/// An object of facts; "kind" says what the path is. DataError if it is nothing known, or damaged.
nlohmann::ordered_json describe_path(const std::filesystem::path& path);

}  // namespace sae

// What a path is, in a few facts: a run, an autoencoder of any format, a store, a configuration, a
// log, ...
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace sae {

/// An object of facts; "kind" says what the file or folder is: everything that the commands and
/// scripts make or read is known, and a folder of such things says how many of each it holds.
/// DataError if it is nothing known ("x: is not something sae knows: a folder with a, b"), or
/// damaged.
nlohmann::ordered_json describe_path(const std::filesystem::path& path);

}  // namespace sae

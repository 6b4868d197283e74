// Where the autoencoder is that a command was given.
#pragma once

#include <filesystem>

namespace sae {

/// `path` itself, or of a finished run the autoencoder in it; DataError for an unfinished run.
std::filesystem::path sae_folder(const std::filesystem::path& path);

}  // namespace sae

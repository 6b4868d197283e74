// The names of the folders a file lies in, which some releases keep facts in that their files lack.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sae {

/// "models--Qwen--SAE-Res-...", "snapshots", ..., "layer0.sae.pt" of such a path, links as they are
/// called. Names that no release has, longer than 100 bytes, are left out.
std::vector<std::string> folder_names(const std::filesystem::path& path);

}  // namespace sae

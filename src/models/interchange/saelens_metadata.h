// What SAELens says of an SAE besides its function: `metadata` of cfg.json since 6.0, keys at the
// top level before, some of them under other names.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "models/interchange/plain_sae.h"
#include "models/interchange/tool_config.h"

namespace sae {

/// Whether the folder is one of before 6.0, by the version that cfg.json states or does not.
bool is_old_saelens(const ToolConfig& config);

/// Sets source, origin and notes of `plain` from cfg.json and runner_cfg.json.
void read_saelens_provenance(PlainSae& plain, const ToolConfig& config,
                             const std::filesystem::path& folder);

/// The metadata to write, in SAELens' language.
nlohmann::ordered_json saelens_metadata(const PlainSae& plain, Notes& notes);

/// reshape_activations of cfg.json: "hook_z" where heads are put side by side, else "none".
std::string saelens_reshaping(const PlainSae& plain);

}  // namespace sae

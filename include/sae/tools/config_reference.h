// The reference of every configuration option, from the same lists that read them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace sae {

/// All options of a run's configuration as tables for a terminal, with default, range and meaning.
/// `only`: one architecture ("topk"), or a group ("model", "data", "train", "eval", "compare");
/// empty: everything.
std::string config_reference(const std::string& only = "");

/// JSON Schema (draft 2020-12) of a run's configuration, for editors.
nlohmann::ordered_json config_schema();

}  // namespace sae

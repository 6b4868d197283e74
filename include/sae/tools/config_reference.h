// The reference of every configuration option, from the same lists that read them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace sae {

/// All options of a run's configuration as tables for a terminal, with default, range and meaning.
/// `only`: one architecture ("topk"), or a group ("model", "data", "train", "eval", "compare");
/// empty: everything.
std::string config_reference(const std::string& only = "");

/// What `only` may be.
std::vector<std::string> reference_topics();

/// JSON Schema (draft 2020-12) of a run's configuration, for editors.
nlohmann::ordered_json config_schema();

/// Dotted paths of the options that `sae COMMAND --set` changes, the ones most asked for first;
/// none of commands without --set.
std::vector<std::string> settable_paths(const std::string& command);

}  // namespace sae

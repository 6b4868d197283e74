// JSON of data files (manifests, states), read strictly.
#pragma once

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace sae {

/// Parses `text`. Throws DataError "place:3: ..." with a line number for anything that is not JSON,
/// for a key that appears twice in one object, and for nesting deeper than 64.
nlohmann::json parse_strict_json(std::string_view text, const std::string& place);

/// Throws DataError unless `object` is an object with all of `required` and nothing beyond
/// `required` and `optional`.
void check_keys(const nlohmann::json& object, std::initializer_list<const char*> required,
                std::initializer_list<const char*> optional, const std::string& place);

}  // namespace sae

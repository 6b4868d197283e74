// JSON as Python's json module writes and reads it, which is more than JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sae {

struct PythonJson {
  nlohmann::ordered_json value;
  std::vector<std::string> repeated;  ///< "metadata.model_name": keys given twice; the last counts
};

/// Reads what Python reads: numbers beyond JSON (NaN, Infinity, -Infinity, 1e999) become the
/// strings of these names, halves of surrogate pairs U+FFFD, and of a key given twice the last
/// counts. DataError "place:3: ..." for anything else that is not JSON, and for nesting deeper than
/// 1000.
PythonJson parse_python_json(std::string_view text, const std::string& place);

/// `value` indented by two, with those strings as the numbers that they name.
std::string dump_python_json(const nlohmann::ordered_json& value);

}  // namespace sae

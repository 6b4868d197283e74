// What a struct's `fields` say about its options, as data: for `sae config print` and JSON Schema.
//
// describe_fields<T>() in src/config/fields_json.h makes these from a struct.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "sae/base/shared_json.h"
#include "sae/config/fields.h"

namespace sae {

enum class FieldType { kBool, kInteger, kNumber, kString, kObject, kJson };

/// One option, or a group of them.
struct FieldDoc {
  std::string name;
  FieldType type = FieldType::kJson;  ///< of the elements, for a list
  bool list = false;
  bool nullable = false;  ///< null or absent: not set
  bool required = false;
  Accepts accepts;
  SharedJson default_value;  ///< none when required and for plain objects
  std::string help;
  std::vector<FieldDoc> fields;  ///< what an object (or each object of a list) has
};

/// "a number >= 0 and < 1", "one of a, b, or null", "a list, each an integer >= 1".
std::string expected_text(const FieldDoc& doc);
/// The same without the kind, for values of the right kind: ">= 0 and < 1".
std::string accepted_text(const FieldDoc& doc);

/// One row an option (nested ones with dotted paths under `prefix`): path, default, meaning and
/// accepted values, wrapped to `width` columns.
std::string field_table(const std::vector<FieldDoc>& docs, const std::string& prefix = "",
                        std::size_t width = 80);

/// The JSON Schema (draft 2020-12) of an object with these options and no others.
nlohmann::ordered_json json_schema(const std::vector<FieldDoc>& docs);

/// The schema of an object whose options depend on the string at `key`: one entry a choice.
nlohmann::ordered_json json_schema_by(
    const std::string& key,
    const std::vector<std::pair<std::string, std::vector<FieldDoc>>>& choices);

/// Makes a schema a document of its own: adds $schema and the title.
nlohmann::ordered_json schema_document(const std::string& title, nlohmann::ordered_json schema);

}  // namespace sae

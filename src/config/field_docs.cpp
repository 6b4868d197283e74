#include "sae/config/field_docs.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "sae/base/text.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) {
  constexpr double kExactIntegers = 9007199254740992.0;  // 2^53
  if (std::trunc(value) == value && std::abs(value) < kExactIntegers) {
    return static_cast<std::int64_t>(value);
  }
  return value;
}

std::string range_text(const Range& range) {
  if (range.low == range.high) return "= " + number(range.low).dump();
  std::string text;
  if (std::isfinite(range.low)) text = (range.low_open ? "> " : ">= ") + number(range.low).dump();
  if (std::isfinite(range.high)) {
    text += (text.empty() ? "" : " and ") + std::string(range.high_open ? "< " : "<= ") +
            number(range.high).dump();
  }
  return text;
}

std::string kind_text(FieldType type) {
  switch (type) {
    case FieldType::kBool:
      return "true or false";
    case FieldType::kInteger:
      return "an integer";
    case FieldType::kNumber:
      return "a number";
    case FieldType::kString:
      return "a string";
    case FieldType::kObject:
      return "an object";
    case FieldType::kJson:
      return "any JSON value";
  }
  return "";
}

std::string element_text(const FieldDoc& doc) {
  if (const auto* choice = std::get_if<OneOf>(&doc.accepts))
    return "one of " + joined(choice->names);
  const std::string kind = kind_text(doc.type);
  if (const auto* range = std::get_if<Range>(&doc.accepts)) {
    const std::string text = range_text(*range);
    return text.empty() ? kind : kind + " " + text;
  }
  if (!std::holds_alternative<NonEmpty>(doc.accepts) || doc.list) return kind;
  return doc.type == FieldType::kJson ? "any JSON value but null" : "a non-empty string";
}

struct Row {
  std::string path, value, text;
};

std::string value_text(const FieldDoc& doc) {
  if (doc.required) return "required";
  if (!doc.default_value) return "";
  const Json& value = *doc.default_value;
  if (value.is_object() && !doc.fields.empty()) return "{...}";  // each of them has its own row
  return value.is_string() && value != "" ? value.get<std::string>() : doc.default_value.text();
}

void collect_rows(const std::vector<FieldDoc>& docs, const std::string& prefix,
                  std::vector<Row>& rows) {
  for (const FieldDoc& doc : docs) {
    const std::string path = prefix.empty() ? doc.name : prefix + "." + doc.name;
    const bool group = doc.type == FieldType::kObject && !doc.list && !doc.nullable;
    if (!group || doc.fields.empty()) {
      const std::string expected = "(" + expected_text(doc) + ")";
      rows.push_back(
          {path, value_text(doc), doc.help.empty() ? expected : doc.help + " " + expected});
    }
    collect_rows(doc.fields, doc.list ? path + ".0" : path, rows);
  }
}

void add_range(const Range& range, Json& schema) {
  if (std::isfinite(range.low)) {
    schema[range.low_open ? "exclusiveMinimum" : "minimum"] = number(range.low);
  }
  if (std::isfinite(range.high)) {
    schema[range.high_open ? "exclusiveMaximum" : "maximum"] = number(range.high);
  }
}

Json element_schema(const FieldDoc& doc) {
  if (doc.type == FieldType::kJson) return Json::object();
  if (doc.type == FieldType::kObject) return json_schema(doc.fields);
  Json schema;
  schema["type"] = doc.type == FieldType::kBool      ? "boolean"
                   : doc.type == FieldType::kInteger ? "integer"
                   : doc.type == FieldType::kNumber  ? "number"
                                                     : "string";
  if (const auto* range = std::get_if<Range>(&doc.accepts)) add_range(*range, schema);
  if (const auto* choice = std::get_if<OneOf>(&doc.accepts)) schema["enum"] = choice->names;
  if (std::holds_alternative<NonEmpty>(doc.accepts) && !doc.list) schema["minLength"] = 1;
  return schema;
}

Json field_schema(const FieldDoc& doc) {
  Json schema = element_schema(doc);
  if (doc.list) {
    Json list = {{"type", "array"}, {"items", std::move(schema)}};
    if (std::holds_alternative<NonEmpty>(doc.accepts)) list["minItems"] = 1;
    schema = std::move(list);
  }
  if (doc.nullable && schema.contains("type")) {
    schema["type"] = Json::array({schema["type"], "null"});
    if (schema.contains("enum")) schema["enum"].push_back(nullptr);
  }
  if (!doc.help.empty()) schema["description"] = doc.help;
  if (doc.default_value) schema["default"] = *doc.default_value;
  return schema;
}

}  // namespace

std::string accepted_text(const FieldDoc& doc) {
  if (const auto* range = std::get_if<Range>(&doc.accepts); range && !doc.list) {
    const std::string text = range_text(*range);
    if (!text.empty()) return text;
  }
  return expected_text(doc);
}

std::string expected_text(const FieldDoc& doc) {
  std::string text = element_text(doc);
  if (doc.list) {
    const bool filled = std::holds_alternative<NonEmpty>(doc.accepts);
    text = (filled ? "a non-empty list, each " : "a list, each ") + text;
  }
  return doc.nullable ? text + ", or null" : text;
}

std::string field_table(const std::vector<FieldDoc>& docs, const std::string& prefix,
                        std::size_t width) {
  constexpr std::size_t kPathWidth = 30;
  constexpr std::size_t kValueWidth = 14;
  std::vector<Row> rows;
  collect_rows(docs, prefix, rows);
  std::size_t path_width = 0;
  std::size_t value_width = 0;
  for (const Row& row : rows) {
    if (row.path.size() <= kPathWidth) path_width = std::max(path_width, row.path.size());
    if (row.value.size() <= kValueWidth) value_width = std::max(value_width, row.value.size());
  }
  const std::size_t indent = path_width + value_width + 4;
  std::string table;
  for (const Row& row : rows) {
    std::string line = row.path;
    line.resize(std::max(line.size(), path_width), ' ');
    line += "  " + row.value;
    for (const std::string& text : wrapped(row.text, width > indent + 20 ? width - indent : 20)) {
      if (line.size() + 2 > indent) {  // a long path or default, or a further line of text
        table += line + "\n";
        line.clear();
      }
      line.resize(indent, ' ');
      line += text;
    }
    table += line + "\n";
  }
  return table;
}

Json json_schema(const std::vector<FieldDoc>& docs) {
  Json schema = {{"type", "object"}, {"properties", Json::object()}};
  Json required = Json::array();
  for (const FieldDoc& doc : docs) {
    schema["properties"][doc.name] = field_schema(doc);
    if (doc.required) required.push_back(doc.name);
  }
  if (!required.empty()) schema["required"] = std::move(required);
  schema["additionalProperties"] = false;
  return schema;
}

Json json_schema_by(const std::string& key,
                    const std::vector<std::pair<std::string, std::vector<FieldDoc>>>& choices) {
  Json alternatives = Json::array();
  for (const auto& [name, docs] : choices) {
    FieldDoc discriminator;
    discriminator.name = key;
    std::vector<FieldDoc> all{discriminator};
    for (const FieldDoc& doc : docs) {
      if (doc.name == key) {
        all.front() = doc;
      } else {
        all.push_back(doc);
      }
    }
    all.front().required = true;
    Json schema = json_schema(all);
    Json constant = {{"const", name}};
    if (!all.front().help.empty()) constant["description"] = all.front().help;
    schema["properties"][key] = std::move(constant);
    alternatives.push_back(std::move(schema));
  }
  return {{"type", "object"}, {"oneOf", std::move(alternatives)}};
}

Json schema_document(const std::string& title, Json schema) {
  Json document = {{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", title}};
  for (auto& [key, value] : schema.items()) document[key] = std::move(value);
  return document;
}

}  // namespace sae

// Typed values and their messages: the part of fields_json.h that needs no templates.
#include "config/fields_json.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "config/config_entry.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae::fields_detail {
namespace {

constexpr double kExactIntegers = 9007199254740992.0;  // 2^53: every integer below is a double

[[noreturn]] void fail_kind(const ConfigNode& node, const FieldDoc& doc) {
  node.fail("got " + node.got() + ", expected " + expected_text(doc));
}

void require(const ConfigNode& node, const std::string& wrong) {
  if (!wrong.empty()) node.fail(wrong);
}

std::string out_of_range(const FieldDoc& doc, const std::string& got) {
  return "got " + got + ", expected " + accepted_text(doc);
}

bool in_range(const FieldDoc& doc, double value) {
  const Range* range = std::get_if<Range>(&doc.accepts);
  return std::isfinite(value) && (!range || range->contains(value));
}

}  // namespace

FieldDoc element_of(const FieldDoc& list) {
  FieldDoc element = list;
  element.list = element.nullable = false;
  if (std::holds_alternative<NonEmpty>(list.accepts)) element.accepts = any;
  return element;
}

void read_scalar(const ConfigNode& node, const FieldDoc& doc, bool& value) {
  const Json& scalar = node.entry()->scalar;
  if (!scalar.is_boolean()) fail_kind(node, doc);
  value = scalar.get<bool>();
}

void read_scalar(const ConfigNode& node, const FieldDoc& doc, std::int64_t& value) {
  const Json& scalar = node.entry()->scalar;
  if (scalar.is_number_float()) {
    const double number = scalar.get<double>();
    if (std::trunc(number) != number) fail_kind(node, doc);
    if (std::abs(number) > kExactIntegers) {
      node.fail("got " + node.got() + ", expected an integer above 2^53 to be written in digits " +
                "and to fit 64 bits");
    }
    value = static_cast<std::int64_t>(number);
  } else if (scalar.is_number_unsigned() && scalar.get<std::uint64_t>() > INT64_MAX) {
    node.fail("got " + node.got() + ", expected an integer below 2^63");
  } else if (scalar.is_number_integer()) {
    value = scalar.get<std::int64_t>();
  } else {
    fail_kind(node, doc);
  }
  if (!in_range(doc, static_cast<double>(value))) node.fail(out_of_range(doc, node.got()));
}

void read_scalar(const ConfigNode& node, const FieldDoc& doc, double& value) {
  const Json& scalar = node.entry()->scalar;
  if (!scalar.is_number()) fail_kind(node, doc);
  value = scalar.get<double>();
  if (!in_range(doc, value)) node.fail(out_of_range(doc, node.got()));
}

void read_scalar(const ConfigNode& node, const FieldDoc& doc, std::string& value) {
  const Json& scalar = node.entry()->scalar;
  if (!scalar.is_string()) {
    const bool from_shell = node.entry()->source->starts_with("--set ");
    if (from_shell && scalar.is_number()) {
      node.fail("got " + node.got() + ", expected a string; write '\"" + node.got() + "\"'");
    }
    fail_kind(node, doc);
  }
  value = scalar.get<std::string>();
  require(node, complaint(doc, value));
}

void read_scalar(const ConfigNode& node, const FieldDoc& doc, Json& value) {
  value = node.json();
  require(node, complaint(doc, value));
}

std::string complaint(const FieldDoc&, bool) { return ""; }

std::string complaint(const FieldDoc& doc, std::int64_t value) {
  return in_range(doc, static_cast<double>(value)) ? "" : out_of_range(doc, std::to_string(value));
}

std::string complaint(const FieldDoc& doc, double value) {
  if (in_range(doc, value)) return "";
  if (std::isfinite(value)) return out_of_range(doc, Json(value).dump());
  const std::string got = std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  return "got " + got + ", expected " + expected_text(doc);
}

std::string complaint(const FieldDoc& doc, const std::string& value) {
  if (std::holds_alternative<NonEmpty>(doc.accepts)) {
    return value.empty() ? out_of_range(doc, "\"\"") : "";
  }
  const OneOf* choice = std::get_if<OneOf>(&doc.accepts);
  if (!choice) return "";
  const std::vector<std::string>& names = choice->names;
  if (std::find(names.begin(), names.end(), value) != names.end()) return "";
  return out_of_range(doc, sae::quoted(value)) + did_you_mean(value, names);
}

std::string complaint(const FieldDoc& doc, const Json& value) {
  const bool unset = value.is_null() && std::holds_alternative<NonEmpty>(doc.accepts);
  return unset ? out_of_range(doc, "null") : "";
}

std::string complaint_empty_list(const FieldDoc& doc) {
  if (!std::holds_alternative<NonEmpty>(doc.accepts)) return "";
  return "got an empty list, expected " + expected_text(doc);
}

void require_array(const ConfigNode& node, const FieldDoc& doc) {
  if (!node.is_array()) fail_kind(node, doc);
}

void require_known_keys(const ConfigNode& node, const std::vector<std::string>& known) {
  if (!node.is_object()) node.fail("got " + node.got() + ", expected an object");
  const auto require_known = [&](const std::string& key, const std::string& place) {
    constexpr std::size_t kListLength = 160;
    if (std::find(known.begin(), known.end(), key) != known.end()) return;
    std::string hint = did_you_mean(key, known);
    if (hint.empty() && !known.empty()) hint = "; known keys: " + joined(known);
    throw ConfigError(place + ": unknown key" + (hint.size() > kListLength ? "" : hint));
  };
  for (const std::string& key : node.keys()) require_known(key, node.place(key));
  for (const std::string& key : node.entry()->removed) {
    require_known(key, "--set " + join_path(node.path(), key));
  }
}

void fail_missing(const ConfigNode& parent, const FieldDoc& doc) {
  throw ConfigError(parent.place(doc.name) + ": missing; expected " + expected_text(doc));
}

void fail_check(const std::string& place, const std::string& complaint) {
  throw std::invalid_argument(place + ": " + complaint);
}

ConfigNode absent_object(const ConfigNode& parent, std::string_view key) {
  auto entry = std::make_shared<ConfigNode::Entry>();
  entry->kind = ConfigNode::Entry::Kind::kObject;
  entry->source = parent.entry()->source;
  entry->line = parent.entry()->line;
  return {std::move(entry), join_path(parent.path(), key)};
}

}  // namespace sae::fields_detail

// Overriding single values of a document: --set, and the axes of a comparison.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "config/config_entry.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {
namespace {

using Entry = ConfigNode::Entry;
using Kind = Entry::Kind;
using Json = nlohmann::ordered_json;

void require_utf8(std::string_view text, const std::string& name, const std::string& what) {
  try {
    Json(std::string(text)).dump();
  } catch (const Json::exception&) {
    throw ConfigError(name + ": the " + what + " is not UTF-8");
  }
}

std::vector<std::string> split_path(std::string_view path, const std::string& name) {
  require_utf8(path, name, "path");
  std::vector<std::string> keys;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    if (end == begin) {
      throw ConfigError(name + ": empty key in the path; expected a path like train.lr");
    }
    keys.emplace_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  if (keys.size() > static_cast<std::size_t>(kMaxConfigDepth)) {
    throw ConfigError(name + ": nested more than " + std::to_string(kMaxConfigDepth) + " deep");
  }
  return keys;
}

/// The item of `entry` that `key` names, made when an object lacks it.
Entry::Pointer& item_for(Entry& entry, const std::string& key, const ConfigNode& node,
                         const std::string& name) {
  if (entry.kind == Kind::kObject) {
    for (auto& [known, item] : entry.items) {
      if (known == key) return item;
    }
    return entry.items.emplace_back(key, nullptr).second;
  }
  const std::string where = node.path().empty() ? "the document" : node.path();
  if (entry.kind == Kind::kScalar) {
    throw ConfigError(name + ": " + where + " is " + node.got() + ", expected an object");
  }
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
  if (error != std::errc() || end != key.data() + key.size() || index >= entry.items.size()) {
    throw ConfigError(name + ": " + where + " has no element " + sae::quoted(key) +
                      ", expected an index below " + std::to_string(entry.items.size()));
  }
  return entry.items[index].second;
}

/// A copy of `entry` without what the keys name; shares what is unchanged. What is not there is
/// remembered, so that a misspelt key is found when the options are read.
Entry::Pointer removed(const Entry::Pointer& entry, const std::vector<std::string>& keys,
                       std::size_t depth, const std::string& path, const std::string& name) {
  auto copy = std::make_shared<Entry>(*entry);
  const std::string& key = keys[depth];
  if (entry->kind == Kind::kObject && entry->find(key) == nullptr) {
    copy->removed.push_back(key);
    return copy;
  }
  Entry::Pointer& item = item_for(*copy, key, {copy, path}, name);
  if (depth + 1 < keys.size()) {
    item = removed(item, keys, depth + 1, join_path(path, key), name);
  } else {
    std::erase_if(copy->items, [&](const auto& one) { return &one.second == &item; });
    if (copy->kind == Kind::kObject) copy->removed.push_back(key);
  }
  return copy;
}

/// A copy of `entry` (null: nothing there yet) with `value` below it; shares what is unchanged.
Entry::Pointer replaced(const Entry::Pointer& entry, const std::vector<std::string>& keys,
                        std::size_t depth, const std::string& path, const Entry::Pointer& value,
                        const std::string& name) {
  if (depth == keys.size()) return value;
  const bool nothing = !entry || (entry->kind == Kind::kScalar && entry->scalar.is_null());
  auto copy = nothing ? std::make_shared<Entry>() : std::make_shared<Entry>(*entry);
  if (nothing) {
    copy->kind = Kind::kObject;
    copy->source = value->source;
    copy->line = value->line;
  }
  Entry::Pointer& item = item_for(*copy, keys[depth], {copy, path}, name);
  item = replaced(item, keys, depth + 1, join_path(path, keys[depth]), value, name);
  return copy;
}

bool is_huge_number(const std::string& text) {
  char* end = nullptr;
  const bool number = text.find_first_of("0123456789") != std::string::npos;
  return number && std::isinf(std::strtod(text.c_str(), &end)) && *end == '\0';
}

/// The right side of a --set: JSON if it is JSON, an error if it tries to be, else a string.
Entry::Pointer parse_right_side(std::string_view text, const std::string& name) {
  try {
    return parse_entry(text, name, false, false);
  } catch (const ConfigError&) {
    const bool structured = text.starts_with('{') || text.starts_with('[') || text.starts_with('"');
    if (structured || is_huge_number(std::string(text))) throw;
  }
  require_utf8(text, name, "value");
  auto entry = std::make_shared<Entry>();
  entry->scalar = std::string(text);
  entry->source = std::make_shared<const std::string>(name);
  return entry;
}

}  // namespace

ConfigNode with_value(const ConfigNode& document, std::string_view path, const ConfigNode& value,
                      const std::string& name) {
  const std::vector<std::string> keys = split_path(path, name);
  return {replaced(document.entry(), keys, 0, document.path(), value.entry(), name),
          document.path()};
}

ConfigNode with_set(const ConfigNode& document, std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  const std::string name = "--set " + join_path("", assignment.substr(0, equals));
  if (equals == std::string_view::npos) {
    throw ConfigError(name + ": no '='; expected a path and a value, like train.lr=1e-4");
  }
  const std::string_view path = assignment.substr(0, equals);
  const std::vector<std::string> keys = split_path(path, name);
  if (equals + 1 == assignment.size()) {
    return {removed(document.entry(), keys, 0, document.path(), name), document.path()};
  }
  const Entry::Pointer value = parse_right_side(assignment.substr(equals + 1), name);
  return with_value(document, path, ConfigNode(value, ""), name);
}

}  // namespace sae

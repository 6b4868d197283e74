#include "sae/config/config_node.h"

#include <algorithm>

#include "config/config_entry.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {
namespace {

using Entry = ConfigNode::Entry;
using Kind = Entry::Kind;
using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxQuoted = 60;

std::string origin(const Entry& entry) {
  return entry.line == 0 ? *entry.source : *entry.source + ":" + std::to_string(entry.line);
}

std::string place_of(const Entry& entry, const std::string& path) {
  // "--set model.k" already says which value is meant.
  if (path.empty() || *entry.source == "--set " + path) return origin(entry);
  return origin(entry) + ": " + path;
}

Json to_json(const Entry& entry) {
  if (entry.kind == Kind::kScalar) return entry.scalar;
  Json result = entry.kind == Kind::kObject ? Json::object() : Json::array();
  for (const auto& [key, item] : entry.items) {
    if (entry.kind == Kind::kObject) {
      result[key] = to_json(*item);
    } else {
      result.push_back(to_json(*item));
    }
  }
  return result;
}

Entry::Pointer from_json(const Json& value, const std::shared_ptr<const std::string>& source,
                         int depth) {
  if (depth > kMaxConfigDepth) {
    throw ConfigError(*source + ": nested more than " + std::to_string(kMaxConfigDepth) + " deep");
  }
  auto entry = std::make_shared<Entry>();
  entry->source = source;
  if (!value.is_structured()) {
    entry->scalar = value;
    return entry;
  }
  entry->kind = value.is_object() ? Kind::kObject : Kind::kArray;
  for (const auto& [key, item] : value.items()) {
    entry->items.emplace_back(value.is_object() ? key : "", from_json(item, source, depth + 1));
  }
  return entry;
}

}  // namespace

const Entry::Pointer* Entry::find(std::string_view key) const {
  if (kind != Kind::kObject) return nullptr;
  for (const auto& [name, item] : items) {
    if (name == key) return &item;
  }
  return nullptr;
}

std::string join_path(const std::string& parent, std::string_view key) {
  const std::string shown = sae::quoted(key);
  return (parent.empty() ? "" : parent + ".") + shown.substr(1, shown.size() - 2);
}

ConfigNode::ConfigNode(std::shared_ptr<const Entry> entry, std::string path)
    : entry_(std::move(entry)), path_(std::move(path)) {}

bool ConfigNode::is_null() const {
  return entry_->kind == Kind::kScalar && entry_->scalar.is_null();
}
bool ConfigNode::is_object() const { return entry_->kind == Kind::kObject; }
bool ConfigNode::is_array() const { return entry_->kind == Kind::kArray; }

std::string ConfigNode::place() const { return place_of(*entry_, path_); }

std::string ConfigNode::place(std::string_view key) const {
  const Entry::Pointer* item = entry_->find(key);
  return place_of(item ? **item : *entry_, join_path(path_, key));
}

void ConfigNode::fail(const std::string& what) const { throw ConfigError(place() + ": " + what); }

bool ConfigNode::has(std::string_view key) const { return entry_->find(key) != nullptr; }

ConfigNode ConfigNode::at(std::string_view key) const {
  if (!is_object()) fail("got " + got() + ", expected an object");
  const Entry::Pointer* item = entry_->find(key);
  if (!item) throw ConfigError(place(key) + ": missing");
  return {*item, join_path(path_, key)};
}

std::vector<std::string> ConfigNode::keys() const {
  std::vector<std::string> result;
  if (!is_object()) return result;
  for (const auto& [key, item] : entry_->items) result.push_back(key);
  return result;
}

ConfigNode ConfigNode::without(const std::vector<std::string>& keys) const {
  auto entry = std::make_shared<Entry>(*entry_);
  const auto named = [&](const std::string& key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  std::erase_if(entry->items, [&](const auto& item) { return named(item.first); });
  std::erase_if(entry->removed, named);
  return {std::move(entry), path_};
}

std::size_t ConfigNode::size() const { return entry_->items.size(); }

ConfigNode ConfigNode::at(std::size_t index) const {
  const auto& [key, item] = entry_->items.at(index);
  return {item, join_path(path_, is_array() ? std::to_string(index) : key)};
}

Json ConfigNode::json() const { return to_json(*entry_); }

std::string ConfigNode::got() const {
  if (is_object()) return "an object";
  if (is_array()) return "an array";
  if (entry_->scalar.is_string()) return sae::quoted(entry_->scalar.get_ref<const std::string&>());
  if (entry_->text.empty()) return entry_->scalar.dump();
  return entry_->text.size() <= kMaxQuoted ? entry_->text
                                           : entry_->text.substr(0, kMaxQuoted) + "...";
}

std::string ConfigNode::string_at(std::string_view key,
                                  const std::vector<std::string>& names) const {
  const std::string expected = names.empty() ? "a string" : "one of " + joined(names);
  if (is_object() && !has(key)) throw ConfigError(place(key) + ": missing; expected " + expected);
  const ConfigNode node = at(key);
  if (!node.entry_->scalar.is_string()) node.fail("got " + node.got() + ", expected " + expected);
  const auto text = node.entry_->scalar.get<std::string>();
  if (names.empty() || std::find(names.begin(), names.end(), text) != names.end()) return text;
  node.fail(expected_one_of(text, names));
}

std::string command_for(const ConfigNode& document) {
  if (document.has("members") || (document.has("base") && !document.has("model"))) return "compare";
  return document.has("cases") && !document.has("model") ? "bench" : "train";
}

void require_command(const ConfigNode& document, const std::string& command) {
  const std::string wanted = command_for(document);
  if (wanted == command) return;
  if (wanted == "compare") document.fail("is a comparison, for: sae compare");
  if (wanted == "bench") document.fail("is a list of measured costs, for: sae bench --check");
  document.fail("is a single run, for: sae train; a comparison has members");
}

ConfigNode config_from_json(const Json& value, std::string name) {
  return {from_json(value, std::make_shared<const std::string>(std::move(name)), 1), ""};
}

ConfigNode merged(const ConfigNode& base, const ConfigNode& changes) {
  if (!base.is_object() || !changes.is_object()) return {changes.entry(), base.path()};
  auto entry = std::make_shared<Entry>(*base.entry());
  for (const auto& [key, change] : changes.entry()->items) {
    const auto same = [&key = key](const auto& item) { return item.first == key; };
    const auto found = std::find_if(entry->items.begin(), entry->items.end(), same);
    if (found == entry->items.end()) {
      entry->items.emplace_back(key, change);
    } else {
      found->second = merged({found->second, ""}, {change, ""}).entry();
    }
  }
  return {std::move(entry), base.path()};
}

}  // namespace sae

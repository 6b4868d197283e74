#include "sae/config/config_node.h"

#include <algorithm>

#include "config/config_entry.h"
#include "sae/base/error.h"

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

std::size_t distance(std::string_view a, std::string_view b) {
  // Optimal string alignment: insertions, deletions, substitutions, swaps of neighbours.
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

std::string lowercase(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

}  // namespace

const Entry::Pointer* Entry::find(std::string_view key) const {
  if (kind != Kind::kObject) return nullptr;
  for (const auto& [name, item] : items) {
    if (name == key) return &item;
  }
  return nullptr;
}

std::string json_quoted(std::string_view text) {
  const bool cut = text.size() > kMaxQuoted;
  const Json shown = std::string(text.substr(0, kMaxQuoted)) + (cut ? "..." : "");
  return shown.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string join_path(const std::string& parent, std::string_view key) {
  const std::string shown = json_quoted(key);
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
  std::erase_if(entry->items, [&](const auto& item) {
    return std::find(keys.begin(), keys.end(), item.first) != keys.end();
  });
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
  if (entry_->scalar.is_string()) return json_quoted(entry_->scalar.get_ref<const std::string&>());
  if (entry_->text.empty()) return entry_->scalar.dump();
  return entry_->text.size() <= kMaxQuoted ? entry_->text
                                           : entry_->text.substr(0, kMaxQuoted) + "...";
}

std::string ConfigNode::string_at(std::string_view key,
                                  const std::vector<std::string>& names) const {
  std::string expected = names.empty() ? "a string" : "one of ";
  for (std::size_t i = 0; i < names.size(); ++i) expected += (i ? ", " : "") + names[i];
  if (is_object() && !has(key)) throw ConfigError(place(key) + ": missing; expected " + expected);
  const ConfigNode node = at(key);
  if (!node.entry_->scalar.is_string()) node.fail("got " + node.got() + ", expected " + expected);
  const auto text = node.entry_->scalar.get<std::string>();
  if (names.empty() || std::find(names.begin(), names.end(), text) != names.end()) return text;
  const std::string near = nearest_name(text, names);
  node.fail("got " + node.got() + ", expected " + expected +
            (near.empty() ? "" : "; did you mean '" + near + "'?"));
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

std::string nearest_name(std::string_view word, const std::vector<std::string>& names) {
  constexpr std::size_t kLongest = 64;
  if (word.empty() || word.size() > kLongest) return "";
  const std::string lower = lowercase(word);
  std::string best;
  std::size_t best_distance = std::string::npos;
  for (const std::string& name : names) {
    const std::size_t limit = std::max<std::size_t>(1, std::max(word.size(), name.size()) / 3);
    const std::size_t d = distance(lower, lowercase(name));
    if (d <= limit && d < word.size() && d < best_distance) {
      best = name;
      best_distance = d;
    }
  }
  if (!best.empty() || word.size() < 3) return best;
  for (const std::string& name : names) {  // "warmup" for "warmup_steps", and the reverse
    if (name.find(lower) != std::string::npos) return name;
    if (name.size() >= 3 && lower.find(name) != std::string::npos) return name;
  }
  return "";
}

}  // namespace sae

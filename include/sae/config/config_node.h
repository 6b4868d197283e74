// Strict JSON configuration: a document in which every value knows its key path and its line.
//
//     ConfigNode config = read_config("configs/atm.json");
//     config = with_set(config, "train.lr=1e-4");          // one --set of the command line
//     ConfigNode model = config.at("model");
//     std::string name = model.string_at("architecture", {"topk", "atm"});
//
// Option structs are read from a node by read_fields (src/config/fields_json.h). Comments (// and
// /* */) are allowed; duplicate keys, NaN, Infinity and numbers beyond a double are not. Every
// function here throws ConfigError, with one line that begins with the place, and nothing else.
#pragma once

#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "sae/base/text.h"

namespace sae {

/// Objects and arrays may be nested this deep.
inline constexpr int kMaxConfigDepth = 64;

/// One value of a document. A cheap handle on immutable data: copy it freely.
class ConfigNode {
 public:
  bool is_null() const;
  bool is_object() const;
  bool is_array() const;

  const std::string& path() const { return path_; }  ///< "model.mask.decay"; the root's is empty

  /// Where to look, for messages: "configs/atm.json:12: model.mask.decay" or "--set model.k".
  std::string place() const;
  /// The place of the key `key`, whether present or not.
  std::string place(std::string_view key) const;

  /// Throws ConfigError("<place>: <what>").
  [[noreturn]] void fail(const std::string& what) const;

  // Objects.
  bool has(std::string_view key) const;       ///< false in anything but an object
  ConfigNode at(std::string_view key) const;  ///< missing or not in an object: ConfigError
  std::vector<std::string> keys() const;      ///< in the order of the document
  ConfigNode without(const std::vector<std::string>& keys) const;  ///< for keys read elsewhere

  /// The string at `key`; with `names`, one of these. Reads a discriminator before its group.
  std::string string_at(std::string_view key, const std::vector<std::string>& names = {}) const;

  // Arrays (and objects): size() children, at(index) in the order of the document.
  std::size_t size() const;
  ConfigNode at(std::size_t index) const;

  nlohmann::ordered_json json() const;  ///< the value, and what is below it
  std::string got() const;              ///< the value as a message quotes it: 1.5, "fast", an array

  struct Entry;  // src/config/config_entry.h
  ConfigNode(std::shared_ptr<const Entry> entry, std::string path);
  const std::shared_ptr<const Entry>& entry() const { return entry_; }

 private:
  std::shared_ptr<const Entry> entry_;
  std::string path_;
};

/// Parses a document whose root is an object. `name` is what messages call the file.
ConfigNode parse_config(std::string_view text, std::string name);

/// Reads and parses a file.
ConfigNode read_config(const std::string& file);

/// The command that a document is written for: "compare" if it has members, "bench" if it has
/// cases, else "train".
std::string command_for(const ConfigNode& document);
/// Throws, and says which command it is for, unless that is `command`.
void require_command(const ConfigNode& document, const std::string& command);

/// A document from a value made in code; messages call its origin `name`.
ConfigNode config_from_json(const nlohmann::ordered_json& value, std::string name);

/// `document` with `--set` applied: "model.k=32", "members.0.name=topk", "model.mask={}". The right
/// side is a JSON value, or else a string; without one ("model.k=") the key is removed, and its
/// default holds. Objects on the way are created.
ConfigNode with_set(const ConfigNode& document, std::string_view assignment);

/// `document` with `value` in place of whatever is at the dotted `path`. The value keeps its line.
/// `name` is what messages about the path itself start with.
ConfigNode with_value(const ConfigNode& document, std::string_view path, const ConfigNode& value,
                      const std::string& name);

/// `base` overridden by `changes`: objects are merged key by key, anything else is replaced.
ConfigNode merged(const ConfigNode& base, const ConfigNode& changes);

}  // namespace sae

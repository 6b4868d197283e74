// What a ConfigNode points at: one value, where it was written, and what is below it.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "sae/config/config_node.h"

namespace sae {

struct ConfigNode::Entry {
  enum class Kind { kScalar, kObject, kArray };
  using Pointer = std::shared_ptr<const Entry>;

  Kind kind = Kind::kScalar;
  nlohmann::ordered_json scalar;                       ///< null in objects and arrays
  std::string text;                                    ///< a floating-point number as written
  std::vector<std::pair<std::string, Pointer>> items;  ///< keys are empty in arrays
  std::vector<std::string> removed;                    ///< keys that a --set took out, or found out
  std::shared_ptr<const std::string> source;           ///< a file, or "--set model.k"
  std::size_t line = 0;                                ///< of the key; 0: no line to name

  const Pointer* find(std::string_view key) const;
};

/// Parses any JSON value; lines are those of `name` when `lines`, and comments may be allowed.
ConfigNode::Entry::Pointer parse_entry(std::string_view text, std::string name, bool lines,
                                       bool comments);

/// `parent.key`, with control characters escaped so that a message stays one line.
std::string join_path(const std::string& parent, std::string_view key);

}  // namespace sae

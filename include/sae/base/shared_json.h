// A JSON value handed from room to room without the JSON library's header.
#pragma once

#include <compare>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace sae {

/// A value that does not change any more, or none. Copies share it; they compare by what it says.
class SharedJson {
 public:
  SharedJson() = default;
  SharedJson(nlohmann::ordered_json value);  // NOLINT(google-explicit-constructor): as it is used

  explicit operator bool() const { return value_ != nullptr; }
  /// std::logic_error without a value.
  const nlohmann::ordered_json& operator*() const;
  const nlohmann::ordered_json* operator->() const { return &**this; }

  std::string text() const;  ///< on one line; empty without a value

  bool operator==(const SharedJson& other) const;
  std::strong_ordering operator<=>(const SharedJson& other) const;  ///< by text

 private:
  std::shared_ptr<const nlohmann::ordered_json> value_;
};

}  // namespace sae

// The JSON configuration of another tool, and what we put into one or find there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/convert/plain_sae.h"

namespace sae {

/// An object of another tool's configuration. Keys that nobody asks for are that tool's business.
/// Every error is a DataError "cfg.json: k is -1, expected an integer from 1 to 64".
class ToolConfig {
 public:
  explicit ToolConfig(const std::filesystem::path& file);  ///< DataError unless a JSON object

  const nlohmann::ordered_json& json() const { return json_; }  ///< in the file's order
  bool has(const char* key) const;                              ///< there, and not null
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high) const;
  double number(const char* key) const;
  std::string string(const char* key) const;
  std::string string_or(const char* key, const std::string& otherwise) const;
  bool flag_or(const char* key, bool otherwise) const;
  ToolConfig object(const char* key) const;  ///< an empty object if it is not there

  [[noreturn]] void fail(const std::string& what) const;

 private:
  ToolConfig(nlohmann::ordered_json json, std::string place);
  [[noreturn]] void fail_at(const char* key, const std::string& expected) const;

  nlohmann::ordered_json json_;
  std::string place_;
};

/// More inputs or latents than any SAE has: a bound for sizes that a file claims.
inline constexpr std::int64_t kLargestSize = std::int64_t{1} << 32;

/// The key under which our own knowledge of an SAE lies in a tool's configuration.
inline constexpr const char* kOwnKey = "sae_cpp";

/// What of `plain` is not weights: {"source", "training", "converted_from"}, as far as known.
nlohmann::ordered_json provenance(const PlainSae& plain);
/// Takes what `provenance` wrote, and ignores anything else.
void take_provenance(PlainSae& plain, const nlohmann::ordered_json& object);

/// Sets hook_name, layer and site of a source from a TransformerLens hook or a module's path:
/// blocks.12.hook_resid_post, model.layers.12, h.3.mlp. What cannot be told stays away.
void set_hook(nlohmann::ordered_json& source, const std::string& hook);

/// The dataset of a source on one line, "wikitext" or "a.txt, b.txt"; empty if unknown.
std::string dataset_name(const nlohmann::ordered_json& source);

}  // namespace sae

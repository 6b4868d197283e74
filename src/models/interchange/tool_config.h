// The JSON configuration of another tool: what concerns the function is read strictly, what only
// informs costs a note.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sae {

/// What could not be taken from files that only inform, a line each, for a person.
using Notes = std::vector<std::string>;

/// An object of another tool's configuration. Keys that nobody asks for are that tool's business.
/// Every error is a DataError "cfg.json: k is -1, expected an integer from 1 to 64".
class ToolConfig {
 public:
  explicit ToolConfig(const std::filesystem::path& file);  ///< DataError unless a JSON object
  /// Of a file that says nothing about the function: nothing if there is none, and nothing with a
  /// note if it is no file, larger than 16 MiB, or holds no JSON object.
  static std::optional<ToolConfig> informing(const std::filesystem::path& file, Notes& notes);

  const nlohmann::ordered_json& json() const { return json_; }  ///< in the file's order
  const std::string& place() const { return place_; }
  bool has(const char* key) const;  ///< there, and not null

  // What the function depends on: DataError for another type, and for a key given twice.
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high) const;
  double number(const char* key) const;
  std::string string(const char* key) const;
  std::string string_or(const char* key, const std::string& otherwise) const;
  bool flag_or(const char* key, bool otherwise) const;
  ToolConfig object(const char* key) const;  ///< an empty object if it is not there

  // What only informs: absent if it is of another type.
  std::string text(const char* key) const;                              ///< or ""
  std::optional<std::int64_t> whole(const char* key) const;             ///< of an integer >= 0
  ToolConfig part(const char* key, Notes& notes) const;                 ///< or {}, with a note
  const std::set<std::string>& repeated() const { return *repeated_; }  ///< paths, from the root

  [[noreturn]] void fail(const std::string& what) const;

 private:
  ToolConfig(nlohmann::ordered_json json, std::string place);
  ToolConfig below(const char* key) const;
  void expect_once(const char* key) const;
  [[noreturn]] void fail_at(const char* key, const std::string& expected) const;

  nlohmann::ordered_json json_;
  std::string place_;
  std::string path_;  // from the root: "", "trainer."
  std::shared_ptr<const std::set<std::string>> repeated_;
};

/// More inputs or latents than any SAE has: a bound for sizes that a file claims.
inline constexpr std::int64_t kLargestSize = std::int64_t{1} << 32;

/// Whether a regular file is there; false for whatever cannot be looked at.
bool is_file(const std::filesystem::path& path);

}  // namespace sae

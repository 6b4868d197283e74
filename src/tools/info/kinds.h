// What describe_path knows: one function each for folders, for files and for JSON documents.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace sae {

struct FoundKind {
  std::string name;  ///< "run"; what "kind" says
  /// Facts beside the kind. DataError if what was found is damaged.
  std::function<nlohmann::ordered_json()> describe;
};

/// The kind of a folder, a file that is no JSON, a file of JSON (comments allowed); none: nothing
/// known. They look at names and beginnings, and throw nothing.
std::optional<FoundKind> folder_kind(const std::filesystem::path& path);
std::optional<FoundKind> file_kind(const std::filesystem::path& path);
std::optional<FoundKind> json_kind(const std::filesystem::path& path);

/// The JSON in a file; DataError with the path.
nlohmann::ordered_json read_json(const std::filesystem::path& path);

/// The facts about an autoencoder of any format.
nlohmann::ordered_json describe_autoencoder(const std::filesystem::path& path);

/// The first row of a table of {name, is, describe} for which `is(subject)` holds.
template <class Table, class Subject>
std::optional<FoundKind> first_kind(const Table& table, const Subject& subject,
                                    const std::filesystem::path& path) {
  for (const auto& row : table) {
    if (row.is(subject)) return FoundKind{row.name, [&row, path] { return row.describe(path); }};
  }
  return std::nullopt;
}

}  // namespace sae

#include "sae/tools/info.h"

#include <algorithm>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/base/text.h"
#include "tools/info/kinds.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t kShown = 8;

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    entries.push_back(entry.path());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

/// "a folder with a, b, c, ...", "a file of 12 bytes".
std::string appearance(const fs::path& path) {
  if (!fs::is_directory(path)) {
    return "a file of " + std::to_string(fs::file_size(path)) + " bytes";
  }
  const std::vector<fs::path> entries = entries_of(path);
  if (entries.empty()) return "an empty folder";
  std::string text = "a folder with ";
  for (std::size_t i = 0; i < std::min(entries.size(), kShown); ++i) {
    text += (i > 0 ? ", " : "") + printable(entries[i].filename().string());
  }
  return text + (entries.size() > kShown ? ", ..." : "");
}

std::optional<FoundKind> kind_of(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return folder_kind(path);
  if (!fs::is_regular_file(path, error)) return std::nullopt;
  if (path.extension() == ".json") return json_kind(path);
  return file_kind(path);
}

/// How many of which kind a folder of folders and files holds; null if it holds nothing known.
Json contents(const fs::path& folder) {
  Json counts = Json::object();
  for (const fs::path& entry : entries_of(folder)) {
    check_interrupt();
    const auto kind = kind_of(entry);
    if (!kind) continue;
    counts[kind->name] = counts.value(kind->name, 0) + 1;
  }
  return counts.empty() ? Json() : counts;
}

}  // namespace

Json describe_path(const fs::path& path) try {
  if (!fs::exists(path)) throw DataError(path.string() + ": no such file or folder");
  if (!fs::is_directory(path) && !fs::is_regular_file(path)) {
    throw DataError(path.string() + ": is neither a file nor a folder");
  }
  if (const auto kind = kind_of(path)) {
    Json facts{{"kind", kind->name}};
    facts.update(kind->describe());
    return facts;
  }
  if (fs::is_directory(path)) {
    if (Json holds = contents(path); !holds.is_null())
      return {{"kind", "folder"}, {"holds", holds}};
  } else if (path.extension() == ".json") {
    read_json(path);  // says where it is damaged
  }
  throw DataError(path.string() + ": is not something sae knows: " + appearance(path));
} catch (const Json::exception& error) {
  throw DataError(path.string() + ": damaged: " + error.what());
}

}  // namespace sae

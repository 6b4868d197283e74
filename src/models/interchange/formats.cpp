#include "models/interchange/formats.h"

#include <algorithm>

#include "sae/base/error.h"
#include "sae/config/config_node.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

std::string names_in(const fs::path& folder) {
  constexpr std::size_t kShown = 8;
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    names.push_back(entry.path().filename().string());
  }
  if (names.empty()) return "nothing";
  std::sort(names.begin(), names.end());
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    text += (i > 0 ? ", " : "") + names[i];
  }
  return text + (names.size() > kShown ? ", ..." : "");
}

const SaeFormat& row_of(const std::string& name, bool written) {
  std::vector<std::string> names;
  for (const SaeFormat& format : sae_formats()) {
    if (written && format.write == nullptr) continue;
    if (format.name == name) return format;
    names.push_back(format.name);
  }
  throw ConfigError("format: " + expected_one_of(name, names));
}

}  // namespace

const std::vector<SaeFormat>& sae_formats() {
  static const std::vector<SaeFormat> table = {
      own_format(),         saelens_format(),    dictionary_learning_format(),
      gemma_scope_format(), sparsify_format(),   gemma_scope_2_format(),
      qwen_scope_format(),  llama_scope_format()};
  return table;
}

const SaeFormat& sae_format(const std::string& name) { return row_of(name, /*written=*/false); }

const SaeFormat& written_format(const std::string& name) { return row_of(name, /*written=*/true); }

const SaeFormat& detect_format(const fs::path& path) {
  if (!fs::exists(path)) throw DataError(path.string() + ": no such file or folder");
  std::string expected;
  for (const SaeFormat& format : sae_formats()) {
    if (format.detect(path)) return format;
    expected += (expected.empty() ? "" : ", or ") + format.contents + " (" + format.name + ")";
  }
  const std::string found = fs::is_directory(path) ? "a folder with " + names_in(path) : "a file";
  throw DataError(path.string() + ": found " + found + ", expected " + expected);
}

}  // namespace sae

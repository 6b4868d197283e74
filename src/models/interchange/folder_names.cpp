#include "models/interchange/folder_names.h"

namespace sae {

std::vector<std::string> folder_names(const std::filesystem::path& path) {
  constexpr std::size_t kLongest = 100;  // std::regex recurses once a character
  std::vector<std::string> names;
  for (const std::filesystem::path& part : std::filesystem::absolute(path).lexically_normal()) {
    if (part.string().size() <= kLongest) names.push_back(part.string());
  }
  return names;
}

}  // namespace sae

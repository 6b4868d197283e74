// For tests of pages and drawings: whether markup is sound, and what is in it.
#pragma once

#include <string>
#include <vector>

namespace sae {

inline std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

/// Whether every tag is closed in order, every attribute quoted, every & an entity. Void HTML
/// elements must be written <meta/>. What comes before the root is not looked at.
inline std::string malformed(const std::string& page, const std::string& root = "<html") {
  std::vector<std::string> open;
  std::size_t at = page.find(root);
  while ((at = page.find_first_of("<&", at)) != std::string::npos) {
    if (page[at] == '&') {
      const std::size_t end = page.find(';', at);
      if (end == std::string::npos || end - at > 6) return "bare & at " + page.substr(at, 40);
      ++at;
      continue;
    }
    bool quoted = false;
    std::size_t end = at + 1;
    for (; end < page.size() && (quoted || page[end] != '>'); ++end) {
      if (page[end] == '"') quoted = !quoted;
      if (page[end] == '<') return "< inside a tag: " + page.substr(at, 60);
    }
    if (end >= page.size()) return "unclosed tag " + page.substr(at, 60);
    const std::string tag = page.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find_first_of(" \n"));
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return "unexpected </" + tag + ">";
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
      if (name == "style") {
        end = page.find("</style>", end) - 1;
      }
    }
    at = end + 1;
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

/// From `from` to before the next `to`; empty without the first.
inline std::string part_of(const std::string& page, const std::string& from,
                           const std::string& to) {
  const auto begin = page.find(from);
  if (begin == std::string::npos) return "";
  return page.substr(begin, page.find(to, begin + 1) - begin);
}

}  // namespace sae

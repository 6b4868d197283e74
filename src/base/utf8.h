// UTF-8 among bytes that may be parts of characters.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sae {

/// How many of the first bytes are a character, or the beginning of one if they end too early.
struct Utf8Head {
  std::size_t bytes = 0;  ///< 0: no character begins so
  bool whole = false;
};
Utf8Head utf8_head(std::string_view bytes);

/// The last bytes, if they begin a character that bytes after them may complete.
std::string_view unfinished(std::string_view bytes);

/// Characters as they are, the bytes between them as "<E6 9D>".
std::string spelt(std::string_view bytes);

}  // namespace sae

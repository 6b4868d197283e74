// Text from a file inside a message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sae {

/// `text` on one line, in ASCII and not too long, whatever it is.
inline std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 100;
  std::string out(text.substr(0, kLongest));
  for (char& c : out) c = c < ' ' || c > '~' ? '?' : c;
  return text.size() > kLongest ? out + "..." : out;
}

}  // namespace sae

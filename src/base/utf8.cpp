#include "base/utf8.h"

#include <algorithm>

namespace sae {
namespace {

/// The Unicode standard, table 3-7: how long the character is that begins with a byte, and what its
/// second byte may be. Neither surrogates nor forms longer than needed are characters.
struct Form {
  std::size_t length = 0;
  unsigned char least = 0x80, greatest = 0xbf;
};

Form form_of(unsigned char first) {
  if (first < 0x80) return {1};
  if (first < 0xc2 || first > 0xf4) return {};
  if (first < 0xe0) return {2};
  if (first == 0xe0) return {3, 0xa0};
  if (first == 0xed) return {3, 0x80, 0x9f};
  if (first < 0xf0) return {3};
  if (first == 0xf0) return {4, 0x90};
  if (first == 0xf4) return {4, 0x80, 0x8f};
  return {4};
}

}  // namespace

Utf8Head utf8_head(std::string_view bytes) {
  if (bytes.empty()) return {};
  const Form form = form_of(static_cast<unsigned char>(bytes[0]));
  for (std::size_t i = 1; i < form.length; ++i) {
    if (i == bytes.size()) return {i, false};
    const auto byte = static_cast<unsigned char>(bytes[i]);
    const bool fits = i == 1 ? byte >= form.least && byte <= form.greatest : (byte & 0xc0) == 0x80;
    if (!fits) return {};
  }
  return {form.length, form.length > 0};
}

std::string_view unfinished(std::string_view bytes) {
  for (std::size_t count = std::min<std::size_t>(3, bytes.size()); count > 0; --count) {
    const std::string_view last = bytes.substr(bytes.size() - count);
    const Utf8Head head = utf8_head(last);
    if (head.bytes == count && !head.whole) return last;
  }
  return {};
}

std::string spelt(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string text;
  bool between = false;  // in "<E6 9D>"
  while (!bytes.empty()) {
    const Utf8Head head = utf8_head(bytes);
    const std::size_t taken = head.whole ? head.bytes : 1;
    if (head.whole) {
      if (between) text += '>';
      text += bytes.substr(0, taken);
    } else {
      const auto byte = static_cast<unsigned char>(bytes[0]);
      text += between ? ' ' : '<';
      text += kDigits[byte >> 4];
      text += kDigits[byte & 15];
    }
    between = !head.whole;
    bytes.remove_prefix(taken);
  }
  return between ? text + '>' : text;
}

}  // namespace sae

// Numbers, words and lists of words as text, the same in every locale.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sae {

/// The shortest text that reads back as the same double.
inline std::string shortest(double value) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

/// So many decimals; never "-0.00". Above 1e15, where decimals mean nothing, the shortest form.
inline std::string fixed(double value, int decimals) {
  if (!(std::abs(value) < 1e15)) return shortest(value);
  if (std::abs(value) < 0.5 * std::pow(10.0, -decimals)) value = 0;
  char buffer[64];
  return {
      buffer,
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed, decimals).ptr};
}

/// At most so many decimals: 5.600 -> "5.6", 32.000 -> "32".
inline std::string trimmed(double value, int decimals) {
  std::string text = fixed(value, decimals);
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

/// About three significant digits: 0.000231 -> "2.31e-04", 0.2134 -> "0.213", 31.94 -> "31.9",
/// 1234.5 -> "1234", 1234567 -> "1.23e+06".
inline std::string brief(double value) {
  const double size = std::abs(value);
  if (size != 0 && (size < 1e-3 || size >= 1e5)) {
    char buffer[32];
    return {
        buffer,
        std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific, 2).ptr};
  }
  return fixed(value, size < 1 ? 3 : size < 10 ? 2 : size < 100 ? 1 : 0);
}

/// `text` on one line, in ASCII and not too long, whatever it is.
inline std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 100;
  std::string out(text.substr(0, kLongest));
  for (char& c : out) c = c < ' ' || c > '~' ? '?' : c;
  return text.size() > kLongest ? out + "..." : out;
}

/// "a, b, c".
std::string joined(const std::vector<std::string>& parts, std::string_view separator = ", ");

/// `text` broken at blanks into lines of at most `width` characters, longer words excepted.
std::vector<std::string> wrapped(std::string_view text, std::size_t width);

/// `text` in double quotes as JSON writes it, cut when long.
std::string quoted(std::string_view text);

/// The name that `word` was probably meant to be, or an empty string.
std::string nearest_name(std::string_view word, const std::vector<std::string>& names);

/// "; did you mean 'topk'?", or an empty string.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& names);

/// "got "topkk", expected one of standard, topk; did you mean 'topk'?"
std::string expected_one_of(std::string_view got, const std::vector<std::string>& names);

}  // namespace sae

#include "command_line.h"

namespace sae_cli {

std::string shell_word(const std::string& text) {
  const bool plain = text.find_first_not_of(
                         "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./=,:") ==
                     std::string::npos;
  if (plain && !text.empty()) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string option_words(const std::string& option, const std::string& value) {
  return " " + option + (value.starts_with('-') ? "=" : " ") + shell_word(value);
}

}  // namespace sae_cli

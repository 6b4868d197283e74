#include "config/config_syntax.h"

#include <algorithm>

#include "config/config_entry.h"

namespace sae {
namespace {

bool is_word_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         c == '+' || c == '-' || c == '.';
}

/// NaN, Infinity and inf, as Python and C++ write them.
bool is_non_finite(std::string_view word) {
  if (word.starts_with('-') || word.starts_with('+')) word.remove_prefix(1);
  return word == "NaN" || word == "nan" || word == "Infinity" || word == "inf" || word == "Inf";
}

/// What stands in `text` between `mark` and `end`.
std::string after(const std::string& text, const std::string& mark, const std::string& end) {
  const std::size_t begin = text.find(mark);
  if (begin == std::string::npos) return "";
  const std::size_t first = begin + mark.size();
  return text.substr(first, text.find(end, first) - first);
}

/// The word or number at `begin`, or else one character, fit for a message.
std::string word_at(std::string_view text, std::size_t begin) {
  std::size_t end = begin;
  while (end < text.size() && is_word_char(text[end])) ++end;
  const std::string shown = json_quoted(text.substr(begin, std::max<std::size_t>(end - begin, 1)));
  return shown.substr(1, shown.size() - 2);
}

std::string too_large(const SourceText& source, std::size_t consumed) {
  constexpr std::size_t kLongest = 40;
  const std::size_t end = source.number_end(consumed);
  const std::size_t begin = source.token_begin(end);
  const std::string number = end - begin <= kLongest
                                 ? word_at(source.text(), begin)
                                 : "a number of " + std::to_string(end - begin) + " characters";
  return source.column_place(begin) + ": got " + number + ", which is too large for a number";
}

/// A token in the wrong place.
std::string unexpected_token(const SourceText& source, std::size_t consumed, std::string found,
                             std::string expected, const std::string& still_open) {
  const std::string_view text = source.text();
  const bool at_end = found == "end of input";
  const bool number = found == "number literal";
  const std::size_t begin =
      at_end ? text.size() : source.token_begin(number ? source.number_end(consumed) : consumed);
  const std::size_t before =
      begin == 0 ? std::string_view::npos : text.find_last_not_of(" \t\r\n", begin - 1);
  const bool after_comma = before != std::string_view::npos && text[before] == ',';
  const std::string where = source.column_place(begin) + ": got ";

  if (after_comma && (found == "'}'" || found == "']'")) {
    return where + found + " after a comma, expected no comma there";
  }
  if (expected == "string literal") expected = "a key in double quotes";
  if (expected == "end of input") expected = "nothing after the document";
  if (expected == "'}'" || expected == "']'") expected = "',' or " + expected;
  if (expected == "'[', '{', or a literal") expected = "a value";
  if (at_end) return where + "the end, expected " + expected + still_open;
  if (found == "string literal") found = "a string";
  if (number) {
    found = word_at(text, begin);
    if (found.size() > 1 && found[0] == '0') expected = "a number without a leading 0";
  }
  if (found.ends_with(" literal")) found.resize(found.size() - 8);
  return where + found + ", expected " + expected;
}

/// The lexer stopped inside a token: names a bare word or number whole, passes on the rest.
std::string lexer_error(const SourceText& source, std::size_t consumed, const std::string& what) {
  const std::string_view text = source.text();
  const std::size_t last = consumed == 0 ? 0 : consumed - 1;
  const std::string reason = after(what, " - ", "; last read");
  const std::string number_rule = after(reason, "invalid number; expected ", "\n");
  if (text.empty() || (reason != "invalid literal" && number_rule.empty())) {
    return source.column_place(last) + ": " + (reason.empty() ? "not JSON" : reason);
  }
  const bool in_word = last > 0 && is_word_char(text[last - 1]);
  const std::size_t begin = in_word ? source.token_begin(last) : last;
  const std::string word = word_at(text, begin);
  const bool key = what.find("parsing object key") != std::string::npos;
  std::string expected = key ? "a key in double quotes" : "a value";
  if (word == "'") {
    expected += "; strings take double quotes";
  } else if (!key && is_non_finite(word)) {
    expected += "; JSON has no NaN and no Infinity";
  } else if (!number_rule.empty()) {
    expected = number_rule;
  }
  return source.column_place(begin) + ": got " + word + ", expected " + expected;
}

}  // namespace

SourceText::SourceText(std::string_view text, std::string name, bool lines)
    : text_(text), name_(std::make_shared<const std::string>(std::move(name))), lines_(lines) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') newlines_.push_back(i);
  }
}

std::size_t SourceText::line_at(std::size_t offset) const {
  const auto before = std::lower_bound(newlines_.begin(), newlines_.end(), offset);
  return static_cast<std::size_t>(before - newlines_.begin()) + 1;
}

std::size_t SourceText::character_at(std::size_t offset) const {
  const std::size_t line = line_at(offset);
  std::size_t characters = 1;
  for (std::size_t i = line == 1 ? 0 : newlines_[line - 2] + 1; i < offset; ++i) {
    const bool continuation = (static_cast<unsigned char>(text_[i]) & 0xC0) == 0x80;
    if (!continuation) ++characters;
  }
  return characters;
}

std::string SourceText::line_place(std::size_t offset) const {
  return lines_ ? *name_ + ":" + std::to_string(line_at(offset)) : *name_;
}

std::string SourceText::column_place(std::size_t offset) const {
  const std::string character = std::to_string(character_at(offset));
  return line_place(offset) + (lines_ ? ":" : ": at character ") + character;
}

std::size_t SourceText::number_end(std::size_t consumed) const {
  const bool beyond = consumed > 0 && !is_word_char(text_[consumed - 1]);
  return beyond ? consumed - 1 : consumed;
}

std::size_t SourceText::token_begin(std::size_t end) const {
  if (end == 0) return 0;
  std::size_t begin = end - 1;
  if (text_[begin] == '"') {
    while (begin > 0 && !is_quote(begin - 1)) --begin;
    return begin > 0 ? begin - 1 : 0;
  }
  while (begin > 0 && is_word_char(text_[begin]) && is_word_char(text_[begin - 1])) --begin;
  return begin;
}

bool SourceText::is_quote(std::size_t offset) const {
  std::size_t backslashes = 0;
  while (backslashes < offset && text_[offset - backslashes - 1] == '\\') ++backslashes;
  return text_[offset] == '"' && backslashes % 2 == 0;
}

std::string syntax_error(const SourceText& source, std::size_t consumed, const std::string& what,
                         const std::string& still_open) {
  if (what.find("number overflow") != std::string::npos) return too_large(source, consumed);
  const std::string found = after(what, "unexpected ", ";");
  if (found.empty()) return lexer_error(source, consumed, what);
  return unexpected_token(source, consumed, found, after(what, "; expected ", ";"), still_open);
}

}  // namespace sae

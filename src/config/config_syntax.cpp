#include "config/config_syntax.h"

#include <algorithm>

#include "base/utf8.h"
#include "sae/base/text.h"

namespace sae {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_word_char(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '+' ||
         c == '-' || c == '.';
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

/// NaN, Infinity and inf, as Python and C++ write them.
bool is_non_finite(std::string_view word) {
  if (word.starts_with('-') || word.starts_with('+')) word.remove_prefix(1);
  return word == "NaN" || word == "nan" || word == "Infinity" || word == "inf" || word == "Inf";
}

/// `text` as a message shows it: without the quotes of `quoted`.
std::string shown(std::string_view text) {
  const std::string in_quotes = quoted(text);
  return in_quotes.substr(1, in_quotes.size() - 2);
}

/// What is wrong inside of a token: where, what stands there and what should.
struct Flaw {
  std::size_t at = 0;
  std::string got;
  std::string expected;
};

/// The rest of a text from an offset on, as the lexer reads it.
class Scanner {
 public:
  Scanner(std::string_view text, std::size_t at, bool comments)
      : text_(text), at_(at), comments_(comments) {
    skip_blank();
  }

  std::size_t at() const { return at_; }
  bool at_end() const { return at_ >= text_.size(); }
  char here() const { return at_end() ? '\0' : text_[at_]; }

  /// Goes past `sign` and what is blank behind it, if it is here.
  bool take(char sign) {
    if (at_end() || here() != sign) return false;
    ++at_;
    skip_blank();
    return true;
  }

  /// Goes back to the begin of the word that ends in what is here.
  void to_word_begin() {
    if (at_end() || !is_word_char(here())) return;
    while (at_ > 0 && is_word_char(text_[at_ - 1])) --at_;
  }

  /// The word or number that begins here, or else one character with all of its bytes.
  std::string_view word() const {
    std::size_t end = at_;
    while (end < text_.size() && is_word_char(text_[end])) ++end;
    if (end == at_) {
      do ++end;
      while (end < text_.size() && is_continuation(text_[end]));
    }
    return text_.substr(at_, end - at_);
  }

  bool in_open_comment() const {
    return comments_ && text_.substr(std::min(at_, text_.size())).starts_with("/*");
  }

 private:
  void skip_blank() {
    constexpr std::string_view kBlank = " \t\r\n";
    while (!at_end()) {
      const std::string_view rest = text_.substr(at_);
      if (kBlank.find(rest.front()) != std::string_view::npos) {
        ++at_;
      } else if (comments_ && rest.starts_with("//")) {
        at_ += std::min(rest.find('\n'), rest.size());
      } else if (comments_ && rest.starts_with("/*") && rest.find("*/", 2) != rest.npos) {
        at_ += rest.find("*/", 2) + 2;
      } else {
        return;
      }
    }
  }

  std::string_view text_;
  std::size_t at_;
  bool comments_;
};

/// The value of \uXXXX at the front of `text`, or -1.
int unicode_escape(std::string_view text) {
  if (text.size() < 6 || !text.starts_with("\\u")) return -1;
  int value = 0;
  for (const char c : text.substr(2, 4)) {
    const int digit = is_digit(c)                          ? c - '0'
                      : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                           : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

/// Characters of the escape at the front of `text`; 0 if it is none.
std::size_t escape_length(std::string_view text) {
  constexpr std::string_view kSimple = "\"\\/bfnrt";
  if (text.size() >= 2 && kSimple.find(text[1]) != std::string_view::npos) return 2;
  const int unit = unicode_escape(text);
  if (unit < 0 || (unit >= 0xDC00 && unit < 0xE000)) return 0;
  if (unit < 0xD800 || unit >= 0xE000) return 6;
  const int low = unicode_escape(text.substr(6));
  return low >= 0xDC00 && low < 0xE000 ? 12 : 0;
}

/// The first flaw of the string that begins at `begin`; an empty `got` if it has none.
Flaw string_flaw(std::string_view text, std::size_t begin) {
  for (std::size_t i = begin + 1; i < text.size();) {
    const std::string_view rest = text.substr(i);
    if (rest.front() == '"') return {};
    if (rest.front() == '\n' || rest.front() == '\r') {
      return {i, "the end of the line in a string", "'\"' before it"};
    }
    if (static_cast<unsigned char>(rest.front()) < 0x20) {
      const std::string escape = shown(rest.substr(0, 1));
      return {i, "a control character in a string", escape + " in its place"};
    }
    const bool escaped = rest.front() == '\\';
    const Utf8Head character = utf8_head(rest);
    const std::size_t length = escaped           ? escape_length(rest)
                               : character.whole ? character.bytes
                                                 : 0;
    if (length == 0 && escaped) {
      const std::size_t end = rest.size() > 1 && rest[1] == 'u' ? 6 : 2;
      return {i, "\\" + shown(rest.substr(1, end - 1)),
              R"(one of \" \\ \/ \b \f \n \r \t and \uXXXX, or \\ for a backslash)"};
    }
    if (length == 0) return {i, "a byte that is not UTF-8", "UTF-8"};
    i += length;
  }
  return {text.size(), "the end in a string", "'\"' first"};
}

/// The rule that a number breaks, or an empty string.
std::string number_rule(std::string_view word) {
  const std::string_view digits = word.substr(word.starts_with('-') ? 1 : 0);
  if (!word.empty() && word.front() == '-' && (digits.empty() || !is_digit(digits.front()))) {
    return is_non_finite(word) ? "" : "digit after '-'";
  }
  if (digits.empty() || !is_digit(digits.front())) return "";
  if (digits.size() > 1 && digits[0] == '0' && is_digit(digits[1])) {
    return "a number without a leading 0";
  }
  const auto followed_by_digit = [&](std::size_t i) {
    return i + 1 < digits.size() && is_digit(digits[i + 1]);
  };
  const std::size_t point = digits.find('.');
  if (point != std::string_view::npos && !followed_by_digit(point)) return "digit after '.'";
  std::size_t exponent = digits.find_first_of("eE");
  if (exponent == std::string_view::npos) return "";
  if (exponent + 1 < digits.size() &&
      (digits[exponent + 1] == '+' || digits[exponent + 1] == '-')) {
    ++exponent;
  }
  return followed_by_digit(exponent) ? "" : "digit after the exponent";
}

/// What must come next; goes past the sign that is there already.
struct Expected {
  std::string what;
  bool key = false;
  bool after_comma = false;
};

Expected expected_after(ReadSoFar read, Scanner& scanner) {
  const Expected key{"a key in double quotes", true, false};
  switch (read) {
    case ReadSoFar::kNothing:
    case ReadSoFar::kArrayBegin:
      break;
    case ReadSoFar::kObjectBegin:
      return key;
    case ReadSoFar::kKey:
      if (!scanner.take(':')) return {"':'", false, false};
      break;
    case ReadSoFar::kValueInObject:
      if (!scanner.take(',')) return {"',' or '}'", false, false};
      return {key.what, true, true};
    case ReadSoFar::kValueInArray:
      if (!scanner.take(',')) return {"',' or ']'", false, false};
      return {"a value", false, true};
    case ReadSoFar::kDocument:
      return {"nothing after the document", false, false};
  }
  return {"a value", false, false};
}

std::string too_large(std::string_view number) {
  constexpr std::size_t kLongest = 40;
  const std::string got = number.size() <= kLongest
                              ? std::string(number)
                              : "a number of " + std::to_string(number.size()) + " characters";
  return got + ", which is too large for a number";
}

/// "got 01, expected a number without a leading 0"
std::string about_word(std::string_view word, const Expected& expected) {
  constexpr std::string_view kSigns = "{}[]:,";
  const bool sign = kSigns.find(word.front()) != std::string_view::npos;
  const std::string got = sign ? "'" + std::string(word) + "'" : shown(word);
  if (expected.after_comma && (word == "}" || word == "]")) {
    return got + " after a comma, expected no comma there";
  }
  const bool value = expected.what == "a value";
  const std::string rule = number_rule(word);
  if (word == "'") return got + ", expected " + expected.what + "; strings take double quotes";
  if (value && is_non_finite(word)) {
    return got + ", expected a value; JSON has no NaN and no Infinity";
  }
  const bool leading_zero = rule.find("leading 0") != std::string::npos;
  return got + ", expected " + (!rule.empty() && (value || leading_zero) ? rule : expected.what);
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
    if (!is_continuation(text_[i])) ++characters;
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

std::string syntax_error(const SourceText& source, const SyntaxError& error) {
  const std::string_view text = source.text();
  std::size_t from = error.end;
  if (from == 0 && text.starts_with("\xEF\xBB\xBF")) from = 3;  // a byte order mark
  Scanner scanner(text, from, error.comments);
  const Expected expected = expected_after(error.read, scanner);
  scanner.to_word_begin();
  const std::size_t begin = scanner.at();
  const auto message = [&](std::size_t at, const std::string& what) {
    return source.column_place(at) + ": got " + what;
  };
  if (scanner.at_end()) {
    return message(begin, "the end, expected " + expected.what + error.still_open);
  }
  if (scanner.in_open_comment()) {
    return message(text.size(), "the end in a comment, expected '*/' first");
  }
  if (scanner.here() != '"') {
    const std::string_view word = scanner.word();
    return message(begin, error.too_large ? too_large(word) : about_word(word, expected));
  }
  const Flaw flaw = string_flaw(text, begin);
  if (!flaw.got.empty()) return message(flaw.at, flaw.got + ", expected " + flaw.expected);
  return message(begin, "a string, expected " + expected.what);
}

}  // namespace sae

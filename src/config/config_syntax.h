// Places in the text of a configuration, and what is wrong with its syntax there.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sae {

/// A text with a name. An offset is the number of characters that the lexer has consumed.
class SourceText {
 public:
  /// Without `lines` (a --set), places are characters: "--set a.b: at character 7".
  SourceText(std::string_view text, std::string name, bool lines);

  std::string_view text() const { return text_; }
  const std::shared_ptr<const std::string>& name() const { return name_; }
  bool has_lines() const { return lines_; }

  std::size_t line_at(std::size_t offset) const;       ///< from 1
  std::string line_place(std::size_t offset) const;    ///< "a.json:3"
  std::string column_place(std::size_t offset) const;  ///< "a.json:3:17", in code points

 private:
  std::size_t character_at(std::size_t offset) const;

  std::string_view text_;
  std::shared_ptr<const std::string> name_;
  bool lines_;
  std::vector<std::size_t> newlines_;
};

/// What a parser had read when it met the token that it could not use.
enum class ReadSoFar {
  kNothing,
  kObjectBegin,
  kArrayBegin,
  kKey,            ///< without its colon
  kValueInObject,  ///< without a comma
  kValueInArray,
  kDocument,
};

struct SyntaxError {
  ReadSoFar read = ReadSoFar::kNothing;
  std::size_t end = 0;       ///< where that ended
  bool too_large = false;    ///< the token is a number that no double holds
  bool comments = false;     ///< they are allowed
  std::string still_open{};  ///< which object or array lacks its end, as the end of a sentence
};

/// The message for it, from the token at which the parser stopped.
std::string syntax_error(const SourceText& source, const SyntaxError& error);

}  // namespace sae

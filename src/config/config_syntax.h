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

  std::size_t token_begin(std::size_t end) const;      ///< of the string, word or sign before end
  std::size_t number_end(std::size_t consumed) const;  ///< the lexer reads on to see it

 private:
  bool is_quote(std::size_t offset) const;
  std::size_t character_at(std::size_t offset) const;

  std::string_view text_;
  std::shared_ptr<const std::string> name_;
  bool lines_;
  std::vector<std::size_t> newlines_;
};

/// The message for nlohmann's error `what`, raised when `consumed` characters had been read.
/// `still_open` says which object or array lacks its end.
std::string syntax_error(const SourceText& source, std::size_t consumed, const std::string& what,
                         const std::string& still_open);

}  // namespace sae

// The text of token ids, from the vocabulary file that scripts/harvest.py puts into a store.
//
//     vocabulary.json   {"format": "sae-vocabulary", "version": 2,
//                        "tokens": ["the", " cat", "<E6 9D>", "<B1>", "<4>", ...],
//                        "bytes": {"2": "e69d", "3": "b1"}}
//
// Entry i of tokens is what token i adds to a text, blanks included. A token that is no whole
// characters by itself, as those of byte-level tokenizers, has its bytes in `bytes`, in
// hexadecimal, and in tokens a name to read. The text of tokens in a row is their bytes, for all
// others their text in UTF-8, joined and then decoded. Version 1 is without `bytes`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace sae {

class Vocabulary {
 public:
  /// Throws DataError for a file that is anything else.
  explicit Vocabulary(const std::filesystem::path& file);

  std::size_t size() const { return tokens_.size(); }

  /// One token by itself, to read. One that the vocabulary lacks is shown as its number: "<30522>".
  std::string text(std::int64_t token) const;

  /// Tokens in a row. Bytes that are no character, as where a text is cut, are shown as "<E6 9D>".
  std::string text(std::span<const std::int32_t> tokens) const;

  /// A token, or several that share a character.
  struct Piece {
    std::size_t tokens = 0;  ///< how many
    std::string text;
  };
  /// Tokens in a row, cut wherever that cuts no character.
  std::vector<Piece> pieces(std::span<const std::int32_t> tokens) const;

 private:
  std::string bytes_of(std::int64_t token) const;

  std::vector<std::string> tokens_;
  std::unordered_map<std::int64_t, std::string> bytes_;  // of tokens that are no whole characters
};

/// The vocabulary in the folder of a store; none if the store has no such file.
std::optional<Vocabulary> vocabulary_of(const std::filesystem::path& store);

}  // namespace sae

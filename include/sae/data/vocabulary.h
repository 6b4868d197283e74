// The text of token ids, from the vocabulary file that scripts/harvest.py puts into a store.
//
//     vocabulary.json   {"format": "sae-vocabulary", "version": 1, "tokens": ["the", " cat", ...]}
//
// Entry i is what token i adds to a text, blanks included, so that a text is its entries in a row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sae {

class Vocabulary {
 public:
  /// Throws DataError for a file that is anything else.
  explicit Vocabulary(const std::filesystem::path& file);

  std::size_t size() const { return tokens_.size(); }

  /// A token the vocabulary lacks is shown as its number: "<30522>".
  std::string text(std::int64_t token) const;
  std::string text(std::span<const std::int32_t> tokens) const;

 private:
  std::vector<std::string> tokens_;
};

/// The vocabulary in the folder of a store; none if the store has no such file.
std::optional<Vocabulary> vocabulary_of(const std::filesystem::path& store);

}  // namespace sae

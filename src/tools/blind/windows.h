// Stretches of text around rows of a store, with marked tokens, as the page shows them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sae/base/rng.h"
#include "sae/data/store.h"
#include "sae/data/vocabulary.h"

namespace sae {

inline constexpr std::int64_t kWindowTokens = 16;  ///< on each side of a row

/// Rows [first, first + rows) of a store, all of the context of `row`, which is one of them.
struct TextWindow {
  std::int64_t row = 0;
  std::int64_t first = 0;
  std::int64_t rows = 0;

  bool contains(std::int64_t offset) const {  ///< from `row`
    return row + offset >= first && row + offset < first + rows;
  }
};

/// Of a store with contexts.
TextWindow window_around(const ActivationStore& store, std::int64_t row);

/// What is not marked, what is, what is not, ...: pieces of text, the first of which may be empty.
/// A character of several tokens is marked if one of them is. Blanks before a marked token stay
/// outside of its mark.
using MarkedText = std::vector<std::string>;

/// `marks`: offsets from the window's row, ascending.
MarkedText marked_text(const ActivationStore& store, const Vocabulary& vocabulary,
                       const TextWindow& window, const std::vector<std::int64_t>& marks);

/// Marks of an intruder, on which nothing fires: as many as the mean of `others`, rounded, or as
/// its window has tokens, its own row among them. Where they lie is drawn from where the others'
/// lie, so that marks in a row or scattered ones give nothing away.
std::vector<std::int64_t> intruder_marks(const std::vector<std::vector<std::int64_t>>& others,
                                         const TextWindow& window, Rng rng);

}  // namespace sae

// Optimal one-to-one assignment between the rows and columns of a rectangular matrix.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sae {

/// The pairing of min(rows, columns) pairs with the largest total score.
struct Assignment {
  std::vector<std::int64_t> column_of_row;  ///< [rows], -1: none
  std::vector<std::int64_t> row_of_column;  ///< [columns], -1: none
  double total = 0;                         ///< sum of the matched scores
};

/// Jonker and Volgenant 1987, "A shortest augmenting path algorithm for dense and sparse linear
/// assignment problems": greedy start, augmenting row reduction, then shortest augmenting paths.
/// `scores` is row-major, rows * columns, finite; any sign. Deterministic, ties included.
/// O(s^2 l) at worst for s = min(rows, columns), l = the larger; memory O(rows + columns) where
/// rows <= columns, else one transposed copy.
Assignment assign(std::span<const float> scores, std::int64_t rows, std::int64_t columns);

}  // namespace sae

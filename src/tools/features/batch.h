// A few of a store's rows with their codes.
#pragma once

#include <cstdint>
#include <span>

#include "sae/sparse/sparse_rows.h"

namespace sae {

/// Rows [first_row, first_row + codes.rows()) of a store, of which [begin, end), counted from
/// first_row, are new; the others are there to be shown around them.
struct FeatureBatch {
  SparseView codes;  ///< latents ascending within a row
  std::int64_t first_row = 0;
  std::int64_t begin = 0, end = 0;
  std::span<const std::int32_t> context;  ///< one a row, or empty
  std::span<const std::int32_t> tokens;   ///< one a row, or empty
};

}  // namespace sae

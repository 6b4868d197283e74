// A batch of sparse vectors in token order, as plain arrays: ground truth and latents alike.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sae {

/// Row b holds entries offsets[b] .. offsets[b + 1] - 1. Views are cheap and own nothing.
struct SparseView {
  std::span<const float> values;          ///< [nnz]
  std::span<const std::int64_t> indices;  ///< [nnz], distinct within a row
  std::span<const std::int64_t> offsets;  ///< [B + 1], from 0 to nnz

  std::int64_t rows() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  std::int64_t begin(std::int64_t row) const { return offsets[static_cast<std::size_t>(row)]; }
  std::int64_t end(std::int64_t row) const { return offsets[static_cast<std::size_t>(row) + 1]; }
};

struct SparseRows {
  std::vector<float> values;                ///< [nnz]
  std::vector<std::int64_t> indices;        ///< [nnz]
  std::vector<std::int64_t> offsets = {0};  ///< [B + 1]

  operator SparseView() const {
    return {values, indices, offsets};
  }  // NOLINT: meant to be implicit
};

}  // namespace sae

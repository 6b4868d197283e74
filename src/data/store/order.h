// In which order the rows of a split are handed out.
#pragma once

#include <cstdint>
#include <vector>

#include "sae/data/store.h"

namespace sae {

/// Rows by position, without a list of them: see StoreSource (store.h) for what the two orders are.
///
/// In blocks, epoch e turns the split by a random number of rows, so that the rows of its shorter
/// last block are others each time, and cuts it into blocks of b; pi_e puts the whole blocks in a
/// random order, the short one last. W blocks of that order make a window, whose rows another
/// permutation, keyed by (seed, e, window), mixes.
class RowOrder {
 public:
  RowOrder(std::int64_t size, const StoreOptions& options, std::uint64_t seed);

  /// Rows of the split at positions [position, position + count).
  std::vector<std::int64_t> rows_at(std::int64_t position, std::int64_t count) const;

  struct Range {
    std::int64_t first, count;
  };

  /// Windows are numbered through all epochs; -1 where there are none.
  std::int64_t window_at(std::int64_t position) const;
  /// What a window is made of, a block after the other.
  std::vector<Range> blocks_of(std::int64_t window) const;

 private:
  void add_global(std::int64_t epoch, std::int64_t place, std::int64_t count,
                  std::vector<std::int64_t>& rows) const;
  void add_of_window(std::int64_t epoch, std::int64_t place, std::int64_t count,
                     std::vector<std::int64_t>& rows) const;
  std::int64_t windows() const { return (size_ + window_ - 1) / window_; }  // an epoch
  std::int64_t turn(std::int64_t epoch) const;

  std::int64_t size_;
  Shuffle shuffle_;
  std::int64_t block_;   // b, rows
  std::int64_t window_;  // W b, rows
  std::uint64_t seed_;
};

}  // namespace sae

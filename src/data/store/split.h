// Which rows of a store are trained on and which are held out.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/permutation.h"
#include "sae/data/store.h"

namespace sae {

/// The rows of one split, by number. StoreSource (store.h) says how they are chosen.
class SplitRows {
 public:
  SplitRows(const ActivationStore& store, const StoreOptions& options, Split split);

  std::int64_t size() const { return size_; }
  std::int64_t moved_contexts() const { return moved_; }

  /// Row `i` of the split as a row of the store.
  std::int64_t operator[](std::int64_t i) const;

 private:
  /// Consecutive rows of the split.
  struct Run {
    std::int64_t number;  ///< which row of the split is its first
    std::int64_t row;     ///< which row of the store that is
  };
  /// Whether a context, given its draw in [0, 1), belongs to the split.
  using Belongs = std::function<bool(std::int32_t context, double draw)>;

  void choose_tokens(const ActivationStore& store, const StoreOptions& options, Split split);
  void take_all_in_order(const ActivationStore& store, const StoreOptions& options);
  void choose_contexts(const ActivationStore& store, const StoreOptions& options, Split split);
  void add_contexts(const ActivationStore& store, std::uint64_t seed, const Belongs& belongs);

  std::vector<Run> runs_;
  std::optional<Permutation> tokens_;
  std::int64_t first_ = 0;
  std::int64_t size_ = 0;
  std::int64_t moved_ = 0;
};

}  // namespace sae

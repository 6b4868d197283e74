// LargestOfParts: the largest entries of a batch whose tokens are seen part by part.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "sae/sparse/codes.h"
#include "sae/sparse/select.h"

namespace sae {

/// What `LargestOfBatch{count}` keeps of a batch, equal values included, without ever seeing all of
/// its pre-activations: each part offers what could be among the largest, and at most twice `count`
/// entries are held, besides those of one part.
///
///     LargestOfParts largest(count);
///     for (part) largest.add(encode(part, weights, largest.rule(), {Storage::kSparse}));
///     largest.kept();   // part by part
class LargestOfParts {
 public:
  explicit LargestOfParts(std::int64_t count) : count_(count) {}

  /// What the next part may contribute: its own `count` largest entries; once so many are held,
  /// those above the least of them, for an equal one of a later token would be the last to be kept.
  SelectionRule rule() const;

  /// The entries of the next tokens that `rule` keeps, sparse, without a graph.
  void add(const Codes& part);

  std::int64_t size() const { return size_; }  ///< entries that are held

  /// The kept entries of each part, in the order in which parts were added.
  std::vector<Codes> kept();

 private:
  void drop_all_but_the_largest();

  std::int64_t count_;
  std::vector<std::int64_t> tokens_;  // of each part
  std::vector<Codes> held_;           // one after the other, the entries of all parts so far
  std::int64_t size_ = 0;             // entries in `held_`
  at::Tensor least_;  // [] smallest of the `count` largest so far; undefined: there are fewer
};

}  // namespace sae

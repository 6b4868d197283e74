// A pseudo-random permutation of [0, size) that is computed element by element.
#pragma once

#include <array>
#include <cstdint>

#include "sae/base/rng.h"

namespace sae {

/// A generalised Feistel network (Black & Rogaway 2002, "Ciphers with Arbitrary Finite Domains",
/// method 3) on pairs (left, right) in [0, a) x [0, b), a b >= size, a and b near sqrt(size):
///
///     round r:  (left, right) <- (right, (left + philox(right, r)) mod |left's range|)
///
/// Results outside [0, size) are permuted again until they fall inside ("cycle walking"), which at
/// a b - size <= 2 sqrt(size) is rare. No memory, any size, any element in O(1).
class Permutation {
 public:
  Permutation(std::uint64_t size, std::uint64_t seed, Stream stream, std::uint64_t index);

  std::uint64_t size() const { return size_; }
  std::uint64_t operator()(std::uint64_t position) const;

 private:
  std::uint64_t walk(std::uint64_t value) const;

  std::uint64_t size_;
  std::uint64_t ranges_[2];
  std::array<std::uint32_t, 2> key_;
};

}  // namespace sae

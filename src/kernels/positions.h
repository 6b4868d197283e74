// The positions of a row where something holds: the loop that all selections have in common.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/target_clones.h"

namespace sae {

/// The first byte of eight that is not zero; a word as loaded from memory, bytes are 0 or 1.
SAE_INLINE int first_flag(std::uint64_t word) {
  static_assert(std::endian::native == std::endian::little);
  return std::countr_zero(word) / 8;
}

/// Writes the positions j < n with `holds(j)` to `out`, ascending; returns how many. `holds` is
/// evaluated in vectors, so it must have no side effects; `out` has room for n.
template <class Holds>
SAE_INLINE std::int64_t collect_positions(std::int64_t n, const Holds& holds, std::int64_t* out) {
  constexpr int kBlock = 64;
  constexpr int kWords = 8;  // of eight flags
  std::int64_t count = 0;
  std::int64_t j = 0;
  for (; j + kBlock <= n; j += kBlock) {
    std::uint8_t flags[kBlock];
    for (int i = 0; i < kBlock; ++i) flags[i] = holds(j + i);
    std::uint64_t words[kWords];
    std::memcpy(words, flags, kBlock);
    std::uint64_t any = 0;  // most blocks hold none
    for (const std::uint64_t word : words) any |= word;
    if (any == 0) continue;
    for (int w = 0; w < kWords; ++w) {
      for (std::uint64_t word = words[w]; word != 0; word &= word - 1) {
        out[count++] = j + 8 * w + first_flag(word);
      }
    }
  }
  for (; j < n; ++j) {
    out[count] = j;
    count += holds(j);
  }
  return count;
}

}  // namespace sae

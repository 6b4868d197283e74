// Indices of the random draws of `sae blind` in the stream of evaluations.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "sae/base/rng.h"

namespace sae::blind_draw {

constexpr std::uint64_t kLatents = std::uint64_t{32} << 56;      // | bin << 48 | group << 40
constexpr std::uint64_t kOrder = std::uint64_t{33} << 56;        // of the items
constexpr std::uint64_t kRepeats = std::uint64_t{34} << 56;      // which, and where they come
constexpr std::uint64_t kPositions = std::uint64_t{35} << 56;    // | place of the item
constexpr std::uint64_t kMarks = std::uint64_t{36} << 56;        // | place of the item
constexpr std::uint64_t kPractice = std::uint64_t{37} << 56;     // | token
constexpr std::uint64_t kBootstrap = std::uint64_t{38} << 56;    // | draw
constexpr std::uint64_t kPermutation = std::uint64_t{39} << 56;  // | pair of members

inline Rng rng(std::int64_t seed, std::uint64_t index) {
  return {static_cast<std::uint64_t>(seed), Stream::kEvaluation, index};
}

/// Uniform over all orders (Fisher and Yates).
template <class Value>
void shuffle(std::vector<Value>& values, Rng& rng) {
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[rng.below(i)]);
}

}  // namespace sae::blind_draw

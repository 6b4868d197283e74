// Indices of the random draws of the suite `interp` in the stream of evaluations.
#pragma once

#include <cstdint>

#include "sae/base/rng.h"

namespace sae::interp_draw {

constexpr std::uint64_t kSample = std::uint64_t{16} << 56;
constexpr std::uint64_t kSide = std::uint64_t{17} << 56;       // | context
constexpr std::uint64_t kShown = std::uint64_t{18} << 56;      // | latent << 24 | item
constexpr std::uint64_t kUniform = std::uint64_t{19} << 56;    // likewise
constexpr std::uint64_t kMatched = std::uint64_t{20} << 56;    // likewise
constexpr std::uint64_t kShuffle = std::uint64_t{21} << 56;    // | latent
constexpr std::uint64_t kBootstrap = std::uint64_t{22} << 56;  // | draw
constexpr std::uint64_t kTokenRows = std::uint64_t{23} << 56;  // | context

inline Rng item_rng(std::int64_t seed, std::uint64_t purpose, std::int64_t latent,
                    std::int64_t item) {
  return {static_cast<std::uint64_t>(seed), Stream::kEvaluation,
          purpose | static_cast<std::uint64_t>(latent) << 24 | static_cast<std::uint64_t>(item)};
}

}  // namespace sae::interp_draw

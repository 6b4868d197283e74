// The parts of a world that draw random numbers, each from its own index of Stream::kWorld.
#pragma once

#include <cstdint>

namespace sae {

/// Values are part of reproducibility: never renumber.
enum class WorldPart : std::uint64_t { kDictionary = 1, kBias = 2, kSpread = 3, kLoadings = 4 };

}  // namespace sae

// The parts of a world that draw random numbers, each from its own index of Stream::kWorld.
#pragma once

#include <cstdint>
#include <string>

#include "sae/data/world.h"

namespace sae {

/// Values are part of reproducibility: never renumber.
enum class WorldPart : std::uint64_t { kDictionary = 1, kBias = 2, kSpread = 3, kLoadings = 4 };

/// The trees and the rates of a world whose options are all set.
WorldTables make_rates(const WorldOptions& options);

/// With rule `choose`: which children would be chosen with a probability above 1 together, or an
/// empty string.
std::string overfull_children(const WorldTables& tables);

}  // namespace sae

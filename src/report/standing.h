// How two members of a comparison stand to each other, in words.
#pragma once

#include <optional>
#include <string>

#include "sae/results/results.h"

namespace sae::report {

/// One member at the level that the paragraph speaks of.
struct Standing {
  const Member* member = nullptr;
  std::optional<SeedStatistic> absorption, variance, never_fired;
};

enum class Order { kLower, kSame, kHigher };
/// With several seeds a difference within the spread is none; with one, only equality is.
Order compare(const SeedStatistic& a, const SeedStatistic& b);

/// How a difference compares with the spread over seeds; nothing to say for a single seed.
std::string against_spread(const SeedStatistic& a, const SeedStatistic& b);

/// "absorbs less (0.031 against 0.251) at a cost of 0.012 in explained variance (...)".
std::string contrast(const Standing& a, const Standing& b);

}  // namespace sae::report

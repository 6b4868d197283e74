// Step: one training step, as far as the mathematics is concerned.
#pragma once

#include <cstdint>

namespace sae {

struct Step {
  std::int64_t index = 0;  ///< 0 for the first
  std::uint64_t seed = 0;
  std::int64_t total = 0;  ///< steps of the run, for schedules; 0: they stay at their beginning
};

}  // namespace sae

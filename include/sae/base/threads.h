// How many threads compute.
#pragma once

#include <cstdint>

namespace sae {

/// As many threads as asked for, but no more than there are usable cores (machine.h): more only
/// wait for each other. Where `asked` is not above 0: what OMP_NUM_THREADS says, else all cores.
int threads_for(std::int64_t asked);

/// Computes on threads_for(asked) threads from here on.
void use_threads(std::int64_t asked);

}  // namespace sae

// The largest resident memory of this process.
#pragma once

namespace sae {

/// Returns freed memory to the system and starts counting anew, where Linux allows that.
void reset_peak_memory();

/// MiB since the last reset, shared libraries included; 0 where it is not known.
double peak_memory_mib();

}  // namespace sae

// Kernels from source to machine code, by way of a cache on disk.
#pragma once

#include <string>

namespace sae::cuda {

/// Machine code of `source` for a device of compute capability major.minor, as NVRTC makes it, or
/// as it lay in the cache; with `anew` what lies there is not believed. A device newer than NVRTC
/// knows gets the assembly (PTX) of the newest that it knows. std::runtime_error with the
/// compiler's first complaint. A cache that cannot be written is done without.
std::string machine_code(const std::string& name, const std::string& source, int major, int minor,
                         bool anew = false);

}  // namespace sae::cuda

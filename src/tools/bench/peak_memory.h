// The largest memory that this process has used.
#pragma once

#include <c10/core/Device.h>

namespace sae {

/// Returns freed memory to the system and starts counting anew, where Linux allows that.
void reset_peak_memory();

/// MiB resident since the last reset, shared libraries included; 0 where it is not known.
double peak_memory_mib();

/// The same of a GPU's memory in tensors, as LibTorch's allocator counts it; 0 for a CPU.
void reset_peak_device_memory(const at::Device& device);
double peak_device_memory_mib(const at::Device& device);

}  // namespace sae

// Devices by name, and their memory.
#pragma once

#include <c10/core/Device.h>

#include <optional>
#include <string>

#include "sae/base/machine.h"

namespace sae {

/// What is wrong with `name` as the name of a device on any machine, or an empty string.
std::string wrong_device_name(const std::string& name);

/// "auto", "cpu", "cuda", "cuda:1" as a device; ConfigError if there is no such one here.
at::Device parse_device(const std::string& name);

/// Waits until everything that a device was asked for is done; on a CPU it is.
void wait_for(const at::Device& device);

/// Main memory for the CPU (machine.h), a GPU's own for a GPU; nothing if this LibTorch cannot
/// tell.
std::optional<MachineMemory> memory_of(const at::Device& device);

/// Gives back what an allocator keeps of freed memory for later, so that memory_of counts it.
void release_freed_memory(const at::Device& device);

}  // namespace sae

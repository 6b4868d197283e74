#include "tools/bench/peak_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "sae/base/device.h"

namespace sae {
namespace {

/// What `use(allocator, index)` says of the device's allocator, or 0. A template, because an older
/// LibTorch (2.7) has none that can be asked.
template <class Type, class Use>
double asked(Type type, c10::DeviceIndex index, const Use& use) {
  if constexpr (requires { getDeviceAllocator(type)->getDeviceStats(index); }) {
    try {
      return use(getDeviceAllocator(type), std::max<c10::DeviceIndex>(index, 0));
    } catch (const c10::Error&) {  // not an allocator that knows
    }
  }
  return 0;
}

}  // namespace

void reset_peak_memory() {
  release_freed_memory(at::kCPU);
  std::ofstream("/proc/self/clear_refs") << 5;  // see proc(5)
}

double peak_memory_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024;  // kB
  }
  return 0;
}

void reset_peak_device_memory(const at::Device& device) {
  if (device.is_cpu()) return;
  asked(device.type(), device.index(), [](auto* allocator, c10::DeviceIndex index) {
    allocator->resetPeakStats(index);
    return 0.0;
  });
}

double peak_device_memory_mib(const at::Device& device) {
  if (device.is_cpu()) return 0;
  return asked(device.type(), device.index(), [](auto* allocator, c10::DeviceIndex index) {
    const auto stats = allocator->getDeviceStats(index);
    return static_cast<double>(stats.allocated_bytes[0].peak) / (1 << 20);  // all pools
  });
}

}  // namespace sae

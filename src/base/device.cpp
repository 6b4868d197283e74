#include "sae/base/device.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#include "sae/base/error.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#if defined(SAE_OPENS_CUDA)
#include <dlfcn.h>
#endif

namespace sae {
namespace {

/// Templates, because an older LibTorch (2.7) has no allocator that can be asked.
template <class Type>
std::optional<MachineMemory> memory_by_allocator(Type type, c10::DeviceIndex index) {
  if constexpr (requires { getDeviceAllocator(type)->getMemoryInfo(index); }) {
    try {
      at::globalContext().lazyInitDevice(type);
      const auto [free, total] = getDeviceAllocator(type)->getMemoryInfo(index);
      return MachineMemory{.available = static_cast<std::int64_t>(free),
                           .total = static_cast<std::int64_t>(total)};
    } catch (const c10::Error&) {  // not an allocator that knows
    }
  }
  return std::nullopt;
}

template <class Type>
void empty_cache(Type type) {
  if constexpr (requires { getDeviceAllocator(type)->emptyCache(); }) {
    try {
      getDeviceAllocator(type)->emptyCache();
    } catch (const c10::Error&) {  // not an allocator that keeps any
    }
  }
}

/// Where LibTorch's CUDA half was not linked, because a command is to run with any LibTorch: opens
/// the one beside the half that is there, once, before anybody asks for a device. It registers
/// itself. Returns why it is not there, or an empty string.
const std::string& why_no_cuda() {
  static const std::string reason = []() -> std::string {
#if defined(SAE_OPENS_CUDA)
    // It is large, and of no use without a driver.
    if (!dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL)) return dlerror();
    Dl_info torch_cpu;
    if (!dladdr(reinterpret_cast<const void*>(&at::globalContext), &torch_cpu)) return "";
    std::string path = torch_cpu.dli_fname;
    path.replace(path.rfind('/') + 1, std::string::npos, "libtorch_cuda.so");
    if (!dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) return dlerror();
#endif
    return "";
  }();
  return reason;
}

}  // namespace

std::string wrong_device_name(const std::string& name) {
  if (name == "auto") return "";
  try {
    const at::Device device(name);
    if (device.is_cpu() || device.is_cuda()) return "";
  } catch (const c10::Error&) {  // not a device at all
  }
  return "got '" + name + "', expected auto, cpu, cuda or cuda:N";
}

at::Device parse_device(const std::string& name) {
  const std::string wrong = wrong_device_name(name);
  if (!wrong.empty()) throw ConfigError("device: " + wrong);
  if (name == "cpu") return at::kCPU;
  const std::string& reason = why_no_cuda();
  if (name == "auto") return at::hasCUDA() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  const at::Device device(name);
  if (device.is_cpu()) return device;
  const int count = at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
  if (std::max<int>(device.index(), 0) < count) {
    return {at::kCUDA, static_cast<at::DeviceIndex>(std::max<int>(device.index(), 0))};
  }
  throw ConfigError("device: got '" + name + "', there are " + std::to_string(count) +
                    " CUDA devices here" + (reason.empty() ? "" : " (" + reason + ")") +
                    "; 'auto' takes what there is");
}

void wait_for(const at::Device& device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.synchronizeDevice(std::max<c10::DeviceIndex>(device.index(), 0));
}

std::optional<MachineMemory> memory_of(const at::Device& device) {
  if (device.is_cpu()) return usable_memory();
  return memory_by_allocator(device.type(), std::max<c10::DeviceIndex>(device.index(), 0));
}

void release_freed_memory(const at::Device& device) {
  if (!device.is_cpu()) empty_cache(device.type());
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace sae

#include "sae/base/device.h"

#include <ATen/Context.h>

#include <algorithm>

#include "sae/base/error.h"

namespace sae {

at::Device parse_device(const std::string& name) {
  if (name == "auto") return at::hasCUDA() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  try {
    const at::Device device(name);
    if (device.is_cpu()) return device;
    if (device.is_cuda()) {
      const int count =
          at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
      if (std::max<int>(device.index(), 0) < count)
        return at::Device(at::kCUDA, std::max<int>(device.index(), 0));
      throw ConfigError("device: got '" + name + "', there are " + std::to_string(count) +
                        " CUDA devices here; 'auto' takes what there is");
    }
  } catch (const c10::Error&) {  // not a device at all
  }
  throw ConfigError("device: got '" + name + "', expected auto, cpu, cuda or cuda:N");
}

}  // namespace sae

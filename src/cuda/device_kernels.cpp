#include "sae/cuda/device_kernels.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/types.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "cuda/compile.h"
#include "cuda/driver.h"
#include "cuda/launch.h"
#include "cuda/sources.h"

namespace sae {
namespace cuda {
namespace {

std::atomic<bool> wanted = true;

// Numbers of the driver's interface.
constexpr int kCapabilityMajor = 75;
constexpr int kCapabilityMinor = 76;

/// The handle that a launch wants. Older LibTorch (before 2.8) does not give it out.
template <class Stream>
void* handle_of(const Stream& stream) {
  if constexpr (requires { stream.native_handle(); }) {
    return stream.native_handle();
  } else {
    throw std::runtime_error("this LibTorch does not give out its streams");
  }
}

void* current_stream(const at::Device& device) {
  return handle_of(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
}

/// Own kernels on one device.
class Loaded {
 public:
  explicit Loaded(const at::Device& device) {
    const Driver& cuda = driver();
    current_stream(device);
    int handle = 0;
    require_success(cuda.cuInit(0), "cuInit");
    require_success(cuda.cuDeviceGet(&handle, device.index()), "cuDeviceGet");
    require_success(cuda.cuDevicePrimaryCtxRetain(&context_, handle), "cuDevicePrimaryCtxRetain");
    enter();
    int major = 0;
    int minor = 0;
    require_success(cuda.cuDeviceGetAttribute(&major, kCapabilityMajor, handle), "capability");
    require_success(cuda.cuDeviceGetAttribute(&minor, kCapabilityMinor, handle), "capability");
    for (const auto& [name, text] : sources::all()) {
      modules_.push_back(load(name, sources::common_cuh + text, major, minor));
    }
  }

  /// LibTorch's context of the device, which a thread that has not used it yet lacks.
  void enter() const {
    void* current = nullptr;
    driver().cuCtxGetCurrent(&current);
    if (current != context_) require_success(driver().cuCtxSetCurrent(context_), "cuCtxSetCurrent");
  }

  void* function(const std::string& kernel) {
    const std::lock_guard lock(mutex_);
    void*& found = functions_[kernel];
    for (std::size_t i = 0; i < modules_.size() && !found; ++i) {
      if (driver().cuModuleGetFunction(&found, modules_[i], kernel.c_str()) != 0) found = nullptr;
    }
    if (!found) throw std::runtime_error("there is no CUDA kernel " + kernel);
    return found;
  }

 private:
  static void* load(const std::string& name, const std::string& source, int major, int minor) {
    void* module = nullptr;
    const std::string image = machine_code(name, source, major, minor);
    if (driver().cuModuleLoadData(&module, image.c_str()) == 0) return module;
    const std::string again = machine_code(name, source, major, minor, /*anew=*/true);
    require_success(driver().cuModuleLoadData(&module, again.c_str()), name);
    return module;
  }

  void* context_ = nullptr;
  std::vector<void*> modules_;
  std::mutex mutex_;
  std::unordered_map<std::string, void*> functions_;
};

struct Outcome {
  std::unique_ptr<Loaded> loaded;  // or why not
  std::string why;
};

Outcome& outcome_on(const at::Device& device) {
  static std::mutex mutex;
  static std::map<c10::DeviceIndex, Outcome> all;
  const std::lock_guard lock(mutex);
  const auto [found, is_new] = all.try_emplace(device.index());
  if (is_new) {
    try {
      found->second.loaded = std::make_unique<Loaded>(device);
    } catch (const std::exception& error) {
      found->second.why = error.what();
    }
  }
  return found->second;
}

}  // namespace

at::Tensor empty_entries(std::int64_t count, const at::TensorOptions& options) {
  const auto power = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(count)));
  const std::int64_t together = std::clamp<std::int64_t>(power / 8, 1, 64 << 10);
  return at::empty({(count + together - 1) / together * together}, options).narrow(0, 0, count);
}

bool has_kernels(const at::Device& device) {
  return wanted && device.is_cuda() && outcome_on(device).loaded != nullptr;
}

void launch_with(const at::Device& device, const char* kernel, Grid grid, unsigned block,
                 void** arguments) {
  if (grid.x == 0 || grid.y == 0) return;
  Loaded& loaded = *outcome_on(device).loaded;
  loaded.enter();
  const int error = driver().cuLaunchKernel(
      loaded.function(kernel), static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), 1,
      block, 1, 1, /*shared=*/0, current_stream(device), arguments, nullptr);
  require_success(error, std::string("CUDA kernel ") + kernel);
}

}  // namespace cuda

void use_device_kernels(DeviceKernels wanted) { cuda::wanted = wanted == DeviceKernels::kAuto; }

std::string prepare_device_kernels(const at::Device& device) {
  if (!device.is_cuda()) return "they are for CUDA devices";
  if (!cuda::wanted) return "they are off";
  return cuda::outcome_on({device.type(), std::max<c10::DeviceIndex>(device.index(), 0)}).why;
}

std::optional<Notice> notice_about_kernels(const at::Device& device) {
  if (!device.is_cuda() || !cuda::wanted) return {};
  const std::string why = prepare_device_kernels(device);
  if (why.empty()) return {};
  return Notice{Notice::Kind::kNote,
                device.str() + ": LibTorch's operators alone, without kernels of our own: " + why};
}

}  // namespace sae

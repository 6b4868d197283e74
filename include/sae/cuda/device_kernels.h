// Own CUDA kernels: compiled at first use for the very card, kept on disk, and optional.
//
// What a GPU computes goes through LibTorch's operators or, where they are slow for sparse codes,
// through kernels of ours. Those are sources inside the library (src/cuda/*.cu), which NVRTC, a
// part of every CUDA LibTorch, compiles within seconds when a device is first used; the results lie
// in $XDG_CACHE_HOME/sae.cpp/kernels (~/.cache without it) under a digest of what they were made
// from. A build needs no CUDA toolkit, and where anything is missing LibTorch's operators go on
// alone. Both ways are exact and deterministic; sums differ in their rounding.
#pragma once

#include <c10/core/Device.h>

#include <array>
#include <optional>
#include <string>

#include "sae/base/notice.h"

namespace sae {

enum class DeviceKernels {
  kAuto,  ///< own kernels on every CUDA device that can have them
  kOff    ///< LibTorch's operators alone
};
constexpr auto names_of(DeviceKernels) { return std::array{"auto", "off"}; }

/// For the whole process, from now on. At first: kAuto.
void use_device_kernels(DeviceKernels wanted);

/// Compiles what is not on disk yet and loads it. Returns "" if own kernels are used on `device`,
/// else a line that says why not: they are off, it is no CUDA device, NVRTC was not found, a kernel
/// could not be compiled. Cheap after the first time.
std::string prepare_device_kernels(const at::Device& device);

/// Where own kernels are wanted on `device`, a CUDA device, and cannot be had: why.
std::optional<Notice> notice_about_kernels(const at::Device& device);

}  // namespace sae

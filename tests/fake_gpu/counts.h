// What the fake GPU has counted, for tests that run on it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace fake_gpu {

/// Since the last reset. Bytes are those of arguments and results of every operator and kernel.
struct Counts {
  std::map<std::string, std::int64_t> waits;      ///< of the host for the device, by cause
  std::map<std::string, std::int64_t> operators;  ///< calls, by name; kernels of ours as well
  std::map<std::string, std::int64_t> bytes_of;   ///< by name
  std::map<std::int64_t, std::int64_t> blocks;    ///< of device memory asked for, by size
  std::int64_t bytes = 0;
  std::int64_t peak = 0;  ///< most device memory at once
};

/// What a program finds by dlsym if the library is preloaded.
extern "C" void fake_gpu_counts(Counts* counts);
extern "C" void fake_gpu_reset();

}  // namespace fake_gpu

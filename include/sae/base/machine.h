// What this process may use of the machine it runs on; limits of its control groups count.
#pragma once

#include <cstdint>
#include <filesystem>

namespace sae {

/// Where Linux says so; elsewhere in tests.
struct MachineFiles {
  std::filesystem::path proc = "/proc";
  std::filesystem::path cgroups = "/sys/fs/cgroup";  ///< version 2, 1 or both
};

/// Processors that this process can keep busy: those it may be scheduled on, or fewer if a quota of
/// processor time on one of its control groups amounts to fewer, rounded up. At least 1.
int usable_cores(const MachineFiles& files = {});

/// Bytes of main memory.
struct MachineMemory {
  std::int64_t available = 0;  ///< could be allocated now without swapping
  std::int64_t total = 0;      ///< this process's if it were alone here
};

/// The machine's, or less where a control group of this process allows less. Cached files count as
/// available: the kernel drops them when memory is wanted.
MachineMemory usable_memory(const MachineFiles& files = {});

}  // namespace sae

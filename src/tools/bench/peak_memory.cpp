#include "tools/bench/peak_memory.h"

#include <fstream>
#include <string>

#include "sae/base/device.h"

namespace sae {

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

}  // namespace sae

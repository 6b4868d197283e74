#include "sae/base/machine.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>
#if defined(__linux__)
#include <sched.h>
#endif

namespace sae {
namespace {

namespace fs = std::filesystem;

/// Empty if it cannot be read: which of these files there are depends on the kernel.
std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The number that a text begins with; "max" and the like are none.
std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc()) return std::nullopt;
  return value;
}

/// The number in the line "key 123" or "key:   123 kB"; 0 without one.
std::int64_t entry(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t digits = line.find_first_not_of(": ", key.size());
    if (digits == key.size() || digits == std::string::npos) continue;  // a longer key, no value
    return number(std::string_view(line).substr(digits)).value_or(0);
  }
  return 0;
}

/// The folder of `group` below `mount` and those of all groups around it. A container may see the
/// paths of its host, of which only the mount itself is there.
void add_upward(std::vector<fs::path>& folders, const fs::path& mount, const std::string& group) {
  fs::path below = fs::path(group).relative_path();
  if (std::find(below.begin(), below.end(), "..") != below.end()) below.clear();
  for (; !below.empty(); below = below.parent_path()) folders.push_back(mount / below);
  folders.push_back(mount);
}

/// Folders of the control groups of this process that may limit it, innermost first. `controller`
/// is a version 1 controller, empty for version 2.
std::vector<fs::path> groups(const MachineFiles& files, const std::string& controller) {
  std::vector<fs::path> folders;
  std::istringstream lines(text_of(files.proc / "self" / "cgroup"));
  for (std::string line; std::getline(lines, line);) {  // number:controllers:path
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controller.empty()) {
      if (!controllers.empty()) continue;
      const fs::path hybrid = files.cgroups / "unified";
      add_upward(folders, fs::exists(hybrid) ? hybrid : files.cgroups, group);
    } else if (("," + controllers + ",").find("," + controller + ",") != std::string::npos) {
      const fs::path shared = files.cgroups / controllers;
      add_upward(folders, fs::exists(shared) ? shared : files.cgroups / controller, group);
    }
  }
  return folders;
}

/// The least number of processors that quotas of processor time amount to.
double quota(const MachineFiles& files) {
  double least = std::numeric_limits<double>::infinity();
  const auto consider = [&](std::optional<std::int64_t> time, std::optional<std::int64_t> period) {
    if (!time || !period || *time <= 0 || *period <= 0) return;
    least = std::min(least, static_cast<double>(*time) / static_cast<double>(*period));
  };
  for (const fs::path& group : groups(files, "")) {
    const std::string both = text_of(group / "cpu.max");  // "150000 100000", "max 100000"
    const std::size_t space = both.find(' ');
    if (space == std::string::npos) continue;
    consider(number(both), number(std::string_view(both).substr(space + 1)));
  }
  for (const fs::path& group : groups(files, "cpu")) {
    consider(number(text_of(group / "cpu.cfs_quota_us")),
             number(text_of(group / "cpu.cfs_period_us")));
  }
  return least;
}

int allowed_processors() {
  const int all = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#if defined(__linux__)
  // OpenMP told to bind its threads has bound this one to its first place: that says nothing.
  for (const char* name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"}) {
    const char* value = std::getenv(name);
    if (value && std::string_view(value) != "false") return all;
  }
  for (int most = 1024; most <= (1 << 20); most *= 2) {  // EINVAL where the machine has more
    cpu_set_t* set = CPU_ALLOC(most);
    const std::size_t size = CPU_ALLOC_SIZE(most);
    const bool known = sched_getaffinity(0, size, set) == 0;
    const int count = known ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
#endif
  return all;
}

/// How one version of control groups names what it says of memory.
struct MemoryNames {
  const char* controller;
  std::vector<const char*> limits;
  const char* usage;
  std::vector<const char*> cached;  // lines of memory.stat
};

void consider(MachineMemory& memory, const fs::path& group, const MemoryNames& names) {
  for (const char* name : names.limits) {
    const auto limit = number(text_of(group / name));
    const auto usage = number(text_of(group / names.usage));
    if (!limit || !usage || *limit < 0) continue;
    const std::string statistics = text_of(group / "memory.stat");
    std::int64_t held = *usage;
    for (const char* line : names.cached) held -= entry(statistics, line);
    const std::int64_t left = *limit - std::max<std::int64_t>(held, 0);
    memory.available = std::min(memory.available, std::max<std::int64_t>(left, 0));
    memory.total = std::min(memory.total, *limit);
  }
}

}  // namespace

int usable_cores(const MachineFiles& files) {
  const double allowed = std::min(static_cast<double>(allowed_processors()), quota(files));
  return std::max(1, static_cast<int>(std::ceil(allowed)));
}

MachineMemory usable_memory(const MachineFiles& files) {
  const std::string information = text_of(files.proc / "meminfo");  // in KiB
  MachineMemory memory{.available = entry(information, "MemAvailable") * 1024,
                       .total = entry(information, "MemTotal") * 1024};
  if (memory.total == 0) {
    memory.total = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    memory.available = memory.total;
  }
  static const std::vector<MemoryNames> versions = {
      {"", {"memory.max", "memory.high"}, "memory.current", {"inactive_file", "active_file"}},
      {"memory",
       {"memory.limit_in_bytes"},
       "memory.usage_in_bytes",
       {"total_inactive_file", "total_active_file"}}};
  for (const MemoryNames& names : versions) {
    for (const fs::path& group : groups(files, names.controller)) consider(memory, group, names);
  }
  return memory;
}

}  // namespace sae

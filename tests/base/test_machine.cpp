#include <gtest/gtest.h>
#include <sched.h>

#include <fstream>
#include <thread>

#include "sae/base/machine.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMiB = 1 << 20;

/// A machine of 8 GiB, 6 of them available, whose files a test fills in.
class Machine : public testing::Test {
 protected:
  Machine() {
    write("proc/meminfo",
          "MemTotal:        8388608 kB\nMemFree:   1024 kB\n"
          "MemAvailable:    6291456 kB\nMemAvailableNot: 1 kB\n");
  }

  void write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_.path() / name).parent_path());
    std::ofstream(folder_.path() / name, std::ios::binary) << text;
  }

  MachineFiles files() const { return {folder_.path() / "proc", folder_.path() / "cgroup"}; }
  std::int64_t available() const { return usable_memory(files()).available / kMiB; }
  std::int64_t total() const { return usable_memory(files()).total / kMiB; }
  int cores() const { return usable_cores(files()); }

 private:
  TemporaryFolder folder_;
};

/// Runs `body` on a thread that may be scheduled on the first of this process's processors only.
template <class Body>
void on_one_processor(const Body& body) {
  std::thread([&] {
    cpu_set_t set;
    ASSERT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
    int first = 0;
    while (!CPU_ISSET(first, &set)) ++first;
    CPU_ZERO(&set);
    CPU_SET(first, &set);
    ASSERT_EQ(sched_setaffinity(0, sizeof set, &set), 0);
    body();
  }).join();
}

TEST_F(Machine, WithoutControlGroupsIsUsedWhole) {
  EXPECT_EQ(available(), 6144);
  EXPECT_EQ(total(), 8192);
  EXPECT_GE(cores(), 1);
}

TEST_F(Machine, ThisOneHasCoresAndMemory) {
  const MachineMemory memory = usable_memory();
  EXPECT_GT(memory.available, 0);
  EXPECT_LE(memory.available, memory.total);
  EXPECT_GE(usable_cores(), 1);
  EXPECT_LE(usable_cores(), static_cast<int>(std::thread::hardware_concurrency()));
}

TEST_F(Machine, AProcessBoundToOneProcessorHasOneCore) {
  on_one_processor([&] { EXPECT_EQ(cores(), 1); });
}

TEST_F(Machine, AQuotaOfProcessorTimeIsRoundedUpAndLimitsCores) {
  write("proc/self/cgroup", "0::/slice/job\n");
  write("cgroup/slice/job/cpu.max", "20000 100000\n");
  EXPECT_EQ(cores(), 1);
  const int all = usable_cores();
  write("cgroup/slice/job/cpu.max", std::to_string(all * 100000 - 50000) + " 100000\n");
  EXPECT_EQ(cores(), all) << "half a core is worth a thread";
  write("cgroup/slice/job/cpu.max", "max 100000\n");
  EXPECT_EQ(cores(), all);
}

TEST_F(Machine, TheNarrowestOfAllGroupsAroundTheProcessCounts) {
  write("proc/self/cgroup", "0::/user.slice/session/deep\n");
  write("cgroup/user.slice/session/deep/memory.max", "max\n");
  write("cgroup/user.slice/session/deep/memory.current", "1\n");
  write("cgroup/user.slice/memory.max", std::to_string(2048 * kMiB) + "\n");
  write("cgroup/user.slice/memory.current", std::to_string(500 * kMiB) + "\n");
  write("cgroup/user.slice/cpu.max", "100000 100000\n");
  EXPECT_EQ(available(), 1548);
  EXPECT_EQ(total(), 2048);
  EXPECT_EQ(cores(), 1);
}

TEST_F(Machine, CachedFilesOfAGroupAreAvailable) {
  write("proc/self/cgroup", "0::/\n");
  write("cgroup/memory.max", std::to_string(1000 * kMiB));
  write("cgroup/memory.current", std::to_string(900 * kMiB));
  write("cgroup/memory.stat", "anon 5\nfile 7\ninactive_file " + std::to_string(300 * kMiB) +
                                  "\nactive_file " + std::to_string(100 * kMiB) + "\n");
  EXPECT_EQ(available(), 500);
  write("cgroup/memory.high", std::to_string(800 * kMiB));
  EXPECT_EQ(available(), 300) << "beyond memory.high the kernel slows a process down";
}

TEST_F(Machine, AGroupThatIsFullLeavesNothing) {
  write("proc/self/cgroup", "0::/\n");
  write("cgroup/memory.max", "1000\n");
  write("cgroup/memory.current", "2000\n");
  EXPECT_EQ(available(), 0);
}

TEST_F(Machine, ReadsVersionOne) {
  write("proc/self/cgroup",
        "9:name=systemd:/x\n4:memory:/docker/abc\n2:cpuacct,cpu:/docker/abc\n1:cpuset:/\n");
  write("cgroup/memory/docker/abc/memory.limit_in_bytes", std::to_string(700 * kMiB));
  write("cgroup/memory/docker/abc/memory.usage_in_bytes", std::to_string(600 * kMiB));
  write("cgroup/memory/docker/abc/memory.stat", "inactive_file 1\ntotal_inactive_file " +
                                                    std::to_string(200 * kMiB) +
                                                    "\ntotal_active_file 0\n");
  write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("cgroup/memory/memory.usage_in_bytes", "1\n");
  write("cgroup/cpuacct,cpu/docker/abc/cpu.cfs_quota_us", "50000\n");
  write("cgroup/cpuacct,cpu/docker/abc/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(available(), 300);
  EXPECT_EQ(total(), 700);
  EXPECT_EQ(cores(), 1);
  const int all = usable_cores();
  write("cgroup/cpuacct,cpu/docker/abc/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cores(), all) << "-1 is no quota";
}

TEST_F(Machine, AContainerThatSeesItsHostsPathsFindsItsOwnLimits) {
  write("proc/self/cgroup", "4:memory:/docker/abc\n0::/../other\n");
  write("cgroup/memory/memory.limit_in_bytes", std::to_string(300 * kMiB));
  write("cgroup/memory/memory.usage_in_bytes", std::to_string(100 * kMiB));
  EXPECT_EQ(available(), 200);
}

TEST_F(Machine, FilesThatMakeNoSenseAreNoLimits) {
  write("proc/self/cgroup", "garbage\n0::/a\n0\n");
  write("cgroup/a/cpu.max", "0 0\n");
  write("cgroup/a/memory.max", "many\n");
  write("cgroup/a/memory.current", "\n");
  EXPECT_EQ(available(), 6144);
  EXPECT_GE(cores(), 1);
}

}  // namespace
}  // namespace sae

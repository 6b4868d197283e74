#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <optional>
#include <string>

#include "base/lock_file.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/folder_lock.h"
#include "support/other_process.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "not refused";
}

std::string host() {
  char name[256] = {};
  EXPECT_EQ(gethostname(name, sizeof name - 1), 0);
  return name;
}

class Locks : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

 private:
  TemporaryFolder folder_;
};

TEST_F(Locks, ASecondProcessIsRefusedAndToldWhoTheFirstIs) {
  std::optional<FolderLock> theirs;
  const OtherProcess other([&] { theirs.emplace(path("run")); });
  EXPECT_EQ(refusal([&] { FolderLock{path("run")}; }),
            path("run").string() + ": another process is writing it: process " +
                std::to_string(other.pid()) + " on " + host() +
                "; wait until it has ended, or choose another folder");
  EXPECT_EQ(read_file(path("run") / ".lock"), host() + " " + std::to_string(other.pid()) + "\n");
  EXPECT_TRUE(FolderLock{path("run2")}.held()) << "another folder is free";
}

TEST_F(Locks, WhatAKilledProcessLeftHindersNobody) {
  std::optional<FolderLock> theirs;
  OtherProcess other([&] { theirs.emplace(path("run")); });
  other.kill_it();
  ASSERT_TRUE(fs::exists(path("run") / ".lock"));
  {
    const FolderLock ours(path("run"));
    EXPECT_EQ(read_file(path("run") / ".lock"), host() + " " + std::to_string(getpid()) + "\n");
  }
  EXPECT_FALSE(fs::exists(path("run") / ".lock"));
}

TEST_F(Locks, LeaveNothingButWhatWasWritten) {
  { const FolderLock lock(path("a") / "b" / "run"); }
  EXPECT_FALSE(fs::exists(path("a"))) << "folders that were made and stayed empty";
  {
    const FolderLock lock(path("a") / "run");
    write_file_atomically(path("a") / "run" / "file", "x");
  }
  EXPECT_EQ(read_file(path("a") / "run" / "file"), "x");
  EXPECT_FALSE(fs::exists(path("a") / "run" / ".lock"));
  fs::create_directory(path("empty"));
  { const FolderLock lock(path("empty")); }
  EXPECT_TRUE(fs::exists(path("empty"))) << "it was there before";
}

TEST_F(Locks, ATargetThatIsToBeMadeIsLockedByItsName) {
  std::optional<FolderLock> theirs;
  const OtherProcess other([&] { theirs.emplace(FolderLock::beside(path("x") / "pages")); });
  EXPECT_FALSE(fs::exists(path("x") / "pages"));
  EXPECT_NE(refusal([&] { FolderLock::beside(path("x") / "pages/"); })
                .find(path("x/pages").string() + ": another process is writing it: process " +
                      std::to_string(other.pid())),
            std::string::npos);
  EXPECT_TRUE(FolderLock::beside(path("x") / "other").held());
}

TEST_F(Locks, MoveWithTheirHolder) {
  FolderLock first(path("run"));
  FolderLock second = std::move(first);
  EXPECT_FALSE(first.held());
  EXPECT_NE(refusal([&] { FolderLock{path("run")}; }), "not refused");
  second = FolderLock();
  EXPECT_TRUE(FolderLock{path("run")}.held());
}

TEST_F(Locks, NothingIsWrittenWhereThereIsNoFolder) {
  write_file_atomically(path("file"), "mine");
  EXPECT_EQ(refusal([&] { FolderLock{path("file")}; }),
            path("file").string() + ": exists and is no folder; choose another --out");
  EXPECT_EQ(
      refusal([&] { FolderLock{path("file/run")}; }),
      path("file/run").string() + ": cannot write here: Not a directory; choose another --out");
}

/// flock(2) on a file system that has none.
int no_locks(int /*descriptor*/, int /*operation*/) {
  errno = ENOLCK;
  return -1;
}

TEST_F(Locks, WithoutFlockTheProcessThatTheFileNamesDecides) {
  const fs::path file = path(".lock");
  const auto take = [&] { LockFile(file, path("run"), no_locks); };
  EXPECT_EQ(refusal(take), "not refused");
  EXPECT_FALSE(fs::exists(file));
  {
    const OtherProcess alive([] {});
    write_file_atomically(file, host() + " " + std::to_string(alive.pid()) + "\n");
    EXPECT_EQ(refusal(take), path("run").string() + ": another process is writing it: process " +
                                 std::to_string(alive.pid()) + " on " + host() +
                                 "; this file system has no locks: if that process has ended, "
                                 "remove " +
                                 file.string());
    EXPECT_TRUE(fs::exists(file)) << "a lock of others stays";
  }
  EXPECT_EQ(refusal(take), "not refused") << "that process has ended";
  write_file_atomically(file, "elsewhere 1\n");
  EXPECT_NE(refusal(take).find("process 1 on elsewhere"), std::string::npos);
  write_file_atomically(file, "half a li");
  EXPECT_NE(refusal(take).find("another process is writing it; this file system has no locks"),
            std::string::npos)
      << "one that is being made";
}

}  // namespace
}  // namespace sae

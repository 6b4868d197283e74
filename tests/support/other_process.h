// A second process, for tests of what two of them may do at once.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <optional>

#include "sae/base/folder_lock.h"

namespace sae {

/// Another process that does something and then lives until it is killed.
class OtherProcess {
 public:
  explicit OtherProcess(const std::function<void()>& work) {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    pid_ = fork();
    if (pid_ == 0) {
      try {
        work();
        if (write(ready[1], "x", 1) == 1) pause();
      } catch (...) {
      }
      _exit(1);
    }
    close(ready[1]);
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1) << "it could not do its work";
    close(ready[0]);
  }
  OtherProcess(const OtherProcess&) = delete;
  OtherProcess& operator=(const OtherProcess&) = delete;
  ~OtherProcess() { kill_it(); }

  pid_t pid() const { return pid_; }
  void kill_it() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

/// One that writes `folder`.
class OtherWriter {
 public:
  explicit OtherWriter(const std::filesystem::path& folder)
      : process_([&] { lock_.emplace(folder); }) {}

  pid_t pid() const { return process_.pid(); }

 private:
  std::optional<FolderLock> lock_;  // the other process's
  OtherProcess process_;
};

}  // namespace sae

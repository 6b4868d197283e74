// The command as a user meets it: the binary itself, its exit status and its two streams.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "support/run_testing.h"
#include "support/temporary_folder.h"

extern char** environ;

namespace sae {

struct CommandResult {
  int status = -1;  ///< as a shell has it: 128 + signal for a killed process
  std::string out;
  std::string err;
};

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

class CommandTest : public ::testing::Test {
 protected:
  std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }

  /// Starts `program`, the command if none is given, with the streams going to these files, by
  /// default of this folder.
  pid_t start(const std::vector<std::string>& arguments, const std::string& out = "",
              const std::string& err = "", const char* program = SAE_COMMAND) const {
    std::vector<std::string> words = {program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY;
    const std::string own_out = path("stdout"), own_err = path("stderr");
    posix_spawn_file_actions_addopen(&actions, 1, (out.empty() ? own_out : out).c_str(), flags,
                                     0666);
    posix_spawn_file_actions_addopen(&actions, 2, (err.empty() ? own_err : err).c_str(), flags,
                                     0666);
    pid_t pid = 0;
    const int error = posix_spawnp(&pid, program, &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    EXPECT_EQ(error, 0) << program;
    return pid;
  }

  CommandResult finish(pid_t pid) const {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    const auto text = [&](const char* name) {
      return std::filesystem::exists(path(name)) ? read_file(path(name)) : std::string();
    };
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), text("stdout"),
            text("stderr")};
  }

  CommandResult sae(const std::vector<std::string>& arguments) const {
    return finish(start(arguments));
  }

  /// Runs it, expecting `status` and exactly one line on stderr that contains `part`.
  void expect_error(int status, const std::string& part,
                    const std::vector<std::string>& arguments) const {
    const CommandResult result = sae(arguments);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.err.find("error: "), 0U) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err << "expected " << part;
  }

  std::string write_config(const Json& config, const std::string& name = "c.json") const {
    write_text(path(name), config.dump(1));
    return path(name).string();
  }

 private:
  TemporaryFolder folder_;
};

inline Json topk_config(std::int64_t steps = 40) {
  return tiny_config({{"architecture", "topk"}, {"d_sae", 16}, {"k", 2}}, steps);
}

/// Waits until the run has logged something, so that it is past its start.
inline void wait_for_log(const std::filesystem::path& run) {
  for (int i = 0; i < 3000; ++i) {
    std::error_code none;
    if (std::filesystem::file_size(run / "metrics.jsonl", none) > 0 && !none) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  FAIL() << run << " logged nothing";
}

}  // namespace sae

#include "data/stream/harvest_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <torch/types.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <system_error>
#include <thread>
#include <vector>

#include "data/store/shard.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/interrupt.h"

extern char** environ;

namespace sae {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kPoll = 10ms;
constexpr const char* kEnd = "end";
constexpr const char* kLog = "log";

/// A new folder in memory where there is a file system in it, else where temporaries are.
fs::path new_folder() {
  for (const fs::path& place : {fs::path("/dev/shm"), fs::temp_directory_path()}) {
    std::string name = (place / "sae-stream-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) return name;
  }
  throw DataError(
      "data.folder: no folder for a stream can be made in /dev/shm or TMPDIR; give one");
}

/// The last line that is not empty.
std::string last_line(const fs::path& file) {
  std::error_code none;
  if (!fs::exists(file, none)) return "";
  std::string text = read_file(file);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  const std::size_t begin = text.find_last_of("\n\r");
  return begin == std::string::npos ? text : text.substr(begin + 1);
}

pid_t start(const std::string& command, const fs::path& log, std::vector<std::string> more) {
  for (char** one = environ; *one != nullptr; ++one) more.emplace_back(*one);
  std::vector<char*> environment;
  for (std::string& one : more) environment.push_back(one.data());
  environment.push_back(nullptr);
  std::string shell = "/bin/sh", option = "-c", text = command;
  char* const words[] = {shell.data(), option.data(), text.data(), nullptr};
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  posix_spawnattr_t attributes;  // a group of its own, to be ended as one
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t process = -1;
  const int error =
      posix_spawn(&process, "/bin/sh", &files, &attributes, words, environment.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) throw std::system_error(error, std::generic_category(), "/bin/sh");
  return process;
}

}  // namespace

HarvestProcess::HarvestProcess(const StreamDataOptions& options, std::int64_t start_at,
                               const std::atomic<bool>& stopping)
    : options_(options), stopping_(stopping) {
  if (options_.folder) {
    folder_ = *options_.folder;
    made_folder_ = fs::create_directories(folder_);
    if (!fs::is_empty(folder_)) {
      throw ConfigError("data.folder: " + folder_.string() +
                        " is not empty, expected a folder for this stream alone");
    }
  } else {
    folder_ = new_folder();
    made_folder_ = true;
  }
  process_ = start(
      options_.command, folder_ / kLog,
      {"SAE_STREAM_FOLDER=" + folder_.string(), "SAE_STREAM_START=" + std::to_string(start_at),
       "SAE_STREAM_AHEAD=" + std::to_string(options_.ahead),
       "SAE_STREAM_READER=" + std::to_string(::getpid())});
}

HarvestProcess::~HarvestProcess() {
  if (process_ > 0) {
    ::kill(-process_, SIGTERM);
    for (int i = 0; i < 200 && !has_ended(); ++i) std::this_thread::sleep_for(kPoll);
    if (process_ > 0) {
      ::kill(-process_, SIGKILL);
      ::waitpid(process_, &status_, 0);
    }
  }
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder_, none)) {
    fs::remove_all(entry.path(), none);
  }
  if (made_folder_) fs::remove(folder_, none);
}

bool HarvestProcess::has_ended() {
  if (process_ > 0 && ::waitpid(process_, &status_, WNOHANG) == process_) process_ = -1;
  return process_ < 0;
}

void HarvestProcess::fail(const std::string& what) const {
  const std::string said = last_line(folder_ / kLog);
  throw DataError("data.command: " + what + " after " + std::to_string(tokens_) + " tokens" +
                  (said.empty() ? "" : "; it said: " + said));
}

/// False when it is told to stop.
bool HarvestProcess::wait_for(const fs::path& shard) {
  const auto began = Clock::now();
  for (;;) {
    if (fs::exists(shard)) return true;
    if (stopping_ || interrupt_requested()) return false;
    const bool whole = fs::exists(folder_ / kEnd);
    if (has_ended() || whole) {
      if (fs::exists(shard)) return true;  // written meanwhile
      if (whole) fail("its text is over");
      fail(WIFSIGNALED(status_) ? "was ended by signal " + std::to_string(WTERMSIG(status_))
                                : "ended with status " + std::to_string(WEXITSTATUS(status_)));
    }
    if (Clock::now() - began > std::chrono::seconds(options_.stall_s)) {
      fail("made nothing for " + std::to_string(options_.stall_s) + " s (data.stall_s)");
    }
    std::this_thread::sleep_for(kPoll);
  }
}

at::Tensor HarvestProcess::next() {
  const fs::path path = folder_ / numbered_file("shard", shards_);
  if (!wait_for(path)) return {};
  at::Tensor rows;
  {
    const Shard shard = open_shard(path);
    rows = at::empty({shard.rows, shard.width}, shard.stored_type());
    auto* to = static_cast<char*>(rows.mutable_data_ptr());
    const std::int64_t bytes = shard.width * static_cast<std::int64_t>(rows.element_size());
    for (std::int64_t row = 0; row < shard.rows; ++row) {
      if (!shard.copy_row(row, to + row * bytes)) {
        throw DataError("data.command: token " + std::to_string(tokens_ + row) +
                        " of what it made is not finite");
      }
    }
  }
  fs::remove(path);
  ++shards_;
  tokens_ += rows.size(0);
  return rows;
}

}  // namespace sae

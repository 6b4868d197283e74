#include "base/lock_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <csignal>
#include <system_error>
#include <utility>

#include "base/temporaries.h"
#include "sae/base/error.h"

namespace sae {

namespace fs = std::filesystem;

namespace {

constexpr int kOpenTries = 100;

std::string this_host() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

bool is_running(std::int64_t process) {
  return kill(static_cast<pid_t>(process), 0) == 0 || errno != ESRCH;
}

bool has_no_locks(int error) {
  return error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP || error == ENOTSUP;
}

}  // namespace

LockFile::LockFile(fs::path path, const fs::path& target, Flock lock) : path_(std::move(path)) {
  for (;;) {
    const bool made = open_file();
    try {
      acquire(made, target, lock);
    } catch (...) {
      close(descriptor_);
      throw;
    }
    if (is_current()) break;
    close(descriptor_);  // its holder removed it between our opening and locking it
  }
  const std::string text = this_host() + " " + std::to_string(getpid()) + "\n";
  if (ftruncate(descriptor_, 0) != 0 ||
      pwrite(descriptor_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    const int error = errno;
    unlink(path_.c_str());
    close(descriptor_);
    throw std::system_error(error, std::generic_category(), path_.string() + ": cannot write");
  }
  Temporaries::all().add(path_, [] {});
}

LockFile::~LockFile() {
  Temporaries::all().drop(path_, [&] {
    if (is_current()) unlink(path_.c_str());
  });
  close(descriptor_);
}

/// True if the file was not there before.
bool LockFile::open_file() {
  for (int tries = 1;; ++tries) {
    descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ >= 0) return true;
    if (errno == EEXIST) {
      descriptor_ = open(path_.c_str(), O_RDWR | O_CLOEXEC);
      if (descriptor_ >= 0) return false;
      if (errno == ENOENT && tries < kOpenTries) continue;  // its holder removed it just now
    }
    throw std::system_error(errno, std::generic_category(), path_.string() + ": cannot write");
  }
}

void LockFile::acquire(bool made, const fs::path& target, Flock lock) const {
  if (lock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  if (errno == EWOULDBLOCK) refuse(target, "");
  if (!has_no_locks(errno)) {
    throw std::system_error(errno, std::generic_category(), path_.string() + ": cannot lock");
  }
  if (made) return;
  const Holder other = holder();
  if (other.host != this_host() || is_running(other.process)) {
    refuse(target,
           "; this file system has no locks: if that process has ended, remove " + path_.string());
  }
}

/// Whether the file that we hold is still the one that others will find.
bool LockFile::is_current() const {
  struct stat ours {};
  struct stat theirs {};
  return fstat(descriptor_, &ours) == 0 && stat(path_.c_str(), &theirs) == 0 &&
         ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

LockFile::Holder LockFile::holder() const {
  std::array<char, 400> bytes{};
  const ssize_t size = pread(descriptor_, bytes.data(), bytes.size() - 1, 0);
  const std::string text(bytes.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  Holder found;
  const std::size_t blank = text.find(' ');
  if (blank == std::string::npos || text.back() != '\n') return found;
  const char* end = text.data() + text.size() - 1;
  const auto read = std::from_chars(text.data() + blank + 1, end, found.process);
  if (read.ptr == end && read.ec == std::errc() && found.process > 0) {
    found.host = text.substr(0, blank);
  }
  return found;
}

void LockFile::refuse(const fs::path& target, const std::string& more) const {
  const Holder other = holder();
  throw ConfigError(target.string() + ": another process is writing it" +
                    (other.host.empty()
                         ? ""
                         : ": process " + std::to_string(other.process) + " on " + other.host) +
                    (more.empty() ? "; wait until it has ended, or choose another folder" : more));
}

}  // namespace sae

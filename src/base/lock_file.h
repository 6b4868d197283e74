// The lock file behind a FolderLock.
#pragma once

#include <sys/file.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace sae {

/// An open lock file, held and removed at the end.
class LockFile {
 public:
  /// As flock(2); tests put one in its place that has no locks to give.
  using Flock = int (*)(int descriptor, int operation);

  /// ConfigError that `target` is being written if another process holds the file;
  /// std::system_error if it cannot be made, with ENOENT if its folder is gone.
  LockFile(std::filesystem::path path, const std::filesystem::path& target, Flock lock = ::flock);
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;
  ~LockFile();

 private:
  struct Holder {
    std::string host;  ///< empty: the file does not say
    std::int64_t process = 0;
  };

  bool open_file();
  void acquire(bool made, const std::filesystem::path& target, Flock lock) const;
  bool is_current() const;
  Holder holder() const;
  [[noreturn]] void refuse(const std::filesystem::path& target, const std::string& more) const;

  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace sae

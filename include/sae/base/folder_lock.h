// One writer of a folder at a time.
//
// Whoever writes a folder holds flock on a lock file that names its host and process, "HOST PID\n":
// `.lock` in the folder, or `.NAME.lock` beside a target that must not exist yet. The second writer
// is refused at once and told who the first is. The kernel drops the lock when its process ends,
// however it ends, so that what a killed process leaves behind hinders nobody.
//
// It holds between the machines that share a file system as far as that passes flock on, as NFS
// does unless it is mounted with nolock or local_lock. On a file system without locks (flock fails
// with ENOLCK, ENOSYS or EOPNOTSUPP) whoever creates the file (O_EXCL) has the lock, and the
// process that it names decides: one that has ended on this host is taken over, where two that do
// so at the same instant may both succeed; one on another host cannot be asked, so that its lock
// file has to be removed by hand, as the message says. Nothing here needs LibTorch.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

namespace sae {

/// Held from construction to destruction:
///
///     const FolderLock lock(run);   // ConfigError if another process writes the folder
class FolderLock {
 public:
  /// Holds nothing.
  FolderLock();

  /// Locks a folder, which is made if need be; one that was made and is still empty at the end is
  /// removed again. ConfigError if another process is writing it, or nothing can be written there.
  explicit FolderLock(const std::filesystem::path& folder);

  /// Locks the name of a file or folder that is to be made.
  static FolderLock beside(const std::filesystem::path& target);

  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&& other) noexcept;
  ~FolderLock();

  bool held() const { return file_ != nullptr; }

 private:
  void acquire(const std::filesystem::path& folder, const std::filesystem::path& file,
               const std::filesystem::path& target);
  void release() noexcept;

  std::unique_ptr<class LockFile> file_;     // src/base/lock_file.h
  std::vector<std::filesystem::path> made_;  // folders, the innermost first
};

}  // namespace sae

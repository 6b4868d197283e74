// Files that are either complete or absent: atomic writes and directories written aside.
//
// A file or folder appears under its final name only after its bytes are on the disk (fsync of the
// files and of their folder, then rename, then fsync of the parent), so no kill, crash or full disk
// leaves half of one behind. Why both fsyncs: Pillai et al., OSDI 2014, "All File Systems Are Not
// Created Equal".
//
// A file that cannot be read throws DataError. A write that fails (full disk, no permission) throws
// std::system_error "path: cannot write: No space left on device" and leaves the old file as it
// was. Nothing here needs LibTorch.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace sae {

/// All bytes of a file.
std::string read_file(const std::filesystem::path& path);

/// Creates or replaces the file `path` with `bytes`.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// A file written piece by piece that appears, or replaces an older one, when committed. Dropped
/// without commit it leaves nothing.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void append(std::string_view bytes);
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

/// A folder written aside as `.tmp-<name>-<pid>` and renamed to its name when committed.
///
///     StagedDirectory staged(run / "checkpoints" / "step-00012000");
///     write_safetensors(staged.path() / "sae.safetensors", tensors);
///     staged.commit();
///
/// Dropped without commit it removes what it wrote. Making one also removes the remains of earlier
/// ones in the same parent whose process is gone.
class StagedDirectory {
 public:
  /// Creates the parent if needed. Throws std::system_error if `target` exists already.
  explicit StagedDirectory(std::filesystem::path target);
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;
  ~StagedDirectory();

  const std::filesystem::path& path() const { return staging_; }  ///< where to write
  const std::filesystem::path& target() const { return target_; }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path staging_;
  int lock_ = -1;
  bool committed_ = false;
};

/// Removes every temporary that this process has not committed, and lets none be committed or made
/// any more: for a process that is about to be ended in the middle of its work.
void discard_temporaries() noexcept;

/// Creates a folder for results; ConfigError if nothing can be written there.
void create_output_folder(const std::filesystem::path& folder);

/// Puts the folder `from` in the place of the folder `to` beside it, whose contents go: at any
/// moment `to` is the old or the new one. (Where the file system cannot exchange names, there is an
/// instant with neither; `to` is then left as `.old-<name>`.)
void replace_folder(const std::filesystem::path& from, const std::filesystem::path& to);

/// Removes every `.tmp-*-<pid>` in `parent` that no running process is writing.
void remove_stale_staging(const std::filesystem::path& parent);

/// A file's bytes as memory, read on demand. Reading what another process has meanwhile cut off is
/// a bus error, so check_unchanged comes before each use.
class MappedFile {
 public:
  explicit MappedFile(std::filesystem::path path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::filesystem::path& path() const { return path_; }
  std::string_view bytes() const { return {data_, size_}; }

  /// Device, inode, size, and modification time in seconds and nanoseconds, when it was mapped.
  const std::array<std::int64_t, 5>& identity() const { return identity_; }

  /// Throws DataError if the file under this path is no longer the one that was mapped, or has
  /// changed size or modification time. Costs one stat call.
  void check_unchanged() const;

  /// Tells the kernel that reads will be far apart, so that it reads no more than is asked for.
  void expect_random_access() const;

  /// Tells the kernel that bytes [begin, begin + size) are wanted soon.
  void will_need(std::size_t begin, std::size_t size) const;

 private:
  std::filesystem::path path_;
  const char* data_ = nullptr;
  std::size_t size_ = 0;
  std::array<std::int64_t, 5> identity_{};
};

}  // namespace sae

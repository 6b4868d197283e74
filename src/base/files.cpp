#include "sae/base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>
#include <vector>

#include "base/temporaries.h"
#include "sae/base/error.h"

namespace sae {

namespace fs = std::filesystem;

namespace {

std::string reason(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail_read(const fs::path& path, int error) {
  throw DataError(path.string() + ": cannot read: " + reason(error));
}

[[noreturn]] void fail_write(const fs::path& path, int error) {
  throw std::system_error(error, std::generic_category(), path.string() + ": cannot write");
}

/// An open file descriptor, closed at the end of its scope.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags) : value_(open(path.c_str(), flags | O_CLOEXEC)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) close(value_);
  }
  int value() const { return value_; }

 private:
  int value_;
};

void sync(const fs::path& path) {
  const Descriptor file(path, O_RDONLY);
  if (file.value() < 0 || fsync(file.value()) != 0) fail_write(path, errno);
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

/// "runs/a/" names the same folder as "runs/a".
fs::path without_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

fs::path staging_of(const fs::path& target) {
  return parent_of(target) /
         (".tmp-" + target.filename().string() + "-" + std::to_string(getpid()));
}

void sync_recursively(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory() && !entry.is_symlink()) {
      sync_recursively(entry.path());
    } else if (entry.is_regular_file()) {
      sync(entry.path());
    }
  }
  sync(folder);
}

/// Whoever writes a temporary holds a lock on it; the kernel drops the lock when the process ends,
/// so that, unlike a process id, it is right across containers and reboots too.
bool lock(int descriptor) { return flock(descriptor, LOCK_EX | LOCK_NB) == 0; }

std::array<std::int64_t, 5> identity_of(const struct stat& status) {
  return {static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino),
          status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

}  // namespace

void discard_temporaries() noexcept { Temporaries::all().discard_for_good(); }

std::string read_file(const fs::path& path) {
  const Descriptor file(path, O_RDONLY);
  if (file.value() < 0) fail_read(path, errno);
  std::string bytes;
  std::vector<char> chunk(1 << 16);
  for (;;) {
    const ssize_t count = read(file.value(), chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_read(path, errno);
    if (count == 0) return bytes;
    bytes.append(chunk.data(), static_cast<std::size_t>(count));
  }
}

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.append(bytes);
  file.commit();
}

AtomicFile::AtomicFile(fs::path target)
    : target_(std::move(target)), temporary_(staging_of(target_)) {
  Temporaries::all().add(temporary_, [&] {
    descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail_write(target_, errno);
  });
  lock(descriptor_);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  Temporaries::all().drop(temporary_, [&] { unlink(temporary_.c_str()); });
}

void AtomicFile::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(descriptor_, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_write(target_, errno);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

void AtomicFile::commit() {
  if (descriptor_ < 0) throw std::invalid_argument(target_.string() + ": committed twice");
  if (fsync(descriptor_) != 0) fail_write(target_, errno);
  Temporaries::all().drop(temporary_, [&] {
    if (rename(temporary_.c_str(), target_.c_str()) != 0) fail_write(target_, errno);
  });
  close(descriptor_);
  descriptor_ = -1;
  sync(parent_of(target_));
}

StagedDirectory::StagedDirectory(fs::path target) : target_(without_slash(target)) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(target_))) fail_write(target_, EEXIST);
  fs::create_directories(parent_of(target_), error);
  if (error) fail_write(target_, error.value());
  remove_stale_staging(parent_of(target_));
  staging_ = staging_of(target_);
  fs::remove_all(staging_, error);
  Temporaries::all().add(staging_, [&] {
    if (mkdir(staging_.c_str(), 0777) != 0) fail_write(target_, errno);
  });
  lock_ = open(staging_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ >= 0) lock(lock_);
}

StagedDirectory::~StagedDirectory() {
  if (lock_ >= 0) close(lock_);
  if (committed_) return;
  Temporaries::all().drop(staging_, [&] {
    std::error_code ignored;
    fs::remove_all(staging_, ignored);
  });
}

void StagedDirectory::commit() {
  sync_recursively(staging_);
  // rename replaces an empty folder silently; one that appeared meanwhile is someone else's.
  Temporaries::all().drop(staging_, [&] {
    if (fs::exists(fs::symlink_status(target_))) fail_write(target_, EEXIST);
    if (rename(staging_.c_str(), target_.c_str()) != 0) fail_write(target_, errno);
  });
  committed_ = true;
  sync(parent_of(target_));
}

void create_output_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error && access(folder.c_str(), W_OK) != 0) error.assign(errno, std::generic_category());
  if (error) {
    throw ConfigError(folder.string() + ": cannot write here: " + error.message() +
                      "; choose another --out");
  }
}

void replace_folder(const fs::path& from, const fs::path& to) {
  sync_recursively(from);
  fs::path gone = from;
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) {
    gone = parent_of(to) / (".old-" + to.filename().string());
    fs::remove_all(gone);
    if (rename(to.c_str(), gone.c_str()) != 0) fail_write(to, errno);
    if (rename(from.c_str(), to.c_str()) != 0) fail_write(to, errno);
  }
  sync(parent_of(to));
  fs::remove_all(gone);
}

void remove_stale_staging(const fs::path& parent) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent, ignored)) {
    const std::string name = entry.path().filename().string();
    const std::size_t dash = name.rfind('-');
    if (!name.starts_with(".tmp-") || dash < 5 || dash + 1 == name.size() ||
        name.find_first_not_of("0123456789", dash + 1) != std::string::npos) {
      continue;
    }
    const Descriptor remains(entry.path(), O_RDONLY | O_NOFOLLOW);
    if (remains.value() >= 0 && lock(remains.value())) fs::remove_all(entry.path(), ignored);
  }
}

MappedFile::MappedFile(fs::path path) : path_(std::move(path)) {
  const Descriptor file(path_, O_RDONLY | O_NONBLOCK);
  struct stat status {};
  if (file.value() < 0 || fstat(file.value(), &status) != 0) fail_read(path_, errno);
  if (!S_ISREG(status.st_mode)) {
    throw DataError(path_.string() + ": cannot read: not a regular file");
  }
  identity_ = identity_of(status);
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* data = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.value(), 0);
  if (data == MAP_FAILED) fail_read(path_, errno);
  data_ = static_cast<const char*>(data);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
}

void MappedFile::check_unchanged() const {
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0) {
    throw DataError(path_.string() + ": vanished while in use: " + reason(errno));
  }
  if (identity_of(status) != identity_) {
    throw DataError(path_.string() + ": changed while in use");
  }
}

void MappedFile::expect_random_access() const {
  if (size_ > 0) madvise(const_cast<char*>(data_), size_, MADV_RANDOM);
}

void MappedFile::will_need(std::size_t begin, std::size_t size) const {
  static const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  if (size == 0 || begin + size > size_) return;
  const std::size_t first = begin / page * page;
  madvise(const_cast<char*>(data_) + first, begin + size - first, MADV_WILLNEED);
}

}  // namespace sae

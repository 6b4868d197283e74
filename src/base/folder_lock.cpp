#include "sae/base/folder_lock.h"

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/lock_file.h"
#include "base/temporaries.h"
#include "sae/base/error.h"
#include "sae/base/files.h"

namespace sae {

namespace fs = std::filesystem;

namespace {

constexpr int kFolderTries = 100;

/// `folder` and what is above it, as far as it does not exist; the innermost first.
std::vector<fs::path> missing_folders(fs::path folder) {
  std::vector<fs::path> missing;
  while (!folder.empty() && !fs::exists(folder)) {
    if (folder.has_filename()) missing.push_back(folder);
    folder = folder.parent_path();
  }
  return missing;
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

}  // namespace

FolderLock::FolderLock() = default;

FolderLock::FolderLock(const fs::path& folder) {
  if (fs::exists(folder) && !fs::is_directory(folder)) {
    throw ConfigError(folder.string() + ": exists and is no folder; choose another --out");
  }
  acquire(folder, folder / ".lock", folder);
}

FolderLock FolderLock::beside(const fs::path& target) {
  const fs::path name = target.has_filename() ? target : target.parent_path();  // "pages/"
  FolderLock lock;
  lock.acquire(folder_of(name), folder_of(name) / ("." + name.filename().string() + ".lock"), name);
  return lock;
}

void FolderLock::acquire(const fs::path& folder, const fs::path& file, const fs::path& target) {
  try {
    for (int tries = 1;; ++tries) {
      std::vector<fs::path> missing = missing_folders(folder);
      create_output_folder(folder);
      made_.insert(made_.end(), missing.begin(), missing.end());
      for (auto one = missing.rbegin(); one != missing.rend(); ++one) {
        Temporaries::all().add_folder(*one);
      }
      try {
        file_ = std::make_unique<LockFile>(file, target);
        return;
      } catch (const std::system_error& error) {
        // A folder that its last writer has removed just now is made once more.
        if (error.code().value() != ENOENT || tries == kFolderTries) throw;
      }
    }
  } catch (...) {
    release();
    throw;
  }
}

FolderLock::FolderLock(FolderLock&& other) noexcept
    : file_(std::move(other.file_)), made_(std::exchange(other.made_, {})) {}

FolderLock& FolderLock::operator=(FolderLock&& other) noexcept {
  if (this == &other) return *this;
  release();
  file_ = std::move(other.file_);
  made_ = std::exchange(other.made_, {});
  return *this;
}

FolderLock::~FolderLock() { release(); }

void FolderLock::release() noexcept {
  file_.reset();
  bool empty = true;
  for (const fs::path& folder : made_) {
    Temporaries::all().drop(folder, [&] {
      std::error_code full;
      empty = empty && fs::remove(folder, full);
    });
  }
  made_.clear();
}

}  // namespace sae

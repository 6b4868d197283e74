// What this process has on disk that is not to outlive it: known, so that it can be removed when
// the process is ended in the middle of its work.
#pragma once

#include <filesystem>
#include <mutex>
#include <vector>

namespace sae {

class Temporaries {
 public:
  static Temporaries& all();

  /// Calls `make`, which makes the file or folder `path`, or throws.
  template <class Make>
  void add(const std::filesystem::path& path, const Make& make) {
    const std::lock_guard lock(mutex_);
    make();
    entries_.push_back({path, /*whole=*/true});
  }

  /// A folder that was made for something else: removed only if it is empty.
  void add_folder(const std::filesystem::path& path);

  /// Calls `end`, which moves `path` to its place, or removes it, or throws and leaves it.
  template <class End>
  void drop(const std::filesystem::path& path, const End& end) {
    const std::lock_guard lock(mutex_);
    end();
    forget(path);
  }

  /// Removes everything, the newest first. Whoever adds or drops afterwards waits for ever.
  void discard_for_good() noexcept;

 private:
  struct Entry {
    std::filesystem::path path;
    bool whole;
  };

  void forget(const std::filesystem::path& path);

  std::mutex mutex_;
  std::vector<Entry> entries_;
};

}  // namespace sae

#include "base/temporaries.h"

#include <algorithm>
#include <system_error>

namespace sae {

namespace fs = std::filesystem;

Temporaries& Temporaries::all() {
  static auto* const one = new Temporaries;  // outlives whatever is destroyed at exit
  return *one;
}

void Temporaries::add_folder(const fs::path& path) {
  const std::lock_guard lock(mutex_);
  entries_.push_back({path, /*whole=*/false});
}

void Temporaries::forget(const fs::path& path) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return entry.path == path; });
  if (found != entries_.end()) entries_.erase(found);
}

void Temporaries::discard_for_good() noexcept {
  mutex_.lock();  // and never unlocked
  std::error_code ignored;
  // Twice: another thread may write one more file into a folder while it is being removed.
  for (int round = 0; round < 2; ++round) {
    for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
      entry->whole ? fs::remove_all(entry->path, ignored) : fs::remove(entry->path, ignored);
    }
  }
}

}  // namespace sae

// What is found out about a file by reading all of it, remembered for the life of the process: a
// store that many runs open is read once.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "sae/base/files.h"

namespace sae {

/// Whether a file may be known by its identity. One that was changed just now may be changed again
/// within the same tick of the file system's clock.
bool has_settled(const MappedFile& file);

/// A value that follows from a file's bytes. May be asked from several threads at once.
template <class Value>
class FileFacts {
 public:
  template <class Find>
  Value get(const MappedFile& file, const Find& find) {
    const std::lock_guard lock(mutex_);
    const auto known = known_.find(file.identity());
    if (known != known_.end()) return known->second;
    Value value = find(file);
    if (has_settled(file)) known_.emplace(file.identity(), value);
    return value;
  }

 private:
  std::mutex mutex_;
  std::map<std::array<std::int64_t, 5>, Value> known_;
};

/// SHA-256 of all bytes, 64 digits.
std::string sha256_of(const MappedFile& file);

/// What a file of any size is known by: "sha256:..." of all bytes up to 1 GiB; beyond that, where
/// reading all would take minutes, "sampled-sha256:..." of its size and 256 blocks of 1 MiB spread
/// evenly from its first to its last byte.
std::string content_digest(const MappedFile& file);

/// The latter, of at least two blocks of at most all bytes each.
std::string sampled_digest(std::string_view bytes, std::size_t blocks, std::size_t block);

}  // namespace sae

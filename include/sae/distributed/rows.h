// Which of a number of things in order belongs to which rank.
#pragma once

#include <cstdint>

namespace sae {

/// [begin, end).
struct Rows {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end - begin; }
  bool operator==(const Rows& other) const = default;
};

/// Those of `rank` among `size` ranks of `count` in all, which need not divide: in the order of
/// ranks, each once, numbers that differ by one at most. None where there are more ranks.
inline Rows rows_of(std::int64_t count, std::int64_t rank, std::int64_t size) {
  return {count * rank / size, count * (rank + 1) / size};
}

}  // namespace sae

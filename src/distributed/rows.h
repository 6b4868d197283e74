// Which latents a rank owns.
#pragma once

#include <cstdint>

namespace sae {

/// Latents [begin, end).
struct Rows {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end - begin; }
  bool operator==(const Rows& other) const = default;
};

/// Those of `rank` among `size` ranks of `d_sae` latents, which need not divide: in the order of
/// ranks, each latent once, numbers that differ by one at most. None where there are more ranks
/// than latents.
inline Rows rows_of(std::int64_t d_sae, std::int64_t rank, std::int64_t size) {
  return {d_sae * rank / size, d_sae * (rank + 1) / size};
}

}  // namespace sae

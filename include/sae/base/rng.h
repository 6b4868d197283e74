// Counter-based random numbers: every draw is a pure function of (seed, stream, index, position).
//
// There is no global generator. A consumer names its purpose (`Stream`) and what it draws for (a
// step, a sample, a tensor), so a draw never depends on batch size, thread count or history.
//
// The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
// 3"), with the seed as key and (index, stream, block) as counter.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sae {

/// What a stream of random numbers is for. Values are part of reproducibility: never renumber.
enum class Stream : std::uint32_t {
  kInit = 1,         ///< parameters; index = latent
  kShuffle = 2,      ///< data order; index = epoch
  kSplit = 3,        ///< train / held-out split
  kMask = 4,         ///< temporal masks; index = step
  kResample = 5,     ///< resampling of dead latents; index = step
  kChunks = 6,       ///< chunks of latents for the orthogonality penalty; index = step
  kWorld = 16,       ///< construction of a synthetic world; index = part
  kSample = 17,      ///< samples of a synthetic world; index = sample
  kEvaluation = 32,  ///< evaluation-time choices
  kTest = 64,
};

/// One block of Philox4x32-10. In the header because samplers spend most of their time here.
inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                           std::array<std::uint32_t, 2> key) {
  constexpr std::uint64_t kMultiply0 = 0xD2511F53;
  constexpr std::uint64_t kMultiply1 = 0xCD9E8D57;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = kMultiply0 * counter[0];
    const std::uint64_t product1 = kMultiply1 * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// A cheap, copyable reader of one stream.
class Rng {
 public:
  Rng(std::uint64_t seed, Stream stream, std::uint64_t index)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
        counter_{0, static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(index),
                 static_cast<std::uint32_t>(index >> 32)} {}

  /// 32 uniform bits.
  std::uint32_t next() {
    if (used_ == 4) {
      block_ = philox(counter_, key_);
      ++counter_[0];
      used_ = 0;
    }
    return block_[static_cast<std::size_t>(used_++)];
  }

  double uniform();                      ///< in (0, 1), 52 bits; never 0 or 1
  double normal();                       ///< standard normal (Box-Muller)
  std::uint64_t below(std::uint64_t n);  ///< uniform in [0, n), unbiased; n >= 1

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  int used_ = 4;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace sae

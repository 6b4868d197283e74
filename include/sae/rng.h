// Counter-based random numbers: every draw is a pure function of (seed, stream, index, position).
//
// There is no global generator. A consumer names its purpose (`Stream`) and what it draws for (a
// step, a sample, a tensor), so a draw never depends on batch size, thread count or history.
//
// The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
// 3"), with the seed as key and (index, stream, block) as counter.
#pragma once

#include <array>
#include <cstdint>

namespace sae {

/// What a stream of random numbers is for. Values are part of reproducibility: never renumber.
enum class Stream : std::uint32_t {
  kInit = 1,         ///< parameters; index = tensor
  kShuffle = 2,      ///< data order; index = epoch
  kSplit = 3,        ///< train / held-out split
  kMask = 4,         ///< temporal masks; index = step
  kResample = 5,     ///< resampling of dead latents; index = step
  kWorld = 16,       ///< construction of a synthetic world; index = part
  kSample = 17,      ///< samples of a synthetic world; index = sample
  kEvaluation = 32,  ///< evaluation-time choices
  kTest = 64,
};

/// One block of Philox4x32-10.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key);

/// A cheap, copyable reader of one stream.
class Rng {
 public:
  Rng(std::uint64_t seed, Stream stream, std::uint64_t index);

  std::uint32_t next();                  ///< 32 uniform bits
  double uniform();                      ///< in (0, 1), 53 bits; never 0 or 1
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

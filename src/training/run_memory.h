// How much memory a run takes, from the shapes in its configuration. Counted in the code, and where
// that is hopeless (m) measured.
//
// With P = 2 F D + 2 F + D parameters of 4 bytes, b = B / accumulate tokens computed at a time, e
// in an evaluation and n for calibration:
//
//     held     3 * 4 P    parameters and Adam's two moments; none of F D that are frozen
//              64 F       statistics of each latent
//              4 F D      the start of rows that are held to it
//     working  the most of
//       opening      4 * 2 P   Adam's moments, as read from a checkpoint
//       step         4 P + 4 b F m + 4 D (12 b w + 2 B) + 48 k B
//                    gradients; m matrices [b, F]; x_hat and its errors, for each of w widths;
//                    where parts of a batch compete for k B entries, up to four times so many of 12
//                    bytes
//       calibration  4 * 5 n D
//       end          4 P + 4 e (F m_e + 6 D) + 4 F (D + 3 N)
//                    the saved autoencoder, its codes and reconstructions, and on a synthetic world
//                    its cosines with the N true features
//
// Where k latents of each token are kept m = m_e = 1. Where any may fire, as half of them do early
// in training, m = 7, for JumpReLU 13, and m_e = 3. AuxK has 3 more matrices in m. A GPU selects
// entries by comparing whole matrices: 4 more in both.
#pragma once

#include <cstdint>

#include "sae/data/data.h"
#include "sae/training/run.h"

namespace sae {

/// Bytes, right within a factor of two where they are more than a few MiB.
struct RunMemory {
  std::int64_t held = 0;     ///< as long as the run is open
  std::int64_t working = 0;  ///< on top while it is computed on
};

RunMemory estimate_memory(const RunOptions& options, const Data& data);

/// Of measuring a run's autoencoder on held-out data, itself included.
std::int64_t estimate_evaluation(const RunOptions& options, const Data& data);

/// What a run takes at the very least: parameters, moments and gradients.
std::int64_t least_memory(const RunOptions& options, const Data& data);

/// Bytes of what a run writes, its result and one of its checkpoints.
struct RunFiles {
  double sae = 0;
  double checkpoint = 0;
};

RunFiles size_of_files(const RunOptions& options, const Data& data);

}  // namespace sae

// BatchPass: one batch forward and back, in one part or in several.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "sae/metrics/reconstruction.h"
#include "sae/models/autoencoder.h"
#include "sae/models/input_map.h"

namespace sae {

/// What a batch came to. Its gradients are with the parameters, over ranks those of this one.
struct BatchPass {
  std::int64_t tokens = 0;  // B, of all ranks
  Losses losses;            // of the whole batch, without a graph
  at::Tensor total;
  BatchStatistics statistics;  // of the tokens of this rank
  ReconstructionMetrics
      metrics;        // of the whole batch, in the activations' own units; empty unless asked for
  at::Tensor mask;    // [F_r], undefined without a mask
  at::Tensor errors;  // [B_d] squared, if latents are resampled at this step
};

struct BatchPassOptions {
  std::int64_t parts = 1;  ///< one after the other; only one at a time is held
  bool bf16 = false;       ///< dense products under autocast
  bool measure = false;    ///< whether to fill `metrics`
  InputMap input = {};     ///< what made x of the activations
};

/// Adds the gradient of the losses of x [B, D], over ranks of this one's tokens of it, to the
/// parameters of `sae`, which does not change otherwise. Losses, gradients, statistics and metrics
/// are the same for any number of parts, up to rounding.
BatchPass run_batch(const Autoencoder& sae, const at::Tensor& x, Step step,
                    const BatchPassOptions& options);

}  // namespace sae

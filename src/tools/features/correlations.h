// Which of the model's neurons, and which other latents, fire most like a latent: Pearson
// correlations over all rows, gathered as sums (sae-dashboard 0.8.0, utils_fns.py RollingCorrCoef).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "tools/features/batch.h"
#include "tools/features/codes_on_disk.h"
#include "tools/features/encoded.h"

namespace sae {

/// The three with the largest Pearson correlation, that first, and their cosines.
struct Correlated {
  std::vector<std::int64_t> indices;
  std::vector<double> pearson, cosine;
};

/// With the dimensions of x, which the field calls neurons. Sums are double, 8 N D bytes of them.
class NeuronSums {
 public:
  NeuronSums(std::int64_t latents, std::int64_t d_in, const at::Device& device);

  void add(const EncodedBatch& batch);  ///< all of its rows, so none may be there for others' sake

  /// Of latents [first, first + count); nothing for those that never fire.
  std::vector<Correlated> most(const std::vector<LatentRange>& ranges, std::int64_t first,
                               std::int64_t count) const;

 private:
  double rows_ = 0;
  at::Tensor products_;        // [N, D] sum of f x
  at::Tensor sums_, squares_;  // [D] of x
};

/// With the other latents of the same group, groups being so many latents in a row: what a file of
/// SAEDashboard's knows of. Takes 8 N * group bytes.
class CofiringSums {
 public:
  CofiringSums(std::int64_t latents, std::int64_t group);

  void add(const FeatureBatch& batch);  ///< its new rows

  /// Of `latent`, among those of its group that fire.
  Correlated most(const std::vector<LatentRange>& ranges, std::int64_t latent) const;

 private:
  double rows_ = 0;
  std::int64_t latents_, group_;
  std::vector<double> products_;  // [N, group]
};

}  // namespace sae

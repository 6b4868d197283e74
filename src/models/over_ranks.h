// What of a batch no rank knows alone.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "sae/distributed/spread.h"
#include "sae/models/batch_statistics.h"
#include "sae/models/forward.h"
#include "sae/sparse/codes.h"

namespace sae {

/// Of each token's largest positive entries of this rank, those that are among its `k` largest of
/// all ranks. `own` are `k` of the own ones, or all; ties go to the lowest latent. No graph.
Codes largest_of_token(const Spread& spread, const Codes& own, std::int64_t k);

/// The same of all entries `f` [B, n], at least 0: 1 where one is kept, else 0. At most k a token;
/// what is 0 may be kept too.
at::Tensor largest_of_token(const Spread& spread, const at::Tensor& f, std::int64_t k);

/// Of a batch's largest positive entries on this rank, part by part, those that are among the
/// `count` largest of all ranks; `before` tokens of the batch are on the ranks before this one.
std::vector<Codes> largest_of_batch(const Spread& spread, std::vector<Codes> own,
                                    std::int64_t count, std::int64_t before);

/// Of the whole batch and all latents, on every rank.
BatchTotals whole(const BatchTotals& own, const Spread& spread);

/// Of the whole batch, for the latents of this rank; min_positive stays the rank's own.
BatchStatistics whole(const BatchStatistics& own, const Spread& spread);

/// With the entries of all latents, on every rank; a ragged gather. No graph.
Codes whole(const Codes& own, const Spread& spread);

}  // namespace sae

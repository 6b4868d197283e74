// The largest of what lies on many ranks, exactly: what one process that holds everything would
// keep.
//
// Every rank has a part of the latents or of the tokens. Values alone travel, or counts of them,
// never all of a part. What is kept follows from numbers that a collective call has delivered, so
// that all ranks agree to the bit, on any number of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "sae/distributed/group.h"

namespace sae {

/// How many of its own entries a rank keeps of each token's `k` largest positive over all ranks,
/// [B] i64.
///
/// `largest` [B, k] are its own k largest, descending, 0 where it has fewer positive; equals come
/// in the order of latents, and ranks own latents in the order of ranks (rows.h). It keeps the
/// first ones of them. Ties go to the lowest latent, as in one process.
///
/// Each rank sends its first c = min(k, ceil(2 k / R)) values. That decides all tokens but those
/// where a rank's last value sent still belongs to the k largest, or equals the k-th: their other
/// values follow in a second call, which all ranks see to be needed. 4 B c bytes a rank, seldom
/// more.
at::Tensor kept_of_token(const Group& latents, const at::Tensor& largest, std::int64_t k);

/// What the `count` largest of all ranks' values have in common.
struct Limit {
  at::Tensor value;        ///< [] of the values' type: everything above it is kept
  std::int64_t equal = 0;  ///< and so many of this rank's that equal it, those of the lowest keys
};

/// Finds it for `values` [n], at least 0 and of float32 or float64, of which zeros are never kept,
/// by histograms of their bits, 11 at a time: the bits of floats from 0 on are in the order of the
/// floats. Three calls in float32, of 16 KB; two more where more values equal the limit than fit:
/// `keys` [n] i64, which are unique over all ranks, then decide. Value 0 and equal 0: all positive
/// ones are kept.
Limit limit_of_largest(const Group& group, const at::Tensor& values, const at::Tensor& keys,
                       std::int64_t count);

/// The values that are kept by it, [n] of bool.
at::Tensor kept_by(const Limit& limit, const at::Tensor& values, const at::Tensor& keys);

}  // namespace sae

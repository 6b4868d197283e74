// How much of a dictionary another training seed finds again.
//
// With the unit decoder rows of the latents that fire of either, C = W_a W_b^T, and the one-to-one
// assignment with the largest total of C:
//
//     pw_mcc   mean cosine of the matched pairs (arXiv 2501.16615, 2505.20254)
//     shared   share of the matched pairs with a cosine above .7 in the decoder and in the encoder
//
// Both depend on the shape: more rows in fewer dimensions match better by chance alone. So the same
// number of random unit rows stands beside them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sae {

struct SeedConsistency {
  double pw_mcc = 0;
  double shared = 0;
};

/// Decoder and encoder rows [n, D] of the latents that fire.
struct FiringRows {
  at::Tensor decoder;
  at::Tensor encoder;
};

/// NaN where either has no rows, and where the cosines are more than fit into 2 GB, 23,170 latents
/// a side: no number is better than a machine out of memory at a comparison's end.
SeedConsistency consistency_of(const FiringRows& a, const FiringRows& b);

/// The same of `a` and `b` random unit rows of `width` dimensions, whose encoders are their
/// decoders. The same arguments, the same numbers.
SeedConsistency consistency_by_chance(std::int64_t a, std::int64_t b, std::int64_t width);

}  // namespace sae

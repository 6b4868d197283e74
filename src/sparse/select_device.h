// Selections on a GPU: as exact and as deterministic as select.h says, and where the number of
// entries is known beforehand, nothing that the host has to wait for. Patterns of the k largest are
// padded (pattern.h). Arguments as in select.h, and checked there.
#pragma once

#include "sae/sparse/select.h"

namespace sae::on_device {

/// The k largest positive entries of each token, k at most F; padded.
Selection largest_of_token(const at::Tensor& h, std::int64_t k, const StoragePolicy& storage);

/// The `count` largest positive entries of the batch, count at most B F; padded.
Selection largest_of_batch(const at::Tensor& h, std::int64_t count, const StoragePolicy& storage);

/// Entries above a threshold. How many is read back, the one wait of a step.
Selection above(const at::Tensor& h, const at::Tensor& threshold, bool activation_cuts,
                const StoragePolicy& storage);

}  // namespace sae::on_device

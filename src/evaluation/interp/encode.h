// Codes of rows of a store, a batch at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "sae/data/store.h"
#include "sae/models/autoencoder.h"
#include "sae/sparse/sparse_rows.h"

namespace sae {

/// Shows `visit` the codes of each batch, inference form on the CPU, and which of `rows` is its
/// first. DataError if the store's activations are not as wide as the autoencoder's.
void encode_rows(const Autoencoder& sae, const ActivationStore& store,
                 std::span<const std::int64_t> rows, std::int64_t batch,
                 const std::function<void(std::int64_t first, const SparseView& codes)>& visit);

}  // namespace sae

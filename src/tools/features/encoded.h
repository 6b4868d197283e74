// A store's rows as codes, in order, a batch at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "sae/data/store.h"
#include "sae/models/autoencoder.h"
#include "tools/features/batch.h"

namespace sae {

/// A batch, and what it was made of: the codes in decoder units and x [rows, D] in the
/// autoencoder's type, both where it computes.
struct EncodedBatch {
  FeatureBatch rows;
  const Codes& codes;
  const at::Tensor& x;
};

/// Hands each row of the store to `take` once as new, with up to `around` rows before and after
/// those that are new, so that one reading suffices. Activations are f_j |W_dec_j|; those of a
/// latent whose row is zero are as they are. `go_on(done, total)` is asked before each batch; false
/// stops. Returns how many rows were new: all unless stopped.
///
/// DataError if the store's activations are not as wide as the autoencoder's.
std::int64_t for_each_encoded(const Autoencoder& sae, const ActivationStore& store,
                              std::int64_t around,
                              const std::function<bool(std::int64_t, std::int64_t)>& go_on,
                              const std::function<void(const EncodedBatch&)>& take);

}  // namespace sae

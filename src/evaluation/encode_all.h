// Codes of many activations at once, as evaluations keep them.
#pragma once

#include <cstdint>
#include <functional>

#include "sae/models/autoencoder.h"

namespace sae {

/// Codes of all rows of x [N, D], float32 on the CPU, encoded `batch` rows at a time: sparse, or
/// dense if more than a third of the first batch is active. `visit`, if given, sees each batch's
/// activations and codes on the autoencoder's device.
Codes encode_all(const Autoencoder& sae, const at::Tensor& x, std::int64_t batch,
                 const std::function<void(const at::Tensor&, const Codes&)>& visit = {});

}  // namespace sae

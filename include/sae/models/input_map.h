// InputMap: what activations become before they reach the weights while training.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include "sae/models/autoencoder.h"

namespace sae {

/// x_in = scale (x - mean). A number alone is a scale; `{}` leaves activations as they are.
struct InputMap {
  // NOLINTNEXTLINE(google-explicit-constructor): a scale is a map.
  InputMap(double scale = 1, at::Tensor mean = {}) : scale(scale), mean(std::move(mean)) {}

  at::Tensor apply(const at::Tensor& x) const;  ///< [B, D] in the activations' own units -> x_in
  at::Tensor undo(const at::Tensor& x) const;   ///< and back

  double scale;
  at::Tensor mean;  // [D] on the device of x; undefined: 0
};

/// Turns an autoencoder trained on `input.apply(x)` into the same function of x:
///
///     h(x_in) / scale = (x - (b_dec / scale + mean)) W_enc^T + b_enc / scale
///
/// so b_enc, b_dec and thresholds are divided by the scale and b_dec is moved by the mean; weights
/// stay (rows keep their norm).
void fold_input(Autoencoder& sae, const InputMap& input);

}  // namespace sae

// Control autoencoders: what a metric says about things that have learned nothing.
//
// A score means little without the same score of these: the identity and the first principal
// components reconstruct without sparse latents, a random dictionary is sparse without having
// learned anything, and permuted decoder rows leave the codes as they are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sae/models/autoencoder.h"

namespace sae {

/// What a control is made from.
struct ControlBasis {
  std::shared_ptr<const Autoencoder> sae;         ///< the one that is evaluated
  const nlohmann::ordered_json* model = nullptr;  ///< its resolved model group
  at::Tensor sample;                              ///< [n, D] activations, n > 1
  std::uint64_t seed = 0;
};

/// identity   f = x: F = D, L0 = D
/// pca        the first k principal components of the sample, k the autoencoder's mean L0, rounded
/// random     W_enc = W_dec random unit rows, b_dec the sample's mean, the k largest latents kept
/// permuted   the autoencoder's own codes; its decoder rows are permuted
/// untrained  the same architecture and options, initialised, b_dec the sample's mean
const std::vector<std::string>& control_names();

/// The control `name` on the autoencoder's device; ConfigError for other names.
std::shared_ptr<Autoencoder> make_control(const std::string& name, const ControlBasis& basis);

}  // namespace sae

// Control autoencoders: what a metric says about things that have learned nothing.
//
// A score means little without the same score of these: the identity and the first principal
// components reconstruct without sparse latents, a random dictionary is sparse without having
// learned anything, and permuted decoder rows leave the codes as they are.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "sae/models/autoencoder.h"

namespace sae {

/// What a control is made from.
struct ControlBasis {
  std::shared_ptr<const Autoencoder> sae;         ///< the one that is evaluated
  const nlohmann::ordered_json* model = nullptr;  ///< its resolved model group
  at::Tensor sample;                              ///< [n, D] activations, n > 1
  std::uint64_t seed = 0;
};

/// What a metric may be compared with.
enum class Control { kIdentity, kPca, kRandom, kPermuted, kUntrained };
constexpr auto names_of(Control) {
  return std::array{"identity", "pca", "random", "permuted", "untrained"};
}

/// identity   f = x: F = D, L0 = D
/// pca        the first k principal components of the sample, k the autoencoder's mean L0, rounded
/// random     W_enc = W_dec random unit rows, b_dec the sample's mean, the k largest latents kept
/// permuted   the autoencoder's own codes; the directions of its decoder rows are permuted
/// untrained  the same architecture and options, initialised, b_dec the sample's mean
///
/// On the autoencoder's device.
std::shared_ptr<Autoencoder> make_control(Control which, const ControlBasis& basis);

}  // namespace sae

// Autoencoders whose scores rank nothing.
//
// Absorption, probing and ground truth ask how codes carry what activations say. Codes that carry
// next to nothing answer well all the same: without latents there is nothing to absorb. Such an
// autoencoder is measured, but it is not ranked, and the reason is told. Codes that are too dense
// are the other end; see AbsorptionOptions::max_l0_share.
#pragma once

#include <cstdint>
#include <string>

#include "sae/metrics/metric_values.h"
#include "sae/sparse/codes.h"

namespace sae {

/// Below this L0 (or this share of the L0 of a world's features, if that is below 1) at least half
/// of all activations have no latent to say anything about them.
inline constexpr double kLeastL0 = 0.5;
/// ... and so have those with more than this share of words or texts without any active latent.
inline constexpr double kMostSilent = 0.5;
/// Where this share of the latents never fired and the others fire on this share of all activations
/// or more, what is left is a handful of dense latents and no dictionary.
inline constexpr double kMostNeverFired = 0.9;
inline constexpr double kDenseRest = 0.25;
/// Mean cosine of decoder rows with their common direction above which they are one direction.
inline constexpr double kOneDirection = 0.99;

/// Why an autoencoder of `d_sae` latents with these metrics (ReconstructionMetrics', and a world's
/// true_l0, uniqueness, absorption_parents and absorption_missing, where known) ranks nothing;
/// empty if it may be ranked. It does not if a number is not finite, if it is worse than the mean
/// activation or activations do not vary, if next to nothing fires, or if nothing of a world's
/// features can be told apart by it.
std::string why_degenerate(const MetricValues& values, std::int64_t d_sae);

/// The same from codes of words or texts, `what` they are of: not finite, silent or all alike.
std::string why_degenerate(const Codes& codes, const std::string& what);

/// The same from the decoder rows [F, D] of the latents that fire in `codes`: all are one
/// direction.
std::string why_degenerate(const Codes& codes, const at::Tensor& W_dec);

}  // namespace sae

// Freeze: weights that training leaves as they start, so that its result can be told from chance.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

namespace sae {

/// Korznikov et al. 2026, "Sanity Checks for Sparse Autoencoders: Do SAEs Beat Random Baselines?",
/// arXiv 2602.14111, section 4.1. Everything else is trained as usual:
///
///     decoder        W_dec stays                                                             [P]
///     encoder        W_enc stays; b_enc and thresholds, which say when a latent fires, do not [O]
///     soft_decoder   cos(W_dec,i, its start) >= tau = .8, by projection after every update   [P]
///
/// [P] is the paper's, which starts from random rows; [O] is ours where it says no more than that
/// "only the activation threshold and decoder are learned". A run that starts from a trained
/// autoencoder holds on to the rows of that. Dead latents get no new direction, which is what
/// resampling gives: options that ask for both are refused.
enum class Freeze { kNone, kDecoder, kEncoder, kSoftDecoder };
constexpr auto names_of(Freeze) { return std::array{"none", "decoder", "encoder", "soft_decoder"}; }

constexpr double kSoftCosine = 0.8;  ///< tau

/// Turns the rows of `rows` [n, D] whose cosine with theirs of `start` [n, D] is below tau to the
/// nearest direction that has it, in place; all others keep their bytes. With c that cosine and s a
/// row of `start`, of norm 1:
///
///     w <- ||w|| (tau s + sqrt(1 - tau^2) u),   u = (w / ||w|| - c s) / sqrt(1 - c^2)
///
/// so that norms stay (ours: the paper's rows have norm 1). Where w points away from s, u is no
/// direction, and w becomes ||w|| s. A row of zeros in `start` holds nothing.
void hold_to_start(const at::Tensor& rows, const at::Tensor& start);

}  // namespace sae

// PlainSae: what a sparse autoencoder computes at inference, as a value every format is read into
// and written from.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sae/models/autoencoder.h"

namespace sae {

/// How pre-activations become latents.
enum class Activation {
  kRelu,       // f = relu(h)
  kTopK,       // f = relu(h) at the k largest h of the token
  kJumpRelu,   // f = h where h > max(threshold_i, 0)
  kBatchTopK,  // f = h where h > max(threshold, 0), one threshold for all latents
};

/// An autoencoder of D inputs and F latents, of float32 tensors on the CPU:
///
///     h = (x - b_dec) W_enc^T + b_enc     if subtracts_b_dec, else  h = x W_enc^T + b_enc
///     f = activation(h)                   x_hat = f W_dec + b_dec
///
/// Readers fold what their format keeps apart (scales of input or decoder rows) into the weights
/// and refuse what changes f or x_hat otherwise; writers do the reverse. Latents keep their scale.
struct PlainSae {
  at::Tensor W_enc;  // [F, D]
  at::Tensor b_enc;  // [F]
  at::Tensor W_dec;  // [F, D]
  at::Tensor b_dec;  // [D]
  bool subtracts_b_dec = true;

  Activation activation = Activation::kRelu;
  std::int64_t k = 0;                // kTopK
  at::Tensor threshold;              // kJumpRelu [F], kBatchTopK []; undefined otherwise
  double mean_k = 0;                 // kBatchTopK: latents per token in training; 0: unknown
  std::vector<std::int64_t> widths;  // kBatchTopK: nested prefixes (Matryoshka), else empty

  /// Where the activations came from and how the model was run: with the keys of a store's manifest
  /// (model, layer, site, hook_name, dataset, context, ...) and those of run_keys(). An empty
  /// object if unknown.
  nlohmann::ordered_json source = nlohmann::ordered_json::object();
  nlohmann::ordered_json training;  ///< our resolved training configuration, or null
  /// {"format": "saelens", "config": {...}}: the other tool's configuration word for word, or null.
  nlohmann::ordered_json origin;
  /// What could not be taken of files that only inform, a line each.
  std::vector<std::string> notes;
  std::string guess;  ///< says that hook_name is a guess and why; empty if it is none

  std::int64_t d_in() const { return W_dec.size(1); }
  std::int64_t d_sae() const { return W_dec.size(0); }
};

/// "topk with k 32", for messages.
std::string describe(const PlainSae& plain);

at::Tensor encode(const PlainSae& plain, const at::Tensor& x);  ///< [B, D] -> [B, F], dense
at::Tensor decode(const PlainSae& plain, const at::Tensor& f);  ///< [B, F] -> [B, D]

/// The same function with b_dec subtracted before the encoder, or without: b_enc changes by
/// W_enc b_dec, computed in float64.
PlainSae with_subtraction(PlainSae plain, bool subtracts_b_dec);

/// Weights that were made for `scale` x, which becomes the same f of x, and x_hat of x's size.
void fold_input_scale(PlainSae& plain, double scale);

/// Decoder rows of norm 1, with h_i times the old norm of row i and thresholds likewise: the same
/// reconstruction. Only for kTopK it may pick other latents, those of the largest scaled h.
PlainSae with_unit_decoder(PlainSae plain);
bool has_unit_decoder(const PlainSae& plain, double tolerance = 1e-5);

/// What one of our autoencoders computes at inference, its mask's factor folded into the weights.
/// ConfigError if no PlainSae computes that: a mask on TopK, which picks before it masks.
PlainSae plain_from(const Autoencoder& sae, const nlohmann::ordered_json& model);

/// The autoencoder of ours that computes the same, and its resolved model group.
struct OwnSae {
  std::shared_ptr<Autoencoder> sae;
  nlohmann::ordered_json model;
};
OwnSae own_from(const PlainSae& plain);

}  // namespace sae

// Selections: which entries of the pre-activations h [B, F] an architecture keeps.
//
// Each returns a sparse pattern, or a dense one where so many entries are kept that dense products
// are faster (`kDenseAbove`). They are exact, outside the autograd graph, and deterministic: equal
// values are taken in order of token, then latent.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "sae/codes.h"

namespace sae {

/// How patterns are stored: by the measured density, or always one way (tests, benchmarks).
enum class Storage { kAuto, kSparse, kDense };

/// Share of kept entries above which the dense path is faster on the given device.
double dense_above(const at::Device& device);

struct Selection {
  c10::intrusive_ptr<Pattern> pattern;
  at::Tensor keep;  // [B, F] bool, only for a dense pattern that keeps some entries; else undefined
};

/// Entries with h > threshold: 0, or one number per latent (`threshold [F]`).
Selection select_above(const at::Tensor& h, const at::Tensor& threshold, Storage storage);
Selection select_positive(const at::Tensor& h, Storage storage);

/// The k largest positive entries of each token.
Selection select_top_k(const at::Tensor& h, std::int64_t k, Storage storage);

/// The `count` largest positive entries of the whole batch (BatchTopK). `hint` is a guess at the
/// smallest value kept, <= 0 for none: it changes the time taken, never the result.
Selection select_batch_top_k(const at::Tensor& h, std::int64_t count, double hint, Storage storage);

}  // namespace sae

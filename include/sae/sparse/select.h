// Selections: which entries of the pre-activations h [B, F] an architecture keeps.
//
// An architecture states a rule; how it is carried out is decided here, given h, and by the encoder
// (encoder.h), which need not compute all of h. Each selection returns a sparse pattern, or a dense
// one where so many entries are kept that dense products are faster (`kDenseAbove`). They are
// exact, outside the autograd graph, and deterministic: equal values are taken in order of token,
// then latent.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <variant>

#include "sae/sparse/codes.h"

namespace sae {

/// How patterns are stored: by the measured density, or always one way (tests, benchmarks).
enum class Storage { kAuto, kSparse, kDense };
constexpr auto names_of(Storage) { return std::array{"auto", "sparse", "dense"}; }

/// Share of kept entries above which the dense path is faster, on the given device and for weights
/// [F, D], in the precision that holds now. Measured for the CPU with `scripts/bench_density.py`,
/// arithmetic for GPUs.
double dense_above(const at::Device& device, std::int64_t d_sae, std::int64_t d_in);

/// How to decide: `storage`, and for kAuto the share above which a pattern is dense.
struct StoragePolicy {
  StoragePolicy(Storage storage, double dense_above = 0.15)  // NOLINT: meant to convert
      : storage(storage), dense_above(dense_above) {}
  bool wants_dense(double kept, double all) const;  ///< for `kept` of `all` entries
  Storage storage;
  double dense_above;
};

/// Entries with h > threshold, which is one number or one per latent ([] or [F]).
struct Above {
  at::Tensor threshold;
  /// Whether the architecture's activation is zero at and below the threshold by itself, so that a
  /// dense pattern needs no mask.
  bool activation_cuts = true;
};
/// Entries with h > 0; the activation is ReLU.
struct Positive {};
/// The k largest positive entries of each token.
struct LargestOfToken {
  std::int64_t k;
};
/// The `count` largest positive entries of the whole batch (BatchTopK).
struct LargestOfBatch {
  std::int64_t count;
};
using SelectionRule = std::variant<Above, Positive, LargestOfToken, LargestOfBatch>;

struct Selection {
  c10::intrusive_ptr<Pattern> pattern;
  at::Tensor keep;  // [B, F] bool, only for a dense pattern that keeps some entries; else undefined
  at::Tensor values;  // [nnz] h at a sparse pattern, padding 0, where it is at hand; else undefined
};

/// Applies the rule to h. std::invalid_argument for counts below 1.
Selection select(const at::Tensor& h, const SelectionRule& rule, const StoragePolicy& storage);

}  // namespace sae

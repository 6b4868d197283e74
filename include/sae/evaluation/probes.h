// Linear probes trained by Adam as SAEBench trains them: many classes against the rest at once, and
// a binary one that stops early.
//
// N samples of D features (activations, or codes of F latents), C classes, W [C, D], b [C]. Probes
// are in the precision of the samples, float32 or float64. logistic.h has the small exact ones.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "sae/sparse/codes.h"

namespace sae {

/// z = x W^T + b; class c is predicted where z_c > 0.
struct LinearProbe {
  at::Tensor W;  // [C, D]
  at::Tensor b;  // [C]
};

/// z [N, C] of all samples. Activations are `Codes::from_dense(x)`.
at::Tensor probe_scores(const LinearProbe& probe, const Codes& x);

/// What a training draws from its seed otherwise: where it starts, and the order of the samples in
/// each epoch. For comparing trainers; leave either out.
struct ProbeDraws {
  LinearProbe initial;             ///< undefined: uniform in +-1 / sqrt(D)
  std::vector<at::Tensor> orders;  ///< one [N] i64 an epoch; empty: random permutations
};

struct MultiProbeTraining {
  std::int64_t epochs = 50;
  std::int64_t batch_size = 4096;
  double lr = 1e-2;
  double end_lr = 1e-5;
  double weight_decay = 0;  ///< added to the gradient, of b too
  double l1_decay = 0;
};

/// One-vs-rest logistic regression of all classes together:
///
///     loss = 1 / (B C) sum_ic [ r_c y_ic softplus(-z_ic) + (1 - y_ic) softplus(z_ic) ]
///            + l1_decay / C sum_cj |W_cj|,     r_c = samples outside of class c per sample inside
///
/// by Adam (0.9, 0.999, 1e-8) on shuffled batches of B, the last one of an epoch being what is
/// left; the learning rate is lr (end_lr / lr)^(e / epochs) in epoch e. `labels` is [N] i64 in
/// [0, C), and every class has a sample: std::invalid_argument otherwise.
LinearProbe train_multi_probe(const Codes& x, const at::Tensor& labels, std::int64_t classes,
                              const MultiProbeTraining& how, std::uint64_t seed,
                              const ProbeDraws& draws = {});

struct BinaryProbeTraining {
  std::int64_t epochs = 100;
  std::int64_t batch_size = 250;
  double lr = 1e-2;
  double weight_decay = 1e-2;  ///< AdamW's
  std::int64_t patience = 10;  ///< epochs without a better test accuracy before it stops
};

struct BinaryProbe {
  LinearProbe probe;  ///< C = 1
  double test_accuracy = 0;
  std::int64_t epochs = 0;  ///< trained
};

/// Logistic regression on all features by AdamW. As in SAEBench, the epoch kept is the one with the
/// best accuracy *on the test samples*, which makes this accuracy an optimistic one.
BinaryProbe train_binary_probe(const Codes& train_x, const at::Tensor& train_labels,
                               const Codes& test_x, const at::Tensor& test_labels,
                               const BinaryProbeTraining& how, std::uint64_t seed,
                               const ProbeDraws& draws = {});

/// A uniformly random permutation of 0 .. n - 1, [n] i64: a pure function of its arguments.
at::Tensor random_order(std::int64_t n, std::uint64_t seed, std::uint64_t index);

}  // namespace sae

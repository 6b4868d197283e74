// Orthogonality: a penalty on decoder rows that point the same way (OrtSAE).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "sae/config/fields.h"
#include "sae/config/findings.h"
#include "sae/models/step.h"

namespace sae {

struct OrthogonalityOptions {
  double coefficient = 0.25;
  std::int64_t chunk = 8192;
  std::int64_t every = 1;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("coefficient", self.coefficient, above(0),
          "gamma, weight of the penalty, against an error of inputs of norm 1");
    visit("chunk", self.chunk, at_least(2),
          "most latents among which each one's nearest is looked for");
    visit("every", self.every, at_least(1),
          "steps from one penalty to the next, each weighed by so many");
  }

  void check(Findings& findings, const RunLength& run) const;

  /// Whether step `index` has it: the last of each `every`, so that a logged step may show it.
  bool due(std::int64_t index) const { return index % every == every - 1; }
};

/// Korznikov et al. 2025, "OrtSAE: Orthogonal Sparse Autoencoders Uncover Atomic Features", arXiv
/// 2509.22033, section 3.3, equations 3 to 5. At each step the F latents are dealt at random into
/// K = ceil(F / chunk) chunks C_k:
///
///     penalty = 1/K sum_k 1/|C_k| sum_{i in C_k} (max_{j in C_k, j != i} cos(W_dec,i, W_dec,j))^2
///     loss    = ... + gamma penalty
///
/// gamma = .25 and chunk = 8192 are the paper's (appendix A), on BatchTopK with AuxK; so is `every`
/// (appendix C: 5, with gamma times 5, within 1 to 2 % of its own results at a fifth of the cost).
/// The paper's error is a mean over the entries of inputs of standard deviation 1, which is the sum
/// here where inputs have norm 1 (`input_norm: unit`); with `sqrt_d` the same weight is .25 D.
///
/// Ours, where the paper is silent: chunks differ in size by one at most; delta, below which a
/// product of norms does not fall, is 1e-8; the dealing is a function of (seed, step). The maximum
/// is of the cosine, not of its size, as the equation has it. A latent's nearest is found by one
/// product of a chunk with itself, F chunk D multiplications, without a graph; the gradient goes by
/// the F pairs that were found.
at::Tensor orthogonality_penalty(const at::Tensor& W_dec, const OrthogonalityOptions& options,
                                 Step step);

}  // namespace sae

// What a TruthEvaluation knows: the matching, made once, and the counts of the samples so far.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "sae/evaluation/truth.h"

namespace sae {
namespace truth {

inline std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

inline double mean(double sum, std::int64_t count) {
  return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

inline double dot(std::span<const float> a, const float* b) {
  double sum = 0;
  for (std::size_t k = 0; k < a.size(); ++k) sum += double{a[k]} * b[k];
  return sum;
}

/// What is counted for one parent; index [1]: with a child on, [0]: with none.
struct ParentSums {
  std::int64_t events[2] = {0, 0};
  std::int64_t misses[2] = {0, 0};
  double ratio[2] = {0, 0};
  std::int64_t ratios[2] = {0, 0};  // events that are in `ratio`
  std::int64_t full = 0;
  double fraction = 0;
};

/// What the other latents hold of a parent's projection in one sample.
struct Absorbers {
  double largest = 0;         // projection of the latent with the largest one
  double largest_cosine = 0;  // its cosine
  double top = 0;             // sum of the top projections of latents close enough
};

}  // namespace truth

struct TruthEvaluation::State {
  State(std::shared_ptr<const World> shared_world, const TruthSubject& given,
        const TruthOptions& given_options);

  void match();
  void add_sample(SparseView truth, SparseView latents, std::int64_t row);
  void count_firing(SparseView truth, SparseView latents, std::int64_t row);
  void reconstruct(SparseView truth, SparseView latents, std::int64_t row);
  void count_parent(std::size_t slot, SparseView latents, std::int64_t row);
  truth::Absorbers absorbers(std::size_t slot, SparseView latents, std::int64_t row);

  void firing_metrics(TruthMetrics& metrics) const;
  void absorption_metrics(TruthMetrics& metrics) const;
  void weight_metrics(TruthMetrics& metrics) const;
  ParentTruth parent_truth(std::size_t slot) const;

  std::shared_ptr<const World> world;
  TruthOptions options;
  std::int64_t d_sae;  // F
  at::Tensor W_dec;    // [F, D]
  at::Tensor b_dec;    // [D]
  at::Tensor W_enc;    // [F, D] or undefined

  // Made once from the weights.
  std::vector<float> norms;                // [F] |W_j|
  std::vector<std::int64_t> best_feature;  // [F]
  std::vector<std::int64_t> latent_of;     // [N] matched latent, -1: none
  double mcc = 0;
  std::vector<std::int64_t> parents;  // matched features that have children
  std::vector<std::int64_t> slot_of;  // [N] position in `parents`, -1: not there
  at::Tensor parent_cosines;          // [parents, F] cos(W_j, d_p)

  // Accumulated.
  std::int64_t samples = 0;
  std::int64_t fired_total = 0;
  std::int64_t true_total = 0;
  std::vector<std::int64_t> fired;       // [F]
  std::vector<std::int64_t> hits;        // [F] fired while its best feature was on
  std::vector<std::int64_t> feature_on;  // [N]
  std::vector<truth::ParentSums> sums;   // [parents]
  double shrinkage_sum = 0;
  std::int64_t shrinkage_count = 0;

  // Of the current sample.
  std::vector<float> activation;   // [N] a
  std::vector<float> code;         // [F] z
  std::vector<char> child_on;      // [N] of a parent: some child is on
  std::vector<float> signal;       // [D] x - b
  std::vector<float> rebuilt;      // [D] x_hat
  std::vector<double> candidates;  // projections of the absorbing latents
};

}  // namespace sae

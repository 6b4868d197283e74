// How well a dictionary recovers the true features of a synthetic world: sampled anew, or stored
// with its truth.
//
// W_j: decoder row j (F latents), d_i: true feature i (N), z_j: latent activations, a_i: true
// activations, l(p): the latent matched to feature p. A latent fires when z_j > 0. An average over
// nothing is NaN, and the count beside it is 0.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "sae/config/fields.h"
#include "sae/data/world.h"
#include "sae/sparse/sparse_rows.h"

namespace sae {

struct TruthOptions {
  std::int64_t min_events = 100;
  double min_match_cosine = 0.5;
  double full_cosine = 0.025;
  double share = 0.4;
  double fraction_cosine = 0.1;
  std::int64_t fraction_top = 3;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("min_events", self.min_events, at_least(1),
          "a parent counts from this many samples with a child on (and, for the gap, off)");
    visit("min_match_cosine", self.min_match_cosine, between(0, 1),
          "a parent counts from this |cosine| with its latent: one further off is no match");
    visit("full_cosine", self.full_cosine, between(-1, 1),
          "full absorption: least cosine of the absorbing latent with the parent");
    visit("share", self.share, between(0, 1),
          "absorption: least share of the parent's projection that the absorbers carry");
    visit("fraction_cosine", self.fraction_cosine, between(-1, 1),
          "absorption fraction: least cosine of an absorbing latent with the parent");
    visit("fraction_top", self.fraction_top, at_least(1),
          "absorption fraction: number of absorbing latents that are summed");
  }
};

/// The SAE under test, all on the CPU, float32. Its input and output are in the world's units.
struct TruthSubject {
  at::Tensor W_dec;  ///< [F, D]
  at::Tensor b_dec;  ///< [D]
  at::Tensor W_enc;  ///< [F, D]; may be undefined: no encoder sign then
};

/// An average over events (micro) and the plain mean over parents (macro). Both are NaN where no
/// parent counts, which is no score of 0.
struct TruthAverage {
  double micro = 0;
  double macro = 0;
  std::int64_t parents = 0;
  std::int64_t events = 0;
};

/// One parent feature that has a latent, whatever its number of events.
struct ParentTruth {
  std::int64_t feature = 0;     ///< p
  std::int64_t latent = 0;      ///< l(p)
  double cosine = 0;            ///< cos(W_l, d_p)
  std::int64_t events_on = 0;   ///< samples with p and a child of p on
  std::int64_t events_off = 0;  ///< samples with p on and its children off
  double miss_on = 0;           ///< P(z_l = 0 | child on)
  double miss_off = 0;          ///< P(z_l = 0 | child off)
  double full = 0;              ///< P(full absorption | child on)
  double fraction = 0;          ///< E[absorption fraction | child on]
  double ratio_on = 0;          ///< E[z_l |W_l| / a_p | child on], where a_p >= 0.001 of its mean
  double ratio_off = 0;         ///< E[z_l |W_l| / a_p | child off]
  bool tracked = false;         ///< events_on >= min_events and |cosine| >= min_match_cosine
  /// Tracked, but its latent fires in none of its events and no other carries it: the dictionary
  /// does not have this parent, and that nothing absorbs it says nothing.
  bool missing = false;
};

struct TruthMetrics {
  std::int64_t samples = 0;
  double l0 = 0;       ///< mean number of latents firing
  double true_l0 = 0;  ///< mean number of a_i > 0, measured on the same samples
  /// Mean |cos| over the optimal one-to-one matching of latents and features, min(F, N) pairs.
  double mcc = 0;
  std::int64_t matched = 0;
  /// best(j) = argmax_i |cos(W_j, d_i)|; the number of distinct best(j), over F.
  double uniqueness = 0;
  /// Of "latent j fires" against "best(j) is on": the mean over all latents; undefined counts as 0.
  double precision = 0;
  double recall = 0;
  double f1 = 0;
  double never_fired = 0;  ///< share of latents that did not fire in these samples
  double shrinkage = 0;    ///< mean of |x_hat| / |x| over samples with |x| > 1e-6

  // Absorption, over the samples with a_p > 0 of tracked parents (see ParentTruth.tracked).
  TruthAverage miss_on;   ///< parent silent while a child is on
  TruthAverage miss_off;  ///< parent silent while alone; parents with min_events on both sides
  /// miss_on - miss_off over the parents of miss_off that are not missing; macro is the usual one.
  TruthAverage gap;
  /// l(p) is off, v = (x - b) . d_p > 0, and of the others the latent with the largest projection
  /// v_j = z_j W_j . d_p has cos >= full_cosine and v_j >= share v. Over samples with a child on,
  /// of parents that are not missing; so `fraction`.
  TruthAverage full;
  /// A = the top latents' summed v_j (other than l(p), cos >= fraction_cosine, v_j > 0), S =
  /// v_l(p): 0 where v <= 0, S >= v or A < share v; 1 where S <= 0; else A' / (A' + S), A' = min(A,
  /// v - S).
  TruthAverage fraction;
  TruthAverage ratio_on;   ///< z_l |W_l| / a_p with a child on
  TruthAverage ratio_off;  ///< ... with none; parents with min_events on both sides
  /// 1 - ratio_on / ratio_off of these parents; macro: the mean of theirs, micro: of the pooled.
  TruthAverage partial;
  std::int64_t missing = 0;  ///< tracked parents that the dictionary does not have

  // From the weights alone, over (parent p, child c) pairs; no event is needed.
  double absorption_cosine = 0;  ///< mean cos(W_l(c), d_p), c matched: 0 ideal, 1/sqrt 2 absorbed
  std::int64_t absorption_pairs = 0;
  double hedging_cosine = 0;  ///< mean max(0, cos(W_l(p), d_c)), p matched
  /// Share of these pairs with W_enc[l(p)] . d_c < 0: absorption makes it negative, hedging
  /// positive. NaN without an encoder.
  double encoder_negative = 0;
  std::int64_t hedging_pairs = 0;

  std::vector<ParentTruth> parents;
};

/// Accumulates batches; the matching is made once, at construction. Memory does not grow.
class TruthEvaluation {
 public:
  TruthEvaluation(std::shared_ptr<const World> world, TruthSubject subject,
                  TruthOptions options = {});
  ~TruthEvaluation();
  TruthEvaluation(TruthEvaluation&&) noexcept;

  /// `truth` over N features and `latents` over F latents, of the same samples.
  void add(SparseView truth, SparseView latents);

  TruthMetrics metrics() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sae

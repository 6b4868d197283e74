// Evaluation of an autoencoder on held-out activations.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sae/base/notice.h"
#include "sae/config/fields.h"
#include "sae/data/data.h"
#include "sae/evaluation/truth.h"
#include "sae/metrics/metric_values.h"
#include "sae/models/autoencoder.h"
#include "sae/models/input_map.h"

namespace sae {

struct EvalOptions {
  std::int64_t tokens = 50'000;
  std::int64_t batch = 2048;
  std::int64_t every = 0;
  std::int64_t every_tokens = 8192;
  TruthOptions truth;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("tokens", self.tokens, at_least(1), "held-out tokens of the final evaluation");
    visit("batch", self.batch, at_least(1), "tokens encoded at a time");
    visit("every", self.every, at_least(0),
          "training steps between evaluations on held-out data; 0: only at the end");
    visit("every_tokens", self.every_tokens, at_least(1), "held-out tokens of each of these");
    visit("truth", self.truth, any, "ground-truth metrics, where the true features are known");
  }

  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;
};

struct Evaluation {
  /// Those of ReconstructionMetrics; where the true features are known (Data::world) also true_l0,
  /// mcc, uniqueness, precision, recall, f1, shrinkage, absorption_parents, absorption_missing
  /// (where parents are missing), absorption_cosine, hedging_cosine, and as _micro and as _macro
  /// miss_on, miss_off, absorption_gap, absorption_full, absorption_fraction, partial_absorption:
  /// NaN where absorption_parents is 0.
  MetricValues values;
  std::int64_t tokens = 0;  ///< that it rests on, all distinct
  FiringHistogram firing;
  std::vector<ParentTruth> parents;  ///< per parent feature, where they are known
  std::vector<Notice> notices;       ///< that it rests on fewer tokens than were asked for
  std::string degenerate;            ///< why these numbers rank nothing (ranking.h), or empty
};

/// Reconstruction metrics of the first `tokens` held-out activations (of all, if they are fewer),
/// in their own units, for an autoencoder that takes `input.apply` of them.
MetricValues evaluate_reconstruction(const Autoencoder& sae, const Data& data, std::int64_t tokens,
                                     std::int64_t batch, const InputMap& input = {});

/// What else looks at the batches of an evaluation: activations, reconstructions, codes.
using BatchVisitor = std::function<void(const at::Tensor&, const at::Tensor&, const Codes&)>;

/// Everything, for an autoencoder that takes raw activations. No activation counts twice: where
/// fewer than `options.tokens` are held out, it rests on all there are.
Evaluation evaluate(const Autoencoder& sae, const Data& data, const EvalOptions& options,
                    const BatchVisitor& visit = {});

}  // namespace sae

// What a comparison may say of how well its members' latents can be told, from what the suite
// interp (interp.h) measured of each run.
//
// Frequent latents look better, so members are compared at the same firing counts: bins of
// b = floor(log2 n_j), mean_b over a member's latents in bin b, and
//
//     standardised mean = sum_b w_b mean_b
//
// with w_b the share of bin b among the eligible latents of all members at that L0, over the bins
// that all of them have; `dropped` is the share of the others. Errors: by bootstrap over latents
// within bins, and over training seeds the standard deviation.
//
// A difference of two members has an interval: the wider of what latents tell (the errors, normal)
// and, from two seeds on, of what seeds tell (Welch's t), at 95 % for all pairs of a metric and
// level together (Bonferroni). A claim needs eligible latents of both, the numbers of `shuffled`,
// `random` and a frozen member (arXiv 2602.14111) at the same L0 beside them, and an interval that
// excludes 0.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sae/results/results.h"

namespace sae {

/// A metric of one subject at one level.
struct StandardisedMean {
  double mean = 0;
  double error = 0;     ///< by bootstrap over latents
  double seeds_sd = 0;  ///< of the standardised means of its runs; 0 of one
  int seeds = 0;
  bool partial = false;  ///< of a control that lacks some of the members' bins
};

/// A member, a control or `shuffled` at one level.
struct InterpSubject {
  std::string name;
  bool control = false;
  bool frozen = false;
  double l0 = 0;                                  ///< of its runs nearest to the level
  double eligible = 0;                            ///< latents, the mean over seeds
  double coverage = 0;                            ///< likewise
  std::map<std::string, StandardisedMean> means;  ///< by metric (interp.h), and token_judge_*
  std::vector<MetricValues> by_quantile;          ///< plain means, the weakest group first
};

struct InterpDifference {
  std::string a, b, metric;
  double mean = 0;  ///< of a, less that of b
  double low = 0, high = 0;
  bool told_apart = false;  ///< the interval excludes 0
};

struct InterpLevel {
  double l0 = 0;
  double dropped = 0;  ///< share of the eligible latents that are in bins which some member lacks
  std::vector<InterpSubject> members;   ///< those with eligible latents around this L0
  std::vector<InterpSubject> controls;  ///< `shuffled` first
  std::vector<InterpDifference> differences;
  std::vector<std::string> missing;  ///< what a claim would need and is not there
  std::vector<std::string> claims;   ///< in words; empty: nothing may be claimed
};

/// Of each matched level (matched_levels) around which a member was judged. Runs stand for a level
/// within a factor of 1.5 of its L0.
std::vector<InterpLevel> interpretability_levels(const ComparisonResult& result);

/// "intruder accuracy" for "intruder".
std::string interp_label(const std::string& metric);

}  // namespace sae

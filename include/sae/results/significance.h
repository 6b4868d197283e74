// Whether two members of a comparison differ by more than the noise of seeds and classes.
//
// A score such as absorption is a mean over classes of words (or tasks) of a few training seeds,
// and both are samples: other seeds and other classes would have given another number. Members of a
// comparison share both, so differences are taken pairwise, d_sc for seed s and class c, and
//
//     d_sc = mean + seed_s + class_c + rest_sc            two crossed random effects
//     se^2 = (MS_seed + MS_class - MS_rest) / (S C)       never below either effect's own part
//
// with Satterthwaite's degrees of freedom; a Student t interval follows. Holm's step-down keeps the
// chance of any false claim among all pairs below 5 %.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sae/metrics/statistics.h"
#include "sae/results/results.h"

namespace sae {

struct PairedDifference {
  double mean = 0;
  double se = 0;   ///< NaN with one seed and one class
  double df = 0;   ///< degrees of freedom
  double low = 0;  ///< 95 % interval of the mean
  double high = 0;
  double p = 1;  ///< two-sided
  int seeds = 0;
  int classes = 0;
  bool told_apart = false;  ///< among all pairs, after Holm's correction; never with one seed
};

/// `d` [S][C], S and C at least 1, rows of one length.
PairedDifference paired_difference(const std::vector<std::vector<double>>& d);

/// Marks what Holm's step-down at 5 % tells apart.
void holm(std::vector<PairedDifference*> family);

/// Every pair of members at one L0: `pairs[i][j]` is member i less member j of `members`. None
/// where they share no seed or no class.
struct DifferenceTable {
  std::vector<std::string> members;
  std::vector<std::vector<std::optional<PairedDifference>>> pairs;
  std::size_t told_apart() const;  ///< pairs, each counted once
  std::size_t compared() const;
};

/// Of a metric by class (RunResult::by_class), interpolated to `l0` for each seed and class.
/// Members whose range does not reach `l0` take no part. `axis` as of metric_at.
DifferenceTable differences_at(const ComparisonResult& result, const std::string& metric, double l0,
                               const std::string& axis = metric::kL0);

}  // namespace sae

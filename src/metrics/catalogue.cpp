#include "sae/metrics/catalogue.h"

#include <algorithm>
#include <string_view>

namespace sae {

const std::vector<MetricInfo>& known_metrics() {
  using enum Better;
  static const std::vector<MetricInfo> metrics = {
      {metric::kL0, "L0", "L0", kNeither, 0},
      {metric::kExplainedVariance, "explained variance", "EV", kHigher, 1},
      {metric::kCosine, "cosine similarity", "cosine", kHigher, 10},
      {metric::kNmse, "normalised MSE", "NMSE", kLower, 13},
      {metric::kL2Ratio, "L2 ratio", "L2", kNeither, 0},
      {metric::kNeverFired, "latents that never fired", "unfired", kLower, 11},
      {metric::kAbsorptionFullMicro, "full absorption (micro)", "full", kLower, 2},
      {metric::kAbsorptionFullMacro, "full absorption (macro)", "macro", kLower, 3},
      {metric::kAbsorptionFraction, "absorption fraction", "fraction", kLower, 4},
      {metric::kMissOn, "parent silent, child on", "miss on", kLower, 0},
      {metric::kMissOff, "parent silent, child off", "miss off", kLower, 0},
      {metric::kWordsFull, "full absorption (words)", "full w", kLower, 5},
      {metric::kWordsFraction, "absorption fraction (words)", "frac. w", kLower, 6},
      {metric::kWordsMainF1, "F1 of the main latent", "k=1 F1", kHigher, 0},
      {metric::kWordsRecallGap, "recall gap (words)", "gap", kLower, 0},
      {metric::kWordsMainLatents, "main latents a class", "main", kNeither, 0},
      {metric::kProbingTop1, "probing accuracy, 1 latent", "top 1", kHigher, 7},
      {metric::kProbingTop2, "probing accuracy, 2 latents", "top 2", kHigher, 0},
      {metric::kProbingTop5, "probing accuracy, 5 latents", "top 5", kHigher, 0},
      {metric::kProbingAll, "probing accuracy, all latents", "probe", kHigher, 0},
      {metric::kMcc, "MCC", "MCC", kHigher, 8},
      {metric::kUniqueness, "uniqueness", "unique", kHigher, 12},
      {metric::kPrecision, "precision", "prec.", kHigher, 0},
      {metric::kRecall, "recall", "recall", kHigher, 0},
      {metric::kF1, "F1", "F1", kHigher, 9},
  };
  return metrics;
}

std::string suite_of(const std::string& name) {
  constexpr std::string_view kOfTruth[] = {metric::kTrueL0,       metric::kMcc,
                                           metric::kUniqueness,   metric::kPrecision,
                                           metric::kRecall,       metric::kF1,
                                           metric::kShrinkage,    metric::kMissOn,
                                           metric::kMissOff,      metric::kPartialAbsorption,
                                           metric::kHedgingCosine};
  const std::size_t dot = name.find('.');
  if (dot != std::string::npos)
    return name.starts_with("sae_bench.") ? "core" : name.substr(0, dot);
  const bool of_truth =
      name.starts_with("absorption_") ||
      std::find(std::begin(kOfTruth), std::end(kOfTruth), name) != std::end(kOfTruth);
  return of_truth ? "truth" : "core";
}

}  // namespace sae

#include "sae/metrics/catalogue.h"

#include <algorithm>
#include <map>
#include <string_view>

namespace sae {

const std::vector<MetricInfo>& known_metrics() {
  using enum Better;
  static const std::vector<MetricInfo> metrics = {
      {metric::kL0, "L0", "L0", kNeither, 0, 1},
      {metric::kWordsL0, "L0 on the words", "L0 w", kNeither, 5, 1},
      {metric::kExplainedVariance, "explained variance", "EV", kHigher, 1},
      {metric::kWordsVariance, "explained variance on the words", "EV w", kHigher, 6},
      {metric::kCosine, "cosine similarity", "cosine", kHigher, 15},
      {metric::kNmse, "normalised MSE", "NMSE", kLower, 18},
      {metric::kL2Ratio, "L2 ratio", "L2", kNeither, 0},
      {metric::kNeverFired, "latents that never fired", "unfired", kLower, 16},
      {metric::kAbsorptionFullMicro, "full absorption (micro)", "full micro", kLower, 2},
      {metric::kAbsorptionFullMacro, "full absorption (macro)", "full macro", kLower, 3},
      {metric::kAbsorptionFractionMicro, "absorption fraction (micro)", "frac micro", kLower, 4},
      {metric::kAbsorptionFractionMacro, "absorption fraction (macro)", "frac macro", kLower, 0},
      {metric::kMissOnMacro, "parent silent, child on (macro)", "miss on", kLower, 0},
      {metric::kMissOffMacro, "parent silent, child off (macro)", "miss off", kLower, 0},
      {metric::kWordsFull, "full absorption (words)", "full w", kLower, 7},
      {metric::kWordsFraction, "absorption fraction (words)", "frac. w", kLower, 8},
      {metric::kWordsMainF1, "F1 of the main latent", "k=1 F1", kHigher, 9},
      {metric::kWordsFullGivenMain, "full absorption (words with a main latent)", "full w main",
       kLower, 10},
      {metric::kWordsFractionGivenMain, "absorption fraction (words with a main latent)",
       "frac. w main", kLower, 11},
      {metric::kWordsClassesWithMain, "classes with a main latent", "classes", kHigher, 0, 1},
      {metric::kWordsRecallGap, "recall gap (words)", "gap", kLower, 0},
      {metric::kWordsMainLatents, "main latents a class", "main", kNeither, 0},
      {metric::kProbingTop1, "probing accuracy, 1 latent", "top 1", kHigher, 12},
      {metric::kProbingTop2, "probing accuracy, 2 latents", "top 2", kHigher, 0},
      {metric::kProbingTop5, "probing accuracy, 5 latents", "top 5", kHigher, 0},
      {metric::kProbingAll, "probing accuracy, all latents", "probe", kHigher, 0},
      {metric::kIntruder, "intruder accuracy", "intruder", kHigher, 19},
      {metric::kIntruderMatched, "intruder accuracy, same token", "matched", kHigher, 0},
      {metric::kIntruderShare, "latents with intruder accuracy .8 or more", "clear", kHigher, 0},
      {metric::kCoherence, "coherence of latents", "coherent", kHigher, 20},
      {metric::kAuroc, "detection AUROC", "AUROC", kHigher, 21},
      {metric::kRPrecision, "detection R-precision", "R-prec.", kHigher, 0},
      {metric::kTokenR2, "R² of tokens alone", "token R²", kNeither, 0},
      {metric::kEffectiveTokens, "effective tokens of a latent", "tokens", kNeither, 0, 0},
      {metric::kTopToken, "share of a latent's top token", "top token", kNeither, 0},
      {metric::kCoverage, "firings of eligible latents", "covered", kNeither, 0},
      {metric::kEligible, "eligible latents", "eligible", kNeither, 0, 0},
      {metric::kPwMcc, "PW-MCC between seeds", "PW-MCC", kHigher, 22},
      {metric::kSharedLatents, "latents shared between seeds", "shared", kHigher, 0},
      {metric::kMcc, "MCC", "MCC", kHigher, 13},
      {metric::kUniqueness, "uniqueness", "unique", kHigher, 17},
      {metric::kPrecision, "precision", "prec.", kHigher, 0},
      {metric::kRecall, "recall", "recall", kHigher, 0},
      {metric::kF1, "F1", "F1", kHigher, 14},
  };
  return metrics;
}

std::string suite_of(const std::string& name) {
  constexpr std::string_view kOfTruth[] = {
      metric::kTrueL0, metric::kMcc, metric::kUniqueness, metric::kPrecision,
      metric::kRecall, metric::kF1,  metric::kShrinkage,  metric::kHedgingCosine};
  const std::size_t dot = name.find('.');
  if (dot != std::string::npos)
    return name.starts_with("sae_bench.") ? "core" : name.substr(0, dot);
  const bool of_truth =
      name.starts_with("absorption_") || name.starts_with("miss_o") ||
      name.starts_with("partial_absorption_") ||
      std::find(std::begin(kOfTruth), std::end(kOfTruth), name) != std::end(kOfTruth);
  return of_truth ? "truth" : "core";
}

std::string renamed_to(const std::string& name) {
  static const std::map<std::string, std::string> names = {
      {"miss_on", metric::kMissOnMacro},
      {"miss_off", metric::kMissOffMacro},
      {"absorption_gap", metric::kAbsorptionGapMacro},
      {"absorption_fraction", metric::kAbsorptionFractionMicro},
      {"partial_absorption", metric::kPartialAbsorptionMacro}};
  const auto found = names.find(name);
  return found == names.end() ? "" : found->second;
}

}  // namespace sae

// The metrics by name: what each is called, which way it is better and where it is shown.
//
// One name has one meaning everywhere, from the log of a training to the report of a comparison.
// `never_fired` is the share of latents that did not fire in the tokens of an evaluation, and so
// depends on their number; `dead`, a training's, the share that has been silent for
// dead_after_tokens.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "sae/metrics/metric_values.h"

namespace sae {
namespace metric {

// ReconstructionMetrics (reconstruction.h).
inline constexpr const char* kL0 = "l0";
inline constexpr const char* kExplainedVariance = "explained_variance";
inline constexpr const char* kNmse = "nmse";
inline constexpr const char* kMse = "mse";
inline constexpr const char* kCosine = "cosine";
inline constexpr const char* kL2Ratio = "l2_ratio";
inline constexpr const char* kNeverFired = "never_fired";

// A training's own.
inline constexpr const char* kDead = "dead";

// Ground truth (truth.h). Of absorption, micro: the average over events; macro: the mean over
// parents.
inline constexpr const char* kTrueL0 = "true_l0";
inline constexpr const char* kMcc = "mcc";
inline constexpr const char* kUniqueness = "uniqueness";
inline constexpr const char* kPrecision = "precision";
inline constexpr const char* kRecall = "recall";
inline constexpr const char* kF1 = "f1";
inline constexpr const char* kShrinkage = "shrinkage";
inline constexpr const char* kMissOnMicro = "miss_on_micro";
inline constexpr const char* kMissOnMacro = "miss_on_macro";
inline constexpr const char* kMissOffMicro = "miss_off_micro";
inline constexpr const char* kMissOffMacro = "miss_off_macro";
inline constexpr const char* kAbsorptionGapMicro = "absorption_gap_micro";
inline constexpr const char* kAbsorptionGapMacro = "absorption_gap_macro";
inline constexpr const char* kAbsorptionFullMicro = "absorption_full_micro";
inline constexpr const char* kAbsorptionFullMacro = "absorption_full_macro";
inline constexpr const char* kAbsorptionFractionMicro = "absorption_fraction_micro";
inline constexpr const char* kAbsorptionFractionMacro = "absorption_fraction_macro";
inline constexpr const char* kAbsorptionParents = "absorption_parents";
inline constexpr const char* kAbsorptionMissing = "absorption_missing";
inline constexpr const char* kPartialAbsorptionMicro = "partial_absorption_micro";
inline constexpr const char* kPartialAbsorptionMacro = "partial_absorption_macro";
inline constexpr const char* kAbsorptionCosine = "absorption_cosine";
inline constexpr const char* kHedgingCosine = "hedging_cosine";

// Of the suites on labelled activations, after the suite's name. Words are another distribution
// than text: L0 and explained variance on them are quoted beside those on text.
inline constexpr const char* kWordsL0 = "absorption.l0";
inline constexpr const char* kWordsVariance = "absorption.explained_variance";
inline constexpr const char* kWordsFull = "absorption.mean_full_absorption_score";
inline constexpr const char* kWordsFraction = "absorption.mean_absorption_fraction_score";
inline constexpr const char* kWordsFullGivenMain =
    "absorption.mean_full_absorption_score_given_main";
inline constexpr const char* kWordsFractionGivenMain =
    "absorption.mean_absorption_fraction_score_given_main";
inline constexpr const char* kWordsClassesWithMain = "absorption.classes_with_main";
inline constexpr const char* kWordsMainF1 = "absorption.mean_k1_f1";
inline constexpr const char* kWordsRecallGap = "absorption.mean_recall_gap";
inline constexpr const char* kWordsMainLatents = "absorption.mean_num_split_features";
inline constexpr const char* kProbingTop1 = "probing.sae_top_1_test_accuracy";
inline constexpr const char* kProbingTop2 = "probing.sae_top_2_test_accuracy";
inline constexpr const char* kProbingTop5 = "probing.sae_top_5_test_accuracy";
inline constexpr const char* kProbingAll = "probing.sae_test_accuracy";

// What latents stand for, by a judge of likeness (interp.h): plain means over eligible latents.
inline constexpr const char* kIntruder = "interp.intruder";
inline constexpr const char* kIntruderMatched = "interp.intruder_matched";
inline constexpr const char* kIntruderShare = "interp.intruder_share_80";
inline constexpr const char* kCoherence = "interp.coherence";
inline constexpr const char* kAuroc = "interp.auroc";
inline constexpr const char* kRPrecision = "interp.r_precision";
inline constexpr const char* kTokenR2 = "interp.token_r2";
inline constexpr const char* kEffectiveTokens = "interp.effective_tokens";
inline constexpr const char* kTopToken = "interp.top_token";
inline constexpr const char* kCoverage = "interp.coverage";
inline constexpr const char* kEligible = "interp.eligible";

// Between runs that differ in the seed alone (consistency.h): the mean over a run's pairs.
// `_chance` is what random directions of the same shape have.
inline constexpr const char* kPwMcc = "consistency.pw_mcc";
inline constexpr const char* kPwMccChance = "consistency.pw_mcc_chance";
inline constexpr const char* kSharedLatents = "consistency.shared";
inline constexpr const char* kSharedChance = "consistency.shared_chance";

// By class of words, or by task.
inline constexpr const char* kFullOfClass = "absorption.full";
inline constexpr const char* kFractionOfClass = "absorption.fraction";

}  // namespace metric

/// What every evaluation has.
inline constexpr std::array kReconstructionMetrics = {
    metric::kL0,     metric::kExplainedVariance, metric::kNmse,      metric::kMse,
    metric::kCosine, metric::kL2Ratio,           metric::kNeverFired};

/// Where the main latents of classes of words have a mean F1 below this, absorption on words
/// measures whether a latent for a class exists at all. Ours.
inline constexpr double kLeastMainF1 = 0.2;

/// Which way a metric is better.
enum class Better { kHigher, kLower, kNeither };

struct MetricInfo {
  std::string name;   ///< key in MetricValues
  std::string label;  ///< "full absorption (micro)"
  std::string brief;  ///< column head for a terminal: "full"
  Better better = Better::kNeither;
  int place = 0;  ///< in a table for a terminal, the most telling first; 0: not in it
  int decimals = 3;
};

/// The known metrics in order of display.
const std::vector<MetricInfo>& known_metrics();

/// The suite (suites.h) whose verdict decides whether the metric is ranked: the part of its name
/// before a dot; "truth" for what is measured against a world's features; "core" for the rest.
std::string suite_of(const std::string& metric);

/// What a metric of an earlier version is called now; "" unless `metric` is such a name.
std::string renamed_to(const std::string& metric);

}  // namespace sae

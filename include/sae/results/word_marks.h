// What scores of absorption on words must not be taken for, told beside them.
//
// Absorption on words (absorption.h) is low, or high, for reasons that have nothing to do with it:
// a dictionary of random directions has some, and where no latent stands for a class any latent
// that carries the probe's direction "absorbs" it. Such scores are kept and marked.
#pragma once

#include <string>

#include "sae/results/results.h"

namespace sae {

struct WordMarks {
  /// Not above the random control's at about the same L0, but for the score's own spread over
  /// seeds: not told from chance.
  bool random = false;
  /// The main latents' mean F1 is below kLeastMainF1: it measures whether a latent for a class
  /// exists at all.
  bool no_latent = false;
};

/// Of a member's score at a matched L0; the arguments as of metric_at. Nothing is marked but full
/// absorption and its fraction; where a main latent is given, only the first mark is.
WordMarks word_marks(const ComparisonResult& result, const std::string& member,
                     const std::string& metric, double l0, const std::string& axis = metric::kL0);

/// Of one run's own score.
WordMarks word_marks(const ComparisonResult& result, const RunResult& run,
                     const std::string& metric);

/// "r", "f", "rf" or "".
std::string letters_of(const WordMarks& marks);

/// What the letters mean.
inline constexpr const char* kMeansRandom =
    "a random dictionary at about this L0 scores as much: not told from chance";
inline constexpr const char* kMeansNoLatent =
    "F1 of the main latent below 0.2: measures whether there is one at all";

}  // namespace sae

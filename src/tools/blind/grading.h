// What answers of people say: accuracy of members, differences between them, agreement of raters,
// and whether a judge's margin tells which items people get right.
//
// A score is 1 for the intruder, 0 for another text and .2, what guessing gives, for "cannot tell".
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace sae {

inline constexpr double kCannotTellScore = 0.2;

/// An item. Those of one bin and group are alike but for the member they are of.
struct GradedItem {
  std::int64_t member = 0;
  std::int64_t latent = 0;  ///< of that member
  std::int64_t bin = 0;     ///< floor(log2 of the rows that the latent fires on)
  std::int64_t group = 0;   ///< quantile of its activations
  double margin = std::numeric_limits<double>::quiet_NaN();  ///< the judge's; NaN without one
};

struct GradedAnswer {
  std::int64_t rater = 0;
  std::int64_t item = 0;
  double score = 0;
};

/// Answers of several raters about the same items, of which each may have left some out.
struct GradedAnswers {
  std::int64_t members = 0;
  std::int64_t raters = 0;
  std::vector<GradedItem> items;
  std::vector<GradedAnswer> answers;
};

/// A number with its 95 % interval; NaN where it is not defined.
struct Estimate {
  double value = std::numeric_limits<double>::quiet_NaN();
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();
};

using AnswerWeights = std::vector<double>;  ///< one for each answer
using AnswerStatistics = std::function<std::vector<double>(const AnswerWeights&)>;

/// Mean score of a member's answers; NaN if none has weight.
double accuracy_of(const GradedAnswers& graded, std::int64_t member, const AnswerWeights& weights);

/// Area under the curve of the margin against people's scores, each answer being right with weight
/// `score` and wrong with weight 1 - `score`: P(margin of a right one > that of a wrong one) plus
/// half of the ties. NaN unless both have weight. Answers about items without a margin are left
/// out.
double margin_auc(const GradedAnswers& graded, const AnswerWeights& weights);

/// Percentile intervals of statistics of the answers, over `draws` samples with replacement of the
/// raters and, apart from them, of the latents of each member and bin (Owen 2007, "The pigeonhole
/// bootstrap"): an answer's weight is how often its rater was drawn times how often its latent was.
/// With several raters the intervals are wide rather than narrow: of noise that belongs to neither
/// raters nor latents they count up to three times the variance. With a single rater they are over
/// latents alone, and of that person.
std::vector<Estimate> bootstrap_answers(const GradedAnswers& graded,
                                        const AnswerStatistics& statistics, std::int64_t seed,
                                        std::int64_t draws = 1000);

/// Two-sided p of "it does not matter which of two members an item is of": members are permuted
/// over the items of each bin and group, with all of an item's answers. (1 + permutations whose
/// difference of accuracies is at least as large) / (1 + permutations); 1 if there is none.
double permutation_p(const GradedAnswers& graded, std::int64_t a, std::int64_t b, std::int64_t seed,
                     std::int64_t permutations = 10'000);

/// Two people, or one at two times, on whether an item was answered right.
struct AgreementTable {
  std::int64_t both = 0, first = 0, second = 0, neither = 0;  ///< right

  void add(bool first_right, bool second_right);
  std::int64_t total() const { return both + first + second + neither; }
  double share() const;  ///< on which they agree; NaN of nothing
  /// Cohen 1960, "A coefficient of agreement for nominal scales": (share - chance) / (1 - chance),
  /// chance from how often each is right. NaN where that is always or never.
  double kappa() const;
};

struct RaterAgreement {
  std::int64_t answers = 0;  ///< pairs of them
  double share = std::numeric_limits<double>::quiet_NaN();
  /// Between raters the mean over pairs of raters (Light 1971) of those where it is defined.
  double kappa = std::numeric_limits<double>::quiet_NaN();
};

RaterAgreement agreement_between(const GradedAnswers& graded);

/// Answers about each member that tell an accuracy of p from one of q with 80 % power at 5 %,
/// two-sided: 7.85 (p (1 - p) + q (1 - q)) / (p - q)^2, rounded up.
std::int64_t answers_needed(double p, double q);

}  // namespace sae

// How well one can tell what a latent stands for, by a judge of likeness instead of a language
// model that explains: is one of five rows not the latent's, are its rows alike, are its rows found
// among others, is it a list of tokens.
//
// With a_r the latent's activation at row r and e_r the judge's unit vector:
//
//   intruder, intruder_matched  share of items (interp_items.h) whose intruder is the row with the
//       smallest sum over k != i of e_i . e_k; a tie that it is part of counts 1 / ties. Chance .2.
//       `matched` intruders share a token with the four, and go with the `blind` vectors: a judge
//       that sees the token takes them for the latent's own. Fewer than 10 items: none.
//   coherence   (M - M_0) / (1 - M_0); with S = sum a_r e_r, A = sum a_r, S_c and A_c those of
//       context c,  M = (|S|^2 - sum_c |S_c|^2) / (A^2 - sum_c A_c^2),  and M_0 the same of all
//       rows with a_r = 1. The activation-weighted similarity of pairs from different contexts:
//       MonoScore of arXiv 2504.02821 in one pass, as 2602.12403 has it; without pairs of one
//       context and relative to any two rows it is ours.
//   auroc, r_precision  of s(r) = e_r . (p - n) on query rows, p and n the means of e over
//   reference
//       rows with a > 0 and a = 0 (the example embedding of arXiv 2507.08473): P(s+ > s-) +
//       P(s+ = s-) / 2, and the share with a > 0 among the k highest, k = query rows with a > 0; of
//       equal ones at the k-th place a fair share.
//   token_r2    m_v = (sum of a over reference rows with token v + mu) / (their number + 1), mu the
//       reference mean; R^2 of m_token against a on query rows, at least 0. Near 1: the latent is a
//       list of tokens. Ours, as are
//   effective_tokens, top_token   2^H, H the entropy in bits of the tokens that it fires on, and
//       the largest one's share.
//
// Detection cannot see that a latent means two things; intruders and coherence can. Every number
// stands beside that of `shuffled`: the same activations on random rows of the sample.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sae/evaluation/interp_items.h"
#include "sae/evaluation/judge.h"

namespace sae {

enum class InterpMetric {
  kIntruder,
  kIntruderMatched,
  kCoherence,
  kAuroc,
  kRPrecision,
  kTokenR2,
  kEffectiveTokens,
  kTopToken
};
constexpr auto names_of(InterpMetric) {
  return std::array{"intruder",    "intruder_matched", "coherence",        "auroc",
                    "r_precision", "token_r2",         "effective_tokens", "top_token"};
}
inline constexpr std::size_t kInterpMetrics = 8;
/// The first so many are also measured of each quantile group.
inline constexpr std::size_t kByQuantile = 4;
/// The first so many need a judge.
inline constexpr std::size_t kJudged = 5;

/// One latent's numbers; NaN where there is none.
struct LatentScores {
  std::int64_t latent = 0;
  std::int64_t rows = 0;                                     ///< of the sample that it fires on
  std::array<double, kInterpMetrics> values;                 ///< by InterpMetric
  std::vector<std::array<double, kByQuantile>> by_quantile;  ///< weakest group first

  LatentScores() { values.fill(std::numeric_limits<double>::quiet_NaN()); }
  double& operator[](InterpMetric metric) { return values[static_cast<std::size_t>(metric)]; }
  double operator[](InterpMetric metric) const { return values[static_cast<std::size_t>(metric)]; }
};

/// What the judge says of an item.
struct ItemVerdict {
  double score = 0;   ///< 1, 0, or 1 / ties
  double margin = 0;  ///< smallest sum of the four shown, less that of the intruder
};
ItemVerdict judge_item(const JudgeVectors& vectors, const IntruderItem& item);

/// P(s+ > s-) + P(s+ = s-) / 2; NaN if there is none of either.
double auroc_of(std::span<const double> positive, std::span<const double> negative);

/// Share of positives among the k = |positive| highest of both; see r_precision.
double r_precision_of(std::span<const double> positive, std::span<const double> negative);

/// M of the rows with these weights, NaN where no two are of different contexts.
double pair_similarity(const InterpSample& sample, const JudgeVectors& vectors,
                       std::span<const std::int32_t> rows, std::span<const float> weights);

/// A sample as a judge sees it. Constant; may be used from several threads at once.
class JudgedSample {
 public:
  /// `blind` may be null: nothing is matched then.
  JudgedSample(const InterpSample& sample, std::shared_ptr<const JudgeVectors> whole,
               std::shared_ptr<const JudgeVectors> blind, const InterpOptions& options);

  /// The judged metrics of a latent; those of tokens stay NaN.
  LatentScores scores(const Firings& firings, std::int64_t latent) const;

  const InterpSample& sample() const { return *sample_; }
  double any_pair() const { return any_pair_; }  ///< M_0

 private:
  void intruders(const Firings& firings, Intruder kind, const JudgeVectors& vectors,
                 LatentScores& out) const;
  double coherence(std::span<const std::int32_t> rows, std::span<const float> weights) const;
  void coherences(const Firings& firings, const std::vector<std::vector<std::int32_t>>& groups,
                  LatentScores& out) const;
  void detection(const Firings& firings, const std::vector<std::vector<std::int32_t>>& groups,
                 LatentScores& out) const;

  const InterpSample* sample_;
  std::shared_ptr<const JudgeVectors> whole_;
  std::shared_ptr<const JudgeVectors> blind_;
  InterpOptions options_;
  double any_pair_ = 0;
  std::vector<bool> is_reference_;  // [N]
  std::int64_t reference_rows_ = 0;
  std::vector<double> reference_sum_;  // [m] of all reference rows
};

/// What latents fire on in terms of tokens, counted row by row of a store; see token_r2.
class TokenTally {
 public:
  TokenTally(std::size_t latents, std::int64_t seed) : latents_(latents), seed_(seed) {}

  /// One row of the store; its firings come after it.
  void add_row(std::int32_t token, std::int32_t context);
  /// A latent's activation > 0 at the row added last.
  void add(std::size_t latent, float activation);

  std::int64_t rows() const { return reference_.rows + query_.rows; }

  /// Sets the token metrics of each latent.
  void finish(std::span<LatentScores> scores);

 private:
  struct Entry {
    std::int32_t token;
    std::uint32_t firings;
    double reference, query;  // sums of activations
  };
  struct Latent {
    std::vector<Entry> entries;  // by token up to `merged`, then as they came
    std::size_t merged = 0;
    double query_square = 0;
  };
  struct Side {
    std::int64_t rows = 0;
    std::map<std::int32_t, std::int64_t> of_token;
    std::int64_t count(std::int32_t token) const {
      const auto found = of_token.find(token);
      return found == of_token.end() ? 0 : found->second;
    }
  };

  static void merge(Latent& latent);
  double r2(const Latent& latent) const;
  /// Sum over all tokens of n_q / (n_ref + 1)^2.
  double silent_square() const;

  std::vector<Latent> latents_;
  std::int64_t seed_;
  Side reference_, query_;
  std::int32_t token_ = 0;
  bool on_reference_ = false;
  double silent_square_ = 0;
};

/// The same activations on random rows of the sample: what a metric says of no meaning at all.
Firings shuffled(const Firings& firings, std::int64_t sample_rows, std::int64_t latent,
                 std::int64_t seed);

/// Scores of the latents `eligible` by each judge, on as many threads as the caller computes on;
/// they do not depend on how many.
std::vector<LatentScores> judge_latents(const JudgedSample& judged,
                                        const std::vector<Firings>& firings,
                                        const std::vector<std::int64_t>& eligible);

/// A metric over latents of about equal firing count.
struct InterpBin {
  std::int64_t bin = 0;      ///< floor(log2 n_j)
  std::int64_t latents = 0;  ///< eligible ones
  /// Mean of each metric over the latents that have it, NaN for none, and its standard error by
  /// bootstrap over them.
  std::array<double, kInterpMetrics> mean, error;
};

/// Means over the eligible latents of an autoencoder.
struct InterpSummary {
  std::array<double, kInterpMetrics> mean, error;
  std::vector<std::array<double, kByQuantile>> by_quantile;
  double intruder_share_80 = 0;  ///< of the latents with an intruder accuracy of .8 or more
  std::vector<InterpBin> bins;   ///< ascending
};
/// Errors: bootstrap over latents within bins, `options.draws` draws.
InterpSummary summarise(std::span<const LatentScores> latents, const InterpOptions& options);

}  // namespace sae

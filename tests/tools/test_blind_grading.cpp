// What answers say, against values worked out by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "sae/base/rng.h"
#include "tools/blind/grading.h"

namespace sae {
namespace {

/// `raters` people of known skill on `latents` latents of each of two members, one item each.
GradedAnswers simulated(std::int64_t raters, std::int64_t latents, double first, double second,
                        std::uint64_t index) {
  GradedAnswers out{2, raters, {}, {}};
  Rng rng(0, Stream::kTest, index);
  for (std::int64_t member = 0; member < 2; ++member) {
    for (std::int64_t latent = 0; latent < latents; ++latent) {
      for (std::int64_t rater = 0; rater < raters; ++rater) {
        const bool right = rng.uniform() < (member == 0 ? first : second);
        out.answers.push_back({rater, std::ssize(out.items), right ? 1.0 : 0.0});
      }
      out.items.push_back({member, latent, 5 + latent % 3, latent % 5});
    }
  }
  return out;
}

AnswerStatistics accuracies(const GradedAnswers& graded) {
  return [&graded](const AnswerWeights& weights) {
    return std::vector<double>{accuracy_of(graded, 0, weights), accuracy_of(graded, 1, weights)};
  };
}

AnswerWeights ones(const GradedAnswers& graded) { return AnswerWeights(graded.answers.size(), 1); }

TEST(BlindGrading, MeansScoresByMemberAndWeight) {
  const GradedAnswers graded{
      2, 1, {{0, 3, 5, 0}, {0, 4, 5, 0}, {1, 3, 5, 0}}, {{0, 0, 1}, {0, 1, 0.2}, {0, 2, 0}}};
  EXPECT_DOUBLE_EQ(accuracy_of(graded, 0, {1, 1, 1}), 0.6);
  EXPECT_DOUBLE_EQ(accuracy_of(graded, 0, {3, 1, 1}), 0.8);
  EXPECT_DOUBLE_EQ(accuracy_of(graded, 1, {1, 1, 1}), 0);
  EXPECT_TRUE(std::isnan(accuracy_of(graded, 0, {0, 0, 1})));
}

TEST(BlindGrading, HoldsMarginsAgainstScores) {
  GradedAnswers graded{1, 1, {}, {}};
  const auto ask = [&](double margin, double score) {
    graded.answers.push_back({0, std::ssize(graded.items), score});
    graded.items.push_back({0, 0, 5, 0, margin});
  };
  ask(3, 1);
  ask(1, 1);
  ask(2, 0);
  ask(1, 0);
  // Of the four pairs of a right and a wrong one: 3 > 2, 3 > 1, 1 < 2, 1 = 1.
  EXPECT_DOUBLE_EQ(margin_auc(graded, ones(graded)), 2.5 / 4);
  ask(std::nan(""), 1);  // without a margin: no part of it
  EXPECT_DOUBLE_EQ(margin_auc(graded, ones(graded)), 2.5 / 4);
  ask(4, kCannotTellScore);  // right by .2, wrong by .8: above all four
  EXPECT_DOUBLE_EQ(margin_auc(graded, ones(graded)), (2.5 + 0.2 * 2 + 0.2 * 0.8 / 2) / (2.2 * 2.8));
  EXPECT_DOUBLE_EQ(margin_auc(graded, {2, 1, 1, 1, 1, 0}), (2 * 2 + 0.5) / (3 * 2));
  EXPECT_TRUE(std::isnan(margin_auc(graded, {1, 1, 0, 0, 0, 0}))) << "nothing is wrong";
}

TEST(BlindGrading, IntervalsOfOneRaterAreThoseOfAMean) {
  const GradedAnswers graded = simulated(1, 400, 0.7, 0.2, 1);
  const auto estimates = bootstrap_answers(graded, accuracies(graded), 0, 2000);
  for (const Estimate& estimate : estimates) {
    const double half = 1.96 * std::sqrt(estimate.value * (1 - estimate.value) / 400);
    EXPECT_NEAR(estimate.low, estimate.value - half, 0.15 * half);
    EXPECT_NEAR(estimate.high, estimate.value + half, 0.15 * half);
  }
}

TEST(BlindGrading, IntervalsSeeThatRatersAndLatentsDiffer) {
  GradedAnswers graded = simulated(4, 100, 0, 0, 1);
  for (GradedAnswer& answer : graded.answers) answer.score = answer.rater < 2 ? 1 : 0;
  auto estimate = bootstrap_answers(graded, accuracies(graded), 0)[0];
  EXPECT_DOUBLE_EQ(estimate.value, 0.5);
  // Of four raters drawn 0, 1, 2, 3 or 4 are good with probability 1, 4, 6, 4, 1 in 16.
  EXPECT_DOUBLE_EQ(estimate.low, 0);
  EXPECT_DOUBLE_EQ(estimate.high, 1);
  for (GradedAnswer& answer : graded.answers) {
    answer.score = graded.items[static_cast<std::size_t>(answer.item)].latent % 2 == 0 ? 1 : 0;
  }
  estimate = bootstrap_answers(graded, accuracies(graded), 0)[0];
  EXPECT_NEAR(estimate.low, 0.5 - 1.96 * 0.05, 0.02) << "100 latents, however many raters";
  EXPECT_NEAR(estimate.high, 0.5 + 1.96 * 0.05, 0.02);
}

TEST(BlindGrading, IntervalsHoldTheTruthAtLeastAsOftenAsTheySay) {
  int held = 0;
  for (std::uint64_t study = 0; study < 60; ++study) {
    const GradedAnswers graded = simulated(3, 60, 0.75, 0.5, 100 + study);
    const auto estimates = bootstrap_answers(graded, accuracies(graded), 0, 200);
    held += estimates[0].low <= 0.75 && 0.75 <= estimates[0].high ? 1 : 0;
    held += estimates[1].low <= 0.5 && 0.5 <= estimates[1].high ? 1 : 0;
  }
  EXPECT_GE(held, 114 - 5) << "of 120";  // 95 %, less two standard deviations
}

TEST(BlindGrading, ItemsOfALatentAreDrawnTogether) {
  GradedAnswers graded{1, 1, {}, {}};
  for (std::int64_t i = 0; i < 100; ++i) {
    graded.items.push_back({0, i / 2, 5, i % 5});
    graded.answers.push_back({0, i, i / 2 % 2 == 0 ? 1.0 : 0.0});
  }
  const auto statistics = [&](const AnswerWeights& weights) {
    return std::vector<double>{accuracy_of(graded, 0, weights)};
  };
  const Estimate of = bootstrap_answers(graded, statistics, 0, 2000)[0];
  EXPECT_NEAR(of.high - of.value, 1.96 * 0.5 / std::sqrt(50), 0.02);
}

TEST(BlindGrading, PermutesMembersWithinBinAndGroup) {
  const auto study = [](const std::vector<std::vector<double>>& a,
                        const std::vector<std::vector<double>>& b) {
    GradedAnswers out{2, 1, {}, {}};
    for (std::int64_t member = 0; member < 2; ++member) {
      const auto& strata = member == 0 ? a : b;
      for (std::size_t stratum = 0; stratum < strata.size(); ++stratum) {
        for (const double score : strata[stratum]) {
          out.answers.push_back({0, std::ssize(out.items), score});
          out.items.push_back(
              {member, std::ssize(out.items), static_cast<std::int64_t>(stratum), 0});
        }
      }
    }
    return out;
  };
  // Of the 20 ways to choose three of six, two are as far apart.
  EXPECT_NEAR(permutation_p(study({{1, 1, 1}}, {{0, 0, 0}}), 0, 1, 0), 0.1, 0.01);
  // In two strata of one item each: 2 of 4.
  EXPECT_NEAR(permutation_p(study({{1}, {1}}, {{0}, {0}}), 0, 1, 0), 0.5, 0.02);
  EXPECT_EQ(permutation_p(study({{1, 1, 1}, {}}, {{}, {0, 0, 0}}), 0, 1, 0), 1)
      << "members that share no stratum are not told apart by the strata";
  EXPECT_EQ(permutation_p(study({{1, 0}}, {{0, 1}}), 0, 1, 0), 1);
  EXPECT_EQ(permutation_p(study({{1, 0}}, {{}}), 0, 1, 0), 1) << "nothing to compare with";
}

TEST(BlindGrading, PermutationsKeepAnItemsAnswersTogether) {
  GradedAnswers graded{2, 8, {}, {}};
  for (std::int64_t item = 0; item < 4; ++item) {
    graded.items.push_back({item / 2, item, 5, 0});
    for (std::int64_t rater = 0; rater < 8; ++rater) {
      graded.answers.push_back({rater, item, item < 2 ? 1.0 : 0.0});
    }
  }
  EXPECT_NEAR(permutation_p(graded, 0, 1, 0), 1.0 / 3, 0.02) << "2 of 6 ways, not of many more";
}

TEST(BlindGrading, PermutationsFindNothingWhereNothingIs) {
  int low = 0;
  for (std::uint64_t study = 0; study < 100; ++study) {
    low += permutation_p(simulated(2, 40, 0.6, 0.6, 500 + study), 0, 1, 0, 200) <= 0.1 ? 1 : 0;
  }
  EXPECT_NEAR(low, 10, 9);
  EXPECT_LT(permutation_p(simulated(5, 80, 0.7, 0.5, 1), 0, 1, 0), 0.001);
}

TEST(BlindGrading, AgreementIsCohensKappa) {
  const AgreementTable table{.both = 20, .first = 5, .second = 10, .neither = 15};
  EXPECT_DOUBLE_EQ(table.share(), 0.7);
  EXPECT_DOUBLE_EQ(table.kappa(), 0.4);  // chance .5
  EXPECT_DOUBLE_EQ((AgreementTable{.both = 7, .neither = 3}).kappa(), 1);
  EXPECT_TRUE(std::isnan((AgreementTable{.both = 7}).kappa())) << "both are always right";
  EXPECT_TRUE(std::isnan(AgreementTable{}.share()));
}

TEST(BlindGrading, AgreementIsOverPairsOfRatersWhoSawTheSame) {
  GradedAnswers graded{1, 3, {}, {}};
  const auto ask = [&](const std::vector<std::pair<std::int64_t, double>>& scores) {
    for (const auto& [rater, score] : scores) {
      graded.answers.push_back({rater, std::ssize(graded.items), score});
    }
    graded.items.push_back({});
  };
  for (int i = 0; i < 20; ++i) ask({{0, 1}, {1, 1}});
  for (int i = 0; i < 5; ++i) ask({{0, 1}, {1, kCannotTellScore}});
  for (int i = 0; i < 10; ++i) ask({{1, 1}, {0, 0}});  // in any order
  for (int i = 0; i < 15; ++i) ask({{0, 0}, {1, 0}});
  RaterAgreement of = agreement_between(graded);
  EXPECT_EQ(of.answers, 50);
  EXPECT_DOUBLE_EQ(of.share, 0.7);
  EXPECT_DOUBLE_EQ(of.kappa, 0.4);
  ask({{1, 1}, {2, 1}});
  ask({{1, 0}, {2, 0}});
  of = agreement_between(graded);
  EXPECT_EQ(of.answers, 52);
  EXPECT_DOUBLE_EQ(of.kappa, (0.4 + 1) / 2) << "the mean over pairs of raters";
  EXPECT_TRUE(std::isnan(agreement_between({1, 1, {{}}, {{0, 0, 1}}}).share));
}

TEST(BlindGrading, SaysHowManyAnswersItTakes) {
  EXPECT_EQ(answers_needed(0.7, 0.6), 354);  // 7.85 (.21 + .24) / .01
  EXPECT_EQ(answers_needed(0.6, 0.7), 354);
  EXPECT_EQ(answers_needed(0.9, 0.5), 17);  // 7.85 (.09 + .25) / .16 = 16.7
}

}  // namespace
}  // namespace sae

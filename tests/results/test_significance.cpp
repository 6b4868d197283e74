#include <gtest/gtest.h>

#include <cmath>

#include "sae/results/significance.h"

namespace sae {
namespace {

TEST(Student, HasItsClosedFormsForOneAndTwoDegreesOfFreedom) {
  for (const double t : {0.0, 0.3, 1.0, 4.0, 60.0}) {
    EXPECT_NEAR(student_p(t, 1), 1 - 2 / M_PI * std::atan(t), 1e-13) << t;
    EXPECT_NEAR(student_p(-t, 2), 1 - t / std::sqrt(2 + t * t), 1e-13) << t;
  }
}

TEST(Student, AgreesWithTablesAndIsTheNormalDistributionForManyDegrees) {
  EXPECT_NEAR(student_t(0.05, 1), 12.706204736, 1e-8);
  EXPECT_NEAR(student_t(0.05, 10), 2.228138852, 1e-8);
  EXPECT_NEAR(student_p(student_t(0.013, 7.3), 7.3), 0.013, 1e-12);
  EXPECT_NEAR(student_t(0.05, 1e7), 1.959964, 1e-5);
}

// Two seeds, three classes; effects of seed and class by hand: seed means .2 and .4, class means
// .1, .3, .5, rest 0. MS_seed = 3 (2 x .01) / 1 = .06, MS_class = 2 (2 x .04) / 2 = .08.
TEST(PairedDifference, AddsTheVarianceOfSeedsAndOfClasses) {
  const PairedDifference d = paired_difference({{0.0, 0.2, 0.4}, {0.2, 0.4, 0.6}});
  EXPECT_NEAR(d.mean, 0.3, 1e-12);
  EXPECT_NEAR(d.se, std::sqrt((0.06 + 0.08) / 6), 1e-12);
  EXPECT_NEAR(d.df, 0.14 * 0.14 / (0.06 * 0.06 / 1 + 0.08 * 0.08 / 2), 1e-9);
  EXPECT_NEAR(d.high - d.mean, student_t(0.05, d.df) * d.se, 1e-12);
  EXPECT_EQ(d.seeds, 2);
  EXPECT_EQ(d.classes, 3);
}

TEST(PairedDifference, OfOneSeedSeesClassesAlone) {
  const PairedDifference d = paired_difference({{0.1, 0.3}});
  EXPECT_NEAR(d.se, 0.1, 1e-12);  // sd .1414 over sqrt 2
  EXPECT_NEAR(d.df, 1, 0);
  EXPECT_TRUE(std::isnan(paired_difference({{0.1}}).se));
  EXPECT_EQ(paired_difference({{0.1}}).p, 1);
}

TEST(PairedDifference, NeverFallsBelowTheLargerEffectAlone) {
  // The rest outweighs the seeds: MS_seed + MS_class - MS_rest < MS_class.
  const PairedDifference d = paired_difference({{0.0, 1.0, 0.5}, {1.0, 0.0, 0.5}});
  EXPECT_GE(d.se, 0);
  EXPECT_NEAR(d.mean, 0.5, 1e-12);
  EXPECT_GE(d.p, 0);
}

TEST(PairedDifference, CallsEqualMembersEqualAndASureDifferenceSure) {
  EXPECT_EQ(paired_difference({{0, 0}, {0, 0}}).p, 1);
  EXPECT_EQ(paired_difference({{1, 1}, {1, 1}}).p, 0);
}

TEST(Holm, StopsAtTheFirstThatIsNotSmallEnough) {
  std::vector<PairedDifference> pairs(3);
  for (PairedDifference& pair : pairs) pair.seeds = 2;
  pairs[0].p = 0.04;
  pairs[1].p = 0.016;  // below .05 / 3
  pairs[2].p = 0.03;   // above .05 / 2
  holm({&pairs[0], &pairs[1], &pairs[2]});
  EXPECT_FALSE(pairs[0].told_apart);
  EXPECT_TRUE(pairs[1].told_apart);
  EXPECT_FALSE(pairs[2].told_apart);
}

TEST(Holm, TellsNothingApartFromOneSeed) {
  PairedDifference sure;
  sure.p = 0;
  sure.seeds = 1;
  holm({&sure});
  EXPECT_FALSE(sure.told_apart);
}

/// Two members at L0 10 and 20, two seeds, three classes; "b" is "a" plus .5, a little noise.
ComparisonResult two_members() {
  ComparisonResult result;
  result.members = {{"a", "topk", false, ""}, {"b", "topk", false, ""}};
  for (const char* member : {"a", "b"}) {
    for (const double l0 : {10.0, 20.0}) {
      for (const std::int64_t seed : {0, 1}) {
        RunResult run;
        run.member = member;
        run.seed = seed;
        run.metrics["l0"] = l0;
        const double base = (member[0] == 'b' ? 0.5 : 0) + l0 / 100;
        const double noise = 0.001 * static_cast<double>(seed);
        run.by_class["absorption.full"] = {
            {"month", base + noise}, {"year", base + 0.1}, {"-ing", base + 0.2 - noise}};
        result.runs.push_back(run);
      }
    }
  }
  return result;
}

TEST(Differences, AreInterpolatedToTheLevelAndPairedByClass) {
  const DifferenceTable table = differences_at(two_members(), "absorption.full", 15);
  ASSERT_EQ(table.members, (std::vector<std::string>{"a", "b"}));
  ASSERT_TRUE(table.pairs[1][0]);
  EXPECT_NEAR(table.pairs[1][0]->mean, 0.5, 1e-12);
  EXPECT_EQ(table.pairs[1][0]->classes, 3);
  EXPECT_TRUE(table.pairs[1][0]->told_apart);
  EXPECT_NEAR(table.pairs[0][1]->mean, -0.5, 1e-12);
  EXPECT_LE(table.pairs[0][1]->low, table.pairs[0][1]->high);
  EXPECT_EQ(table.told_apart(), 1U);
  EXPECT_EQ(table.compared(), 1U);
}

TEST(Differences, LeaveOutWhoDoesNotReachTheLevelAndClassesThatOneLacks) {
  EXPECT_EQ(differences_at(two_members(), "absorption.full", 40).compared(), 0U);
  ComparisonResult result = two_members();
  result.runs[0].by_class["absorption.full"].erase("month");
  result.runs[2].by_class["absorption.full"].erase("month");
  const DifferenceTable table = differences_at(result, "absorption.full", 15);
  EXPECT_EQ(table.pairs[1][0]->classes, 2);
}

TEST(Differences, LeaveOutAutoencodersTooDenseToBeRanked) {
  ComparisonResult result = two_members();
  for (RunResult& run : result.runs) {
    if (run.member == "b") run.metrics["absorption.ranked"] = 0;
  }
  EXPECT_EQ(differences_at(result, "absorption.full", 15).members, (std::vector<std::string>{"a"}));
}

}  // namespace
}  // namespace sae

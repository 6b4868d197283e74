#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "sae/results/word_marks.h"

namespace sae {
namespace {

/// Two seeds of one member at L0 10 and 20, and random dictionaries at the same.
ComparisonResult scores(double full, double f1, double chance) {
  ComparisonResult result;
  result.members.push_back({"a", "topk", false, ""});
  for (const double l0 : {10.0, 20.0}) {
    for (const int seed : {0, 1}) {
      RunResult run;
      run.member = "a";
      run.seed = seed;
      run.point["model.k"] = nlohmann::ordered_json(l0);
      run.metrics = {{metric::kL0, l0},
                     {metric::kWordsL0, 2 * l0},
                     {metric::kWordsFull, full + (seed == 0 ? -.01 : .01)},
                     {metric::kWordsFullGivenMain, full},
                     {metric::kExplainedVariance, .1},
                     {metric::kWordsMainF1, f1}};
      result.runs.push_back(run);
    }
    RunResult control;
    control.member = "random";
    control.metrics = {{metric::kL0, l0},
                       {metric::kWordsL0, l0},
                       {metric::kWordsFull, chance},
                       {metric::kExplainedVariance, .9}};
    result.controls.push_back(control);
  }
  return result;
}

std::string letters(const ComparisonResult& result, const char* metric, double l0 = 15,
                    const char* axis = metric::kL0) {
  return letters_of(word_marks(result, "a", metric, l0, axis));
}

TEST(WordMarks, MarkWhatARandomDictionaryReachesWithinTheSpread) {
  const double sd = .01 * std::sqrt(2);
  EXPECT_EQ(letters(scores(.2, .5, .3), metric::kWordsFull), "r");
  EXPECT_EQ(letters(scores(.3 + .9 * sd, .5, .3), metric::kWordsFull), "r");
  EXPECT_EQ(letters(scores(.3 + 1.1 * sd, .5, .3), metric::kWordsFull), "");
  EXPECT_EQ(letters(scores(.2, .5, .3), metric::kExplainedVariance), "") << "no score of words";
  EXPECT_EQ(letters(scores(.2, .5, .3), metric::kWordsFullGivenMain), "") << "chance has none";
}

TEST(WordMarks, MarkScoresWhereNoLatentStandsForAClass) {
  EXPECT_EQ(letters(scores(.5, .19, .3), metric::kWordsFull), "f");
  EXPECT_EQ(letters(scores(.2, .19, .3), metric::kWordsFull), "rf");
  EXPECT_EQ(letters(scores(.5, .2, .3), metric::kWordsFull), "");
  EXPECT_EQ(letters(scores(.5, .19, .3), metric::kWordsFullGivenMain), "") << "there is one";
}

TEST(WordMarks, TakeNoControlOfAnotherL0) {
  const ComparisonResult result = scores(.2, .5, .3);
  EXPECT_EQ(letters(result, metric::kWordsFull, 28), "r") << "about the same as 20";
  EXPECT_EQ(letters(result, metric::kWordsFull, 40), "");
  EXPECT_EQ(letters(result, metric::kWordsFull, 28, metric::kWordsL0), "r");
  EXPECT_EQ(letters(result, metric::kWordsFull, 40, metric::kWordsL0), "")
      << "controls have 10 and 20 on the words";
  ComparisonResult alone = result;
  alone.controls.clear();
  EXPECT_EQ(letters(alone, metric::kWordsFull), "");
}

TEST(WordMarks, AreSetForARunsOwnScoreAndExplainedInTheTerminal) {
  const ComparisonResult result = scores(.305, .1, .3);
  EXPECT_EQ(letters_of(word_marks(result, result.runs[0], metric::kWordsFull)), "rf");
  EXPECT_EQ(letters_of(word_marks(result, result.runs[1], metric::kWordsFull)), "f");
  const std::string table = results_table(result);
  EXPECT_NE(table.find(".305±.014rf"), std::string::npos) << table;
  EXPECT_NE(table.find("20.0±.0"), std::string::npos) << "L0 on the words\n" << table;
  EXPECT_NE(
      table.find("\nr a random dictionary at about this L0 scores as much: not told from "
                 "chance\nf F1 of the main latent below 0.2: measures whether there is one at "
                 "all\n"),
      std::string::npos)
      << table;
  EXPECT_EQ(results_table(scores(.5, .5, .3)).find("chance"), std::string::npos);
}

}  // namespace
}  // namespace sae

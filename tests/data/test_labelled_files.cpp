// Labelled files of scripts/word_classes.py, first_letter.py and probing_tasks.py, written by the
// tests in tests/harvest.

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>

#include "sae/data/labelled.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

LabelledActivations golden(const std::string& name) {
  return read_labelled(std::filesystem::path(SAE_SOURCE_DIR) / "tests/golden/labelled" / name);
}

TEST(LabelledFiles, WordClassesAreRowsOfAStore) {
  const LabelledActivations data = golden("words.safetensors");
  EXPECT_EQ(data.task, "word_classes");
  EXPECT_EQ(data.classes, (std::vector<std::string>{"x", "number"}));
  const std::set<std::string> train(data.train.words.begin(), data.train.words.end());
  for (const LabelledSplit* split : {&data.train, &data.test}) {
    // The store's row r is (r, r, r * r), in bfloat16.
    EXPECT_TRUE(at::equal(split->x.select(1, 0), split->x.select(1, 1)));
    EXPECT_TRUE(at::allclose(split->x.select(1, 0).square(), split->x.select(1, 2), 0.02));
    for (std::int64_t i = 0; i < split->samples(); ++i) {
      const std::string& word = split->words[static_cast<std::size_t>(i)];
      EXPECT_EQ(split->y[i].item<std::int64_t>(), word.front() == '1' ? 1 : 0) << word;
    }
  }
  for (const std::string& word : data.test.words) EXPECT_FALSE(train.contains(word)) << word;
  EXPECT_FALSE(data.score_x.defined());
}

TEST(LabelledFiles, FirstLettersHaveAnotherPromptToScore) {
  const LabelledActivations data = golden("letters.safetensors");
  EXPECT_EQ(data.task, "first_letter");
  EXPECT_EQ(data.d_in(), 8);
  for (const LabelledSplit* split : {&data.train, &data.test}) {
    for (std::int64_t i = 0; i < split->samples(); ++i) {
      std::string word = split->words[static_cast<std::size_t>(i)];
      if (word.front() == ' ') word.erase(0, 1);
      const auto label = static_cast<std::size_t>(split->y[i].item<std::int64_t>());
      EXPECT_EQ(data.classes.at(label), std::string(1, static_cast<char>(std::tolower(word[0]))));
    }
  }
  ASSERT_TRUE(data.score_x.defined());
  EXPECT_FALSE(at::equal(data.score_x, data.test.x));
}

TEST(LabelledFiles, TasksHaveTheTokensOfTexts) {
  const LabelledActivations data = golden("task.safetensors");
  EXPECT_EQ(data.classes, (std::vector<std::string>{"even", "odd"}));
  EXPECT_EQ(data.train.samples(), 18);
  EXPECT_EQ(data.test.samples(), 6);
  const at::Tensor lengths = data.train.offsets.diff();
  EXPECT_EQ(lengths.min().item<std::int64_t>(), 1);
  EXPECT_EQ(lengths.max().item<std::int64_t>(), 9);
  EXPECT_EQ(data.train.x.size(0), lengths.sum().item<std::int64_t>());
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "sae/base/error.h"
#include "sae/evaluation/judge.h"
#include "support/interp_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

/// A topic store, and what reading a judge of it that was changed says.
class JudgeFiles : public testing::Test {
 protected:
  void SetUp() override { write_topic_store(store(), 64); }

  std::filesystem::path store() const { return folder_.path() / "store"; }
  std::filesystem::path file() const { return folder_.path() / "judge.safetensors"; }

  std::string complaint(const std::function<void(TopicJudge&)>& change) const {
    TopicJudge judge(store());
    change(judge);
    judge.write(file());
    try {
      const JudgeFile read = read_judge(file());
      require_judge_of(read, ActivationStore(store()));
    } catch (const DataError& error) {
      const std::string text = error.what();
      EXPECT_TRUE(text.starts_with(file().string() + ": ")) << text;
      return text.substr(file().string().size() + 2);
    }
    return "none";
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(JudgeFiles, AreReadAsTheyWereWritten) {
  const TopicJudge judge(store());
  judge.write(file());
  EXPECT_TRUE(is_judge_file(file()));
  EXPECT_FALSE(is_judge_file(store()));
  EXPECT_FALSE(is_judge_file(store() / "shard-00000.safetensors"));
  const JudgeFile read = read_judge(file());
  EXPECT_EQ(read.model, "small-judge");
  EXPECT_EQ(read.window, "16");
  ASSERT_EQ(std::ssize(read.rows), judge.rows.size(0));
  EXPECT_EQ(read.rows[0], 1);
  EXPECT_NEAR(read.whole->dot(3, 3), 1, 1e-6);
  EXPECT_NEAR(read.whole->dot(3, 4),
              (judge.whole[3].dot(judge.whole[4]) / judge.whole[3].norm() / judge.whole[4].norm())
                  .item<double>(),
              1e-6);
  const ActivationStore opened(store());
  EXPECT_NO_THROW(require_judge_of(read, opened));
  EXPECT_FALSE(is_model_of(read, opened));
  JudgeFile same = read;
  same.model = "somebody/Subject";
  EXPECT_TRUE(is_model_of(same, opened));

  const std::vector<std::int64_t> rows = {1, 2, 10, 33};
  const JudgeFile part = judge_of_rows(read, rows);
  EXPECT_EQ(part.rows, (std::vector<std::int64_t>{1, 2, 33})) << "row 10 is not judged";
  EXPECT_NEAR(part.whole->dot(0, 2), read.whole->dot(0, 29), 1e-6);
  EXPECT_EQ(part.blind->size(), 3);
}

TEST_F(JudgeFiles, ThatAreDamagedAreRefusedWithTheRow) {
  EXPECT_EQ(complaint([](TopicJudge&) {}), "none");
  EXPECT_EQ(complaint([](TopicJudge& j) { j.rows[5] = j.rows[4]; }),
            "rows: row 5 is 5 after 5, expected them to ascend");
  EXPECT_EQ(complaint([](TopicJudge& j) { j.rows[0] = -1; }),
            "rows: row 0 is -1, expected a row of the store");
  EXPECT_EQ(complaint([](TopicJudge& j) { j.rows[-1] = 512; }),
            "rows: row 459 is 512, the store has rows 0 to 511");
  EXPECT_EQ(
      complaint([](TopicJudge& j) { j.whole[7][2] = std::numeric_limits<float>::quiet_NaN(); }),
      "whole: row 7 is not finite");
  EXPECT_EQ(complaint([](TopicJudge& j) { j.blind[9].zero_(); }),
            "blind: row 9 is zero, expected a vector with a direction");
  EXPECT_EQ(complaint([](TopicJudge& j) { j.whole = j.whole.slice(0, 1); }),
            "tensor whole is [459, 24], expected a vector for each of the 460 rows");
  EXPECT_EQ(complaint([](TopicJudge& j) { j.whole = j.whole.to(at::kDouble); }),
            "tensor whole is F64, expected F32 or F16");
  EXPECT_EQ(complaint([](TopicJudge& j) { j.metadata["task"] = "first_letter"; }),
            "task is \"first_letter\", expected \"judge\"");
  EXPECT_NE(complaint([](TopicJudge& j) { j.metadata.erase("window"); }).find("no \"window\""),
            std::string::npos);
  EXPECT_NE(complaint([](TopicJudge& j) {
              j.rows = j.rows.slice(0, 0, 0);
              j.whole = j.whole.slice(0, 0, 0);
              j.blind = j.blind.slice(0, 0, 0);
            }).find("rows: none"),
            std::string::npos);
}

TEST_F(JudgeFiles, OfAnotherStoreOrOfTheStoresOwnRowsAreRefused) {
  EXPECT_NE(complaint([](TopicJudge& j) {
              j.metadata["store"] = std::string(64, '0');
            }).find("was made for another store"),
            std::string::npos);
  const auto own_rows = [&](const TopicJudge& judge) {
    const ActivationStore opened(store());
    return opened.rows(0, opened.size()).index_select(0, judge.rows);
  };
  const std::string refused = "its vectors are the store's own rows";
  EXPECT_TRUE(complaint([&](TopicJudge& j) { j.whole = 3 * own_rows(j); }).starts_with(refused));
  EXPECT_TRUE(complaint([&](TopicJudge& j) {
                j.whole = at::cat({own_rows(j), normal(own_rows(j).sizes(), 4).to(at::kFloat)}, 1);
              }).starts_with(refused))
      << "[u, v], u the row";
  EXPECT_TRUE(complaint([&](TopicJudge& j) { j.blind = own_rows(j); }).starts_with(refused));
}

}  // namespace
}  // namespace sae

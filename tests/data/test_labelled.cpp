#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "sae/base/error.h"
#include "sae/data/labelled.h"
#include "sae/formats/safetensors.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

LabelledActivations example() {
  LabelledActivations data;
  data.place = "letters";
  data.task = "first_letter";
  data.classes = {"a", "b", "ö"};
  data.train.x = normal({6, 4}, 1).to(at::kFloat);
  data.train.y = integers({0, 1, 2, 2, 1, 0});
  data.train.words = {" ant", "Bee", "öl", "\"ö\"", "b", "a"};
  data.test.x = normal({3, 4}, 2).to(at::kFloat);
  data.test.y = integers({2, 0, 1});
  data.test.words = {"ö", "a", "b"};
  data.score_x = normal({3, 4}, 3).to(at::kFloat);
  return data;
}

std::string complaint(const std::function<void(LabelledActivations&)>& damage) {
  LabelledActivations data = example();
  damage(data);
  try {
    check_labelled(data);
  } catch (const DataError& error) {
    return error.what();
  }
  return "none";
}

TEST(Labelled, ComesBackAsItWasWritten) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "letters.safetensors";
  const LabelledActivations data = example();
  write_labelled(path, data);
  EXPECT_TRUE(is_labelled_file(path));
  const LabelledActivations back = read_labelled(path);
  EXPECT_EQ(back.task, data.task);
  EXPECT_EQ(back.classes, data.classes);
  EXPECT_EQ(back.train.words, data.train.words);
  EXPECT_EQ(back.test.words, data.test.words);
  EXPECT_TRUE(at::equal(back.train.x, data.train.x));
  EXPECT_TRUE(at::equal(back.test.y, data.test.y));
  EXPECT_TRUE(at::equal(back.score_x, data.score_x));
  EXPECT_FALSE(back.train.offsets.defined());
}

TEST(Labelled, TextsOfSeveralTokensHaveOffsets) {
  const TemporaryFolder folder;
  LabelledActivations data = example();
  data.train.words.clear();
  data.test.words.clear();
  data.score_x = at::Tensor();
  data.train.x = normal({9, 4}, 1).to(at::kFloat);
  data.train.offsets = integers({0, 2, 3, 5, 6, 7, 9});
  write_labelled(folder.path() / "texts.safetensors", data);
  const LabelledActivations back = read_labelled(folder.path() / "texts.safetensors");
  EXPECT_EQ(back.train.samples(), 6);
  EXPECT_TRUE(at::equal(back.train.offsets, data.train.offsets));
  data.train.offsets = integers({0, 2, 2, 5, 6, 7, 9});
  EXPECT_THROW(check_labelled(data), DataError) << "a text without tokens";
  data.train.offsets = integers({0, 2, 3, 5, 6, 7, 8});
  EXPECT_THROW(check_labelled(data), DataError) << "a token without a text";
}

TEST(Labelled, HalfPrecisionIsReadAsFloat32) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "half.safetensors";
  write_safetensors(path,
                    {{"train_x", normal({2, 3}, 1).to(at::kHalf)},
                     {"train_y", integers({0, 1})},
                     {"test_x", normal({2, 3}, 2).to(at::kBFloat16)},
                     {"test_y", integers({1, 0})}},
                    {{"task", "t"}, {"classes", "[\"no\", \"yes\"]"}, {"model", "any"}});
  const LabelledActivations data = read_labelled(path);
  EXPECT_EQ(data.train.x.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(data.train.x, normal({2, 3}, 1).to(at::kHalf).to(at::kFloat)));
}

TEST(Labelled, SaysWhatIsWrong) {
  using Data = LabelledActivations;
  EXPECT_EQ(complaint([](Data&) {}), "none");
  EXPECT_EQ(complaint([](Data& d) { d.train.y[3] = 3; }),
            "letters: train_y: row 3 has label 3, expected 0 to 2 (3 classes)");
  EXPECT_EQ(complaint([](Data& d) { d.test.y[0] = -1; }),
            "letters: test_y: row 0 has label -1, expected 0 to 2 (3 classes)");
  EXPECT_EQ(complaint([](Data& d) { d.train.y.fill_(1); }),
            "letters: train_y: class \"a\" has no words; leave the class out or add some");
  EXPECT_EQ(complaint([](Data& d) { d.train.x[4][1] = NAN; }),
            "letters: train_x: row 4 is not finite");
  EXPECT_EQ(complaint([](Data& d) { d.score_x[2][0] = INFINITY; }),
            "letters: score_x: row 2 is not finite");
  EXPECT_EQ(complaint([](Data& d) { d.test.x = d.test.x.slice(1, 0, 3); }),
            "letters: test_x has width 3, train_x has 4");
  EXPECT_EQ(complaint([](Data& d) { d.test.words.pop_back(); }),
            "letters: test: got 2 words for 3 rows, expected one word a row");
  EXPECT_EQ(complaint([](Data& d) { d.train.x = d.train.x.slice(0, 0, 5); }),
            "letters: train_x has 5 rows, train_y 6 labels; expected one label a row");
  EXPECT_EQ(complaint([](Data& d) { d.score_x = d.score_x.slice(0, 0, 2); }),
            "letters: score_x is [2, 4], expected a row for each test word, [3, 4]");
  EXPECT_EQ(complaint([](Data& d) {
              d.classes = {"a", "b", "a"};
            }),
            "letters: class \"a\" appears twice");
  EXPECT_EQ(complaint([](Data& d) { d.classes = {"a"}; }),
            "letters: got 1 classes, expected at least 2");
}

TEST(Labelled, FilesThatLackSomethingAreRefused) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "a.safetensors";
  const auto complain = [&](const NamedTensors& tensors, const Metadata& metadata) -> std::string {
    write_safetensors(path, tensors, metadata);
    try {
      read_labelled(path);
    } catch (const DataError& error) {
      const std::string what = error.what();
      return what.substr(what.find(path.string()) == 0 ? path.string().size() : 0);
    }
    return "none";
  };
  const at::Tensor x = at::ones({2, 3});
  const at::Tensor y = integers({0, 1});
  const NamedTensors good = {{"train_x", x}, {"train_y", y}, {"test_x", x}, {"test_y", y}};
  const Metadata task = {{"task", "t"}, {"classes", "[\"a\", \"b\"]"}};
  EXPECT_EQ(complain(good, task), "none");
  EXPECT_EQ(complain(good, {{"task", "t"}}),
            ": __metadata__ has no \"classes\"; expected task and classes (JSON)");
  EXPECT_EQ(complain(good, {{"task", "t"}, {"classes", "[1]"}}),
            ": classes: got 1, expected a string");
  EXPECT_EQ(complain({good[0], good[1], good[2], {"test_y", y}, {"more", y}}, task),
            ": unexpected tensor more");
  EXPECT_EQ(complain({{"train_y", y}, good[2], good[3]}, task),
            ": no tensor train_x; expected train_x, train_y, test_x and test_y");
  EXPECT_EQ(complain({{"train_x", x.to(at::kDouble)}, good[1], good[2], good[3]}, task),
            ": tensor train_x is F64, expected F32, F16 or BF16");
  EXPECT_EQ(complain({{"train_x", x.slice(1, 0, 0)}, good[1], good[2], good[3]}, task),
            ": tensor train_x: rows have width 0, expected at least 1");
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(complain({good[0],
                      {"train_y", integers({0, 1, 0, 1})},
                      good[2],
                      good[3],
                      {"train_offsets", integers({0, most, -most - 1, -1, 2})}},
                     task),
            ": train_offsets: expected them to ascend from 0 to the 2 rows, with a row for every "
            "text");
  EXPECT_EQ(complain({good[0], {"train_y", y.to(at::kInt)}, good[2], good[3]}, task),
            ": tensor train_y is I32 [2], expected I64 [*]");
  Metadata words = task;
  words["words"] = "{\"train\": [\"x\", \"y\"], \"test\": []}";
  EXPECT_EQ(complain(good, words), ": test: got 0 words for 2 rows, expected one word a row");
  words["words"] = "[\"x\"]";
  EXPECT_EQ(complain(good, words), ": words: expected an object");
}

TEST(Labelled, AFolderIsListedByName) {
  const TemporaryFolder folder;
  EXPECT_THROW(labelled_files(folder.path()), DataError);
  write_labelled(folder.path() / "b.safetensors", example());
  write_labelled(folder.path() / "a.safetensors", example());
  write_safetensors(folder.path() / "other.safetensors", {{"activations", at::ones({2, 2})}});
  const auto files = labelled_files(folder.path());
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].filename(), "a.safetensors");
}

}  // namespace
}  // namespace sae

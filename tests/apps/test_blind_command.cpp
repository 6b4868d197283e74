// `sae blind` and `sae blind grade` as a user meets them, from autoencoders to what people said.
#include "support/blind_testing.h"
#include "support/command_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class BlindCommand : public CommandTest {
 protected:
  void SetUp() override {
    save_blind_member(path("prima"), 1);
    save_blind_member(path("seconda"), 2);
    save_blind_store(path("store"));
  }

  /// The command with these words after the ones that it needs.
  std::vector<std::string> blind(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {
        "blind",       path("prima"), path("seconda"), "--data",  path("store"), "--out",
        path("study"), "--device",    "cpu",           "--items", "10"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  std::string answered(const std::string& rater) const {
    const BlindKey key = key_in(path("study"));
    const Json answers = blind_answers(key, rater, [&](const KeyItem& item) {
      return item.member == 0 ? item.intruder : wrong_choice(item);
    });
    write_text(path(rater + ".json"), answers.dump());
    return path(rater + ".json").string();
  }
};

TEST_F(BlindCommand, MakesAPageAndGradesAnswers) {
  const CommandResult made = sae(blind({}));
  ASSERT_EQ(made.status, 0) << made.err;
  EXPECT_NE(made.out.find("10 items of each\n22 to answer, 2 of them for the second time"),
            std::string::npos)
      << made.out;
  EXPECT_NE(made.out.find("354 answers about each: 36 raters"), std::string::npos) << made.out;
  EXPECT_TRUE(fs::exists(path("study") / "page.html"));
  const CommandResult graded =
      sae({"blind", "grade", path("study"), answered("ab"), answered("cd")});
  ASSERT_EQ(graded.status, 0) << graded.err;
  EXPECT_EQ(graded.err, "");
  EXPECT_NE(graded.out.find("prima"), std::string::npos);
  EXPECT_NE(graded.out.find("agreement between raters: 1.00, kappa 1.00"), std::string::npos)
      << graded.out;
  const Json json = Json::parse(
      sae({"blind", "grade", path("study"), path("ab.json"), path("cd.json"), "--json"}).out);
  EXPECT_EQ(json["tasks"]["intruder"]["members"][0]["accuracy"]["value"], 1);
  EXPECT_EQ(json["tasks"]["intruder"]["members"][1]["accuracy"]["value"], 0);
  EXPECT_LT(json["tasks"]["intruder"]["differences"][0]["p"].get<double>(), 0.01);
}

TEST_F(BlindCommand, TakesAControlAndPrintsJson) {
  const CommandResult made = sae(blind({"--control", "random", "--matched", "--json"}));
  ASSERT_EQ(made.status, 0) << made.err;
  const Json json = Json::parse(made.out);
  EXPECT_EQ(json["members"][2]["name"], "control: random");
  EXPECT_EQ(json["tasks"], (Json{{"intruder", 10}, {"intruder_matched", 10}}));
  EXPECT_EQ(json["shown"], 60 + 6);
}

TEST_F(BlindCommand, RefusesInOneLine) {
  expect_error(2, "got no autoencoder, expected two",
               {"blind", "--data", path("store"), "--out", path("study")});
  expect_error(2, "--out is required", {"blind", path("prima"), "--data", path("store")});
  expect_error(2, "prima alone, expected two autoencoders or more",
               {"blind", path("prima"), "--data", path("store"), "--out", path("study")});
  expect_error(2, "did you mean 'random'", blind({"--control", "randm"}));
  expect_error(2, "'--item' is no option; did you mean '--items'?", blind({"--item", "3"}));
  expect_error(2, "a whole number, 1 or more", blind({"--items", "0"}));
  expect_error(2, "sae blind grade: ANSWERS is required", {"blind", "grade", path("study")});
  expect_error(3, "key.json: cannot read", {"blind", "grade", path("store"), path("prima")});
  ASSERT_EQ(sae(blind({"--quiet"})).status, 0);
  expect_error(2, "study: exists already", blind({}));
  write_text(path("no.json"), "{\"format\": \"sae-blind-answers\", ");
  expect_error(3, "no.json:1: not valid JSON", {"blind", "grade", path("study"), path("no.json")});
}

}  // namespace
}  // namespace sae

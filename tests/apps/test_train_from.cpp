// `sae train --from`: a mask on an SAE that other tools read, as a person does it.
#include "support/command_testing.h"

namespace sae {
namespace {

class TrainFrom : public CommandTest {};

TEST_F(TrainFrom, PutsAMaskOnAnExportedAutoencoderAndMeasuresBeforeAndAfter) {
  const std::string first = path("first"), exported = path("exported"), masked = path("masked");
  ASSERT_EQ(sae({"train", write_config(topk_config(80)), "--out", first, "-q"}).status, 0);
  ASSERT_EQ(sae({"convert", first, exported, "--to", "saelens"}).status, 0);
  Json config = topk_config();
  config["model"]["d_sae"] = 24;
  config["model"]["mask"] = {
      {"draw", "nested"}, {"paths", "both"}, {"importance", "frequency"}, {"warmup_steps", 5}};
  config["train"]["input_norm"] = "sqrt_d";
  const std::string file = write_config(config);
  const CommandResult trained = sae({"train", file, "--from", exported, "--out", masked});
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_NE(
      trained.err.find("exported (saelens): topk with k 2, 16 latents; 8 more start at random"),
      std::string::npos)
      << trained.err;
  const Json info = Json::parse(sae({"info", masked, "--json"}).out);
  EXPECT_EQ(info["started_from"]["path"], exported);
  EXPECT_EQ(info["started_from"]["format"], "saelens");
  const CommandResult shown = sae({"info", masked + "/sae"});
  EXPECT_NE(shown.out.find("\nstarted_from\n  path: " + exported + "\n  format: saelens\n"),
            std::string::npos)
      << shown.out;
  // Absorption of both, on the same world.
  for (const std::string& one : {exported, masked}) {
    const CommandResult evaluated = sae(
        {"eval", one, "--suite", "truth", "--data", "tiny", "--set", "eval.tokens=500", "--json"});
    ASSERT_EQ(evaluated.status, 0) << evaluated.err;
    EXPECT_NE(evaluated.out.find("absorption"), std::string::npos) << evaluated.out;
  }
}

TEST_F(TrainFrom, SaysWhatCannotBeStartedFromInOneLine) {
  const std::string first = path("first");
  ASSERT_EQ(sae({"train", write_config(topk_config(20)), "--out", first, "-q"}).status, 0);
  Json config = topk_config();
  config["model"]["d_sae"] = 12;
  const std::string few = write_config(config, "few.json");
  expect_error(2, "has 16 latents, model.d_sae is 12; expected at least 16",
               {"train", few, "--from", first, "--out", path("run"), "-q"});
  config = topk_config();
  config["data"]["preset"] = "small";
  const std::string wide = write_config(config, "wide.json");
  expect_error(2, "has inputs of width 20, the data has 96",
               {"train", wide, "--from", first, "--out", path("run"), "-q"});
  expect_error(3, "nowhere: no such file",
               {"train", few, "--from", path("nowhere"), "--out", path("run"), "-q"});
  expect_error(2, "--from", {"train", few, "--from"});
  EXPECT_FALSE(std::filesystem::exists(path("run")));
}

TEST_F(TrainFrom, IsAnOptionOfTheConfigurationToo) {
  const std::string first = path("first");
  ASSERT_EQ(sae({"train", write_config(topk_config(20)), "--out", first, "-q"}).status, 0);
  const std::string file = write_config(topk_config());
  ASSERT_EQ(sae({"train", file, "--from", first, "--out", path("a"), "-q"}).status, 0);
  ASSERT_EQ(sae({"train", file, "--set", "train.from=" + first, "--out", path("b"), "-q"}).status,
            0);
  expect_same_run(path("a"), path("b"));
  std::filesystem::rename(first, path("elsewhere"));
  ASSERT_EQ(sae({"train", file, "--from", first, "--out", path("a"), "--resume", "--set",
                 "train.steps=60", "-q"})
                .status,
            0);
  expect_error(2, "train.from is", {"train", file, "--out", path("a"), "--resume", "-q"});
}

}  // namespace
}  // namespace sae

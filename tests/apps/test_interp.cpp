#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "sae/models/sae_folder.h"
#include "support/command_testing.h"
#include "support/interp_testing.h"

namespace sae {
namespace {

/// A store of topics, its judge, and an autoencoder that has a latent for each topic.
class InterpCommand : public CommandTest {
 protected:
  void SetUp() override {
    write_topic_store(path("store"), 320);
    TopicJudge(path("store")).write(path("judge.safetensors"));
    save_sae(path("sae"), *topic_sae(), topic_model(), 1, Json::object());
  }

  std::vector<std::string> eval(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"eval",    path("sae"), "--data",          path("store"),
                                      "--suite", "interp",    "--device",        "cpu",
                                      "--json",  "--set",     "interp.draws=100"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

TEST_F(InterpCommand, JudgesLatentsThatStandForTopics) {
  const CommandResult result =
      sae(eval({"--data", path("judge.safetensors"), "--controls", "random"}));
  ASSERT_EQ(result.status, 0) << result.err;
  const Json all = Json::parse(result.out);
  const Json& interp = all.at("interp");
  EXPECT_EQ(interp["judge"]["name"], "small-judge");
  EXPECT_EQ(interp["judge"]["is_model_of_store"], false);
  EXPECT_EQ(interp["latents"], (Json{{"silent", 7}, {"rare", 0}, {"dense", 1}, {"eligible", 16}}));
  EXPECT_NEAR(interp["coverage"].get<double>(), 0.5, 0.02) << "the dense one makes the rest";
  EXPECT_GT(interp["intruder"], 0.95);
  EXPECT_GT(interp["intruder_matched"], 0.95);
  EXPECT_GT(interp["coherence"], 0.5);
  EXPECT_GT(interp["auroc"], 0.98);
  EXPECT_GT(interp["r_precision"], 0.9);
  EXPECT_LT(interp["token_r2"], 0.1);
  EXPECT_NEAR(interp["effective_tokens"].get<double>(), 45, 5);
  EXPECT_GE(interp["intruder_share_80"], 0.99);
  EXPECT_GT(interp["intruder_error"], 0);
  ASSERT_EQ(interp["by_quantile"].size(), 5U);
  EXPECT_GT(interp["by_quantile"][0]["intruder"], 0.9) << "the weakest activations too";
  EXPECT_NEAR(interp["shuffled"]["intruder"].get<double>(), 0.2, 0.1);
  EXPECT_NEAR(interp["shuffled"]["coherence"].get<double>(), 0, 0.05);
  EXPECT_NEAR(interp["shuffled"]["auroc"].get<double>(), 0.5, 0.05);
  EXPECT_TRUE(interp["shuffled"]["token_r2"].is_number());
  EXPECT_NEAR(interp["token_judge"]["intruder"].get<double>(), 0.2, 0.1);
  EXPECT_EQ(interp["of_latents"]["latent"].size(), 16U);
  EXPECT_EQ(interp["of_latents"]["firings"].size(), 16U);
  EXPECT_EQ(interp["rests_on"]["rows"], 2304);
  EXPECT_EQ(interp["rests_on"]["token_rows"], 2560);
  EXPECT_TRUE(all["controls"]["random"]["interp"].contains("latents"));

  // The same bytes for the same arguments, on any number of threads.
  const auto again = [&](const char* threads) {
    return sae(eval({"--data", path("judge.safetensors"), "--threads", threads})).out;
  };
  const std::string one = again("1");
  EXPECT_EQ(one, again("2"));

  // What a latent's page says of it.
  write_text(path("eval.json"), one);
  const CommandResult pages =
      sae({"features", path("sae"), "--data", path("store"), "--out", path("pages"), "--results",
           path("eval.json"), "--device", "cpu"});
  EXPECT_EQ(pages.status, 0) << pages.err;
  EXPECT_NE(read_file(path("pages") / "data" / "index.js").find("judged by small-judge: intruder"),
            std::string::npos);
}

TEST_F(InterpCommand, SaysInTextWhatItRestsOn) {
  const CommandResult result =
      sae({"eval", path("sae"), "--data", path("store"), "--suite", "interp", "--device", "cpu"});
  ASSERT_EQ(result.status, 0) << result.err;
  for (const char* part :
       {"interp\n", "intruder  ", "shuffled_intruder  ", "16 eligible of 24", "scripts/judge.py"}) {
    EXPECT_NE(result.out.find(part), std::string::npos) << part << "\n" << result.out;
  }
}

TEST_F(InterpCommand, JudgesTheRowsThatAreHeldOutAlone) {
  std::vector<std::string> words = eval({"--data", path("judge.safetensors")});
  words[3] = Json{{"kind", "store"}, {"path", path("store").string()}, {"held_out", 0.5}}.dump();
  const CommandResult result = sae(words);
  ASSERT_EQ(result.status, 0) << result.err;
  const Json interp = Json::parse(result.out).at("interp");
  EXPECT_NEAR(interp["rests_on"]["rows"].get<double>(), 2304 / 2.0, 200);
  EXPECT_NEAR(interp["rests_on"]["token_rows"].get<double>(), 2560 / 2.0, 220);
  EXPECT_EQ(interp["latents"]["eligible"], 0) << "of ten contexts each";
  EXPECT_EQ(interp["latents"]["rare"], 16);
  EXPECT_TRUE(interp["intruder"].is_null() && interp["intruder_error"].is_null());
  EXPECT_EQ(interp["ranked"], false);
  EXPECT_NE(interp["not_ranked"].get<std::string>().find("no latent fires often enough"),
            std::string::npos);
}

TEST_F(InterpCommand, RefusesWhatItCannotJudgeInOneLine) {
  write_topic_store(path("other"), 64, 9);
  std::vector<std::string> words = eval({"--data", path("judge.safetensors")});
  words[3] = path("other");
  expect_error(3, "was made for another store", words);
  expect_error(2, "expected one judge file",
               eval({"--data", path("judge.safetensors"), "--data", path("judge.safetensors")}));
  expect_error(2, "add --suite interp",
               {"eval", path("sae"), "--data", path("store"), "--data", path("judge.safetensors"),
                "--device", "cpu"});
  expect_error(2, "interp.items: got 3, expected >= 10", eval({"--set", "interp.items=3"}));
  words[3] = "tiny";
  expect_error(3, "expected one with the token and the context of each row", words);
}

TEST_F(InterpCommand, ComparesMembersAndSeeds) {
  const Json config = {
      {"title", "Judged"},
      {"levels", {1}},
      {"seeds", {0, 1}},
      {"base",
       {{"device", "cpu"},
        {"threads", 1},
        {"model", {{"d_sae", 24}}},
        {"data",
         {{"kind", "store"},
          {"path", path("store").string()},
          {"held_out_path", path("store").string()}}},
        {"train", {{"steps", 150}, {"batch", 64}, {"lr", 1e-2}, {"calibration_tokens", 256}}},
        {"eval", {{"tokens", 500}}}}},
      {"members",
       {{{"name", "topk"},
         {"level", "model.k"},
         {"config", {{"model", {{"architecture", "topk"}}}}}},
        {{"name", "batch"},
         {"level", "model.k"},
         {"config", {{"model", {{"architecture", "batch_topk"}}}}}}}},
      {"evaluate",
       {{"judge", path("judge.safetensors").string()},
        {"controls", {"random"}},
        {"interp", {{"max_share", 0.3}, {"min_rows", 20}, {"draws", 100}}}}}};
  write_text(path("c.json"), config.dump());
  const auto compare = [&] {
    return sae({"compare", path("c.json"), "--out", path("c"), "--quiet"});
  };
  const CommandResult result = compare();
  ASSERT_EQ(result.status, 0) << result.err;
  const Json results = Json::parse(read_file(path("c") / "results.json"));
  EXPECT_EQ(results["judge"]["name"], "small-judge");
  ASSERT_EQ(results["runs"].size(), 4U);
  for (const Json& run : results["runs"]) {
    const Json& metrics = run["metrics"];
    EXPECT_GT(metrics["interp.intruder"], 0.4) << run["name"];
    EXPECT_GT(metrics["consistency.pw_mcc"], metrics["consistency.pw_mcc_chance"]) << run["name"];
    EXPECT_TRUE(metrics.contains("consistency.shared"));
    EXPECT_FALSE(run["by_class"]["interp.intruder_of_bin"].empty());
  }
  EXPECT_EQ(results["runs"][0]["metrics"]["consistency.pw_mcc"],
            results["runs"][1]["metrics"]["consistency.pw_mcc"])
      << "two seeds make one pair";
  EXPECT_EQ(results["controls"].size(), 1U);
  const std::string page = read_file(path("c") / "report.html");
  for (const char* part : {"What latents stand for", "Judged by small-judge", "shuffled (control)",
                           "nothing may be claimed, for want of", "a frozen member",
                           "Does another seed find the same latents?"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  const std::string before = read_file(path("c") / "results.json");
  ASSERT_EQ(compare().status, 0);
  EXPECT_EQ(read_file(path("c") / "results.json"), before) << "nothing is measured again";

  Json wrong = config;
  wrong["evaluate"].erase("judge");
  write_text(path("w.json"), wrong.dump());
  const CommandResult unused = sae({"config", "check", path("w.json")});
  EXPECT_NE(unused.err.find("without a judge"), std::string::npos) << unused.err;
}

}  // namespace
}  // namespace sae

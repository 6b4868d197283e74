#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "sae/base/error.h"
#include "sae/data/labelled.h"
#include "sae/models/architectures.h"
#include "sae/models/sae_folder.h"
#include "sae/tools/convert.h"
#include "sae/tools/evaluate.h"
#include "support/labelled_testing.h"
#include "support/run_testing.h"
#include "support/store_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

/// A folder with an autoencoder that has a latent on every axis, and labelled data beside it.
class EvaluateCommand : public testing::Test {
 protected:
  void SetUp() override {
    const Json model = {{"architecture", "standard"}, {"d_in", 20}, {"d_sae", 20}};
    const auto sae = make_autoencoder(config_from_json(model, "test"));
    const at::NoGradGuard no_grad;
    sae->W_enc.copy_(at::eye(20));
    sae->W_dec.copy_(at::eye(20));
    sae->b_enc.fill_(-0.5);
    const Json training = {{"data", {{"kind", "synthetic"}, {"preset", "tiny"}}}, {"seed", 0}};
    save_sae(path("sae"), *sae, model, 1, {{"training", training}});
    save_sae(path("orphan"), *sae, model, 1, Json::object());
    write_labelled(path("words.safetensors"), axis_classes());
    std::filesystem::create_directory(path("tasks"));
    write_labelled(path("tasks/a.safetensors"), axis_classes());
    write_labelled(path("tasks/b.safetensors"), axis_classes());
  }

  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

  EvaluateArguments arguments(std::vector<std::string> suites) const {
    EvaluateArguments given;
    given.path = path("sae");
    given.suites = std::move(suites);
    given.device = "cpu";
    given.threads = 1;
    given.sets = {"eval.tokens=600", "absorption.min_feats_for_eval=2",
                  "absorption.l1_batch_size=16", "absorption.probe_batch_size=8",
                  "probing.probe_epochs=5"};
    return given;
  }

  static std::string complaint(const EvaluateArguments& given) {
    try {
      evaluate_suites(given);
    } catch (const ConfigError& error) {
      return error.what();
    } catch (const DataError& error) {
      return std::string("data: ") + error.what();
    }
    return "none";
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(EvaluateCommand, AllIsWhatThereIsDataFor) {
  EvaluateArguments given = arguments({"all"});
  const auto plain = evaluate_suites(given);
  ASSERT_EQ(plain.size(), 1U);
  ASSERT_EQ(plain[0].suites.size(), 2U);
  EXPECT_EQ(plain[0].suites[0].suite, "core");
  EXPECT_EQ(plain[0].suites[1].suite, "truth");

  given.data = {path("words.safetensors"), path("tasks")};
  const Json json = to_json(evaluate_suites(given));
  EXPECT_TRUE(json["core"].contains("sae_bench"));
  EXPECT_FALSE(json["truth"].contains("explained_variance"));
  EXPECT_EQ(json["truth"]["parents"].size(), 3U);
  EXPECT_EQ(json["absorption"]["eval_type_id"], "absorption_first_letter");
  EXPECT_EQ(json["absorption"]["eval_config"]["l1_batch_size"], 16);
  EXPECT_EQ(json["absorption"]["classes"].size(), 3U);
  EXPECT_EQ(json["probing"]["eval_result_details"].size(), 2U) << "one a file";
  EXPECT_EQ(json["probing"]["tasks"].size(), 6U);
  EXPECT_GT(json["probing"]["eval_result_metrics"]["sae"]["sae_top_1_test_accuracy"], 0.9);
}

TEST_F(EvaluateCommand, RepeatsGiveMeanAndDeviation) {
  EvaluateArguments given = arguments({"absorption"});
  given.data = {path("words.safetensors")};
  given.repeats = 3;
  const auto outcome = evaluate_suites(given);
  const SuiteOutcome& suite = outcome.at(0).suites.at(0);
  EXPECT_EQ(suite.details->size(), 3U);
  EXPECT_TRUE(suite.sd.contains("mean_k1_f1"));
  const Json json = to_json(outcome);
  EXPECT_EQ(json["absorption"]["repeats"][2]["eval_config"]["seed"], 2);
  double sum = 0;
  for (const Json& one : json["absorption"]["repeats"]) {
    sum += one["more"]["mean_k1_f1"].get<double>();
  }
  EXPECT_NEAR(json["absorption"]["mean"]["mean_k1_f1"].get<double>(), sum / 3, 1e-12);
}

TEST_F(EvaluateCommand, ControlsAreEvaluatedByTheSameCode) {
  EvaluateArguments given = arguments({"core", "absorption"});
  given.data = {path("words.safetensors")};
  given.controls = {"identity", "permuted"};
  const auto outcome = evaluate_suites(given);
  ASSERT_EQ(outcome.size(), 3U);
  EXPECT_EQ(outcome[1].name, "identity");
  EXPECT_NEAR(outcome[1].suites[0].mean.at("explained_variance"), 1, 1e-6);
  EXPECT_EQ(outcome[1].suites[1].remark,
            "not ranked: L0 20.0 is above 0.25 of D = 20, where low absorption comes from dense "
            "codes alone");
  EXPECT_EQ(outcome[0].suites[1].remark, "");
  EXPECT_EQ(outcome[2].suites[0].mean.at("l0"), outcome[0].suites[0].mean.at("l0"));
  EXPECT_LT(outcome[2].suites[0].mean.at("explained_variance"),
            outcome[0].suites[0].mean.at("explained_variance"));
  const Json json = to_json(outcome);
  EXPECT_TRUE(json["controls"]["permuted"]["absorption"].contains("eval_result_metrics"));
}

TEST_F(EvaluateCommand, EverySuiteSaysWhatItRestsOn) {
  EvaluateArguments given = arguments({"all"});
  given.data = {path("words.safetensors"), path("tasks")};
  const auto subjects = evaluate_suites(given);
  std::vector<std::string> basis;
  for (const SuiteOutcome& suite : subjects[0].suites) basis.push_back(suite.basis);
  EXPECT_EQ(basis, (std::vector<std::string>{
                       "600 held-out tokens",
                       "30 words of 3 of 3 classes, from 30 test words; probes from 60 training "
                       "words",
                       "6 tasks of 2 files, 120 training texts; 60 test texts",
                       "600 samples; absorption on 0 parents; left out: 3 parents (in fewer than "
                       "100 samples with a child)"}));
  const Json json = to_json(subjects);
  EXPECT_EQ(json["core"]["rests_on"]["tokens"], 600);
  EXPECT_EQ(json["probing"]["rests_on"]["files"], 2);
  EXPECT_EQ(json["truth"]["rests_on"]["left_out"].size(), 1U);
  EXPECT_EQ(json["truth"]["rests_on"]["min_match_cosine"], 0.5);
}

TEST_F(EvaluateCommand, MatchesParentsAtTheCosineOfTheCommandLine) {
  EvaluateArguments given = arguments({"truth"});
  given.sets = {"eval.tokens=20000", "eval.truth.min_match_cosine=1"};
  const auto outcome = evaluate_suites(given);
  const SuiteOutcome& truth = outcome.at(0).suites.at(0);
  EXPECT_EQ(truth.mean.at("absorption_parents"), 0);
  EXPECT_TRUE(std::isnan(truth.mean.at("absorption_full_macro")));
  EXPECT_NE(truth.basis.find("with a |cosine| to its latent below 1"), std::string::npos)
      << truth.basis;
}

TEST_F(EvaluateCommand, SaysOfAbsorptionWhereChanceOrMissingLatentsExplainIt) {
  EvaluateArguments given = arguments({"absorption"});
  given.data = {path("words.safetensors")};
  given.controls = {"random"};
  const auto clear = evaluate_suites(given);
  const double chance = clear[1].suites[0].mean.at("mean_full_absorption_score");
  const double own = clear[0].suites[0].mean.at("mean_full_absorption_score");
  ASSERT_LE(own, chance) << "nothing is absorbed here, and chance has that too";
  EXPECT_NE(clear[0].suites[0].remark.find("a random dictionary at about this L0 has as much"),
            std::string::npos)
      << clear[0].suites[0].remark;
  EXPECT_EQ(clear[1].suites[0].remark.find("random dictionary"), std::string::npos);
  EXPECT_EQ(clear[0].suites[0].mean.at("classes_with_main"), 3);
  given.sets.push_back("absorption.min_main_f1=1");
  given.path = path("sae");
  const auto strict = evaluate_suites(given);
  EXPECT_LE(strict[0].suites[0].mean.at("classes_with_main"), 3);
}

TEST_F(EvaluateCommand, AnAutoencoderThatNeverFiresIsRankedNowhere) {
  const Json model = {{"architecture", "standard"}, {"d_in", 20}, {"d_sae", 20}};
  const auto sae = make_autoencoder(config_from_json(model, "test"));
  sae->initialise(0);
  {
    const at::NoGradGuard no_grad;
    sae->b_enc.fill_(-1000);
  }
  const Json training = {{"data", {{"kind", "synthetic"}, {"preset", "tiny"}}}, {"seed", 0}};
  save_sae(path("dead"), *sae, model, 1, {{"training", training}});
  EvaluateArguments given = arguments({"all"});
  given.path = path("dead");
  given.data = {path("words.safetensors")};
  const auto subjects = evaluate_suites(given);
  const Json json = to_json(subjects);
  EXPECT_EQ(json["absorption"]["more"]["ranked"], false);
  for (const char* suite : {"probing", "truth"}) {
    EXPECT_EQ(json[suite]["ranked"], false) << suite;
    EXPECT_TRUE(json[suite].contains("not_ranked")) << suite;
  }
  EXPECT_EQ(json["core"]["degenerate"], "none of its latents ever fires");
  for (const SuiteOutcome& suite : subjects[0].suites) EXPECT_NE(suite.remark, "") << suite.suite;
  EXPECT_EQ(evaluate_path(arguments({})).degenerate, "");
}

TEST_F(EvaluateCommand, AnAutoencoderWithoutTrainingDataIsEvaluatedOnLabels) {
  EvaluateArguments given = arguments({"all"});
  given.path = path("orphan");
  given.data = {path("tasks")};
  given.controls = {"random"};
  const auto outcome = evaluate_suites(given);
  ASSERT_EQ(outcome.size(), 2U);
  ASSERT_EQ(outcome[0].suites.size(), 1U);
  EXPECT_EQ(outcome[0].suites[0].suite, "probing");
}

TEST_F(EvaluateCommand, LabelsAreEvaluatedWhereTheTrainingDataIsGone) {
  const Json model = {{"architecture", "standard"}, {"d_in", 20}, {"d_sae", 20}};
  const auto sae = make_autoencoder(config_from_json(model, "test"));
  sae->initialise(0);
  const Json data = {{"kind", "store"}, {"path", path("gone")}, {"held_out_path", path("gone")}};
  save_sae(path("moved"), *sae, model, 1, {{"training", {{"data", data}}}});
  EvaluateArguments given = arguments({"probing"});
  given.path = path("moved");
  given.data = {path("tasks")};
  EXPECT_EQ(complaint(given), "none");
  given.suites = {"all"};
  EXPECT_NE(complaint(given).find("gone"), std::string::npos) << "core needs the data";
}

TEST_F(EvaluateCommand, HeldOutDataOfTheTrainingThatBecameOthersAreRefusedUnlessGiven) {
  Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 9}, {"k", 2}}, 5);
  config["data"] = {{"kind", "store"}, {"path", path("acts")}, {"held_out", 0.3}};
  write_normal_store(path("acts"), 60, 1);
  train(tiny_run(config), path("run"), false);
  EvaluateArguments given = arguments({"core"});
  given.path = path("run");
  EXPECT_EQ(complaint(given), "none");
  write_normal_store(path("acts"), 50, 2);
  EXPECT_NE(complaint(given).find("data: " + path("run") + ": was trained on other data: " +
                                  path("acts") + " was 60 tokens"),
            std::string::npos)
      << complaint(given);
  given.suites = {};
  EXPECT_THROW(evaluate_path(given), DataError);
  given.suites = {"core"};
  given.data = {path("acts")};
  EXPECT_EQ(complaint(given), "none");
}

TEST_F(EvaluateCommand, RefusesContradictionsAndWarnsOfWhatLooksWrong) {
  EvaluateArguments given = arguments({"core"});
  std::vector<std::string> said;
  given.say = [&](const std::string& text) { said.push_back(text); };
  given.sets = {"absorption.end_lr=1", "absorption.lr=0.1"};
  evaluate_suites(given);
  ASSERT_EQ(said.size(), 1U);
  EXPECT_NE(said[0].find("end_lr: got 1, above lr 0.1: the learning rate grows"), said[0].npos)
      << said[0];
  given.sets = {"probing.k_values=[]", "probing.dense=false"};
  EXPECT_NE(complaint(given).find("there is nothing to probe"), std::string::npos);
}

TEST_F(EvaluateCommand, SaysWhatIsMissingOrWrong) {
  EXPECT_EQ(complaint(arguments({"absorbtion"})),
            "--suite: got \"absorbtion\", expected one of core, absorption, probing, interp, "
            "truth, all; did "
            "you mean 'absorption'?");
  EXPECT_EQ(complaint(arguments({"absorption"})),
            "--suite absorption: needs labelled activations; give them with --data "
            "FILE.safetensors");
  EXPECT_EQ(complaint(arguments({"probing"})),
            "--suite probing: needs labelled activations; give a folder of them, or one file, with "
            "--data");
  EvaluateArguments given = arguments({"all"});
  given.path = path("orphan");
  EXPECT_EQ(complaint(given), "--suite all: there is no data for any suite; give some with --data");
  given.suites = {"core"};
  EXPECT_EQ(complaint(given),
            "--data: missing; the autoencoder's config.json does not say what it was trained on");
  given = arguments({"absorption"});
  given.data = {path("words.safetensors"), path("tasks/a.safetensors")};
  EXPECT_EQ(complaint(given), "--data: got '" + path("words.safetensors") + "' and '" +
                                  path("tasks/a.safetensors") +
                                  "', expected one file of labelled activations");
  given = arguments({"core"});
  given.sets.push_back("absorbtion.seed=1");
  EXPECT_EQ(complaint(given),
            "--set absorbtion.seed: absorbtion: unknown key; expected data, eval, core, "
            "absorption, probing or interp");
  given = arguments({"core"});
  given.repeats = 0;
  EXPECT_EQ(complaint(given), "--repeats: got 0, expected >= 1");
  given = arguments({"absorption"});
  given.data = {path("words.safetensors")};
  given.sets.push_back("absorption.min_feats_for_eval=20");
  EXPECT_EQ(complaint(given),
            "data: " + path("words.safetensors") +
                ": 3 of 3 classes have a probe F1 above 0.6, expected at least 20 "
                "(absorption.min_feats_for_eval): the classes cannot be read from these "
                "activations");
}

TEST_F(EvaluateCommand, WithoutSuitesItIsWhatTrainingReports) {
  EvaluateArguments given = arguments({});
  EXPECT_TRUE(evaluate_path(given).values.contains("mcc"));
  given.data = {path("words.safetensors")};
  EXPECT_THROW(evaluate_path(given), ConfigError);
}

TEST_F(EvaluateCommand, WhatASuiteCannotUseIsFoundBeforeTheFirstIsRun) {
  EvaluateArguments given = arguments({"core", "probing"});
  given.data = {path("tasks")};
  given.sets.push_back("eval.tokens=1000000000000");  // core would take years
  LabelledActivations narrow = axis_classes();
  narrow.train.x = narrow.train.x.slice(1, 0, 8).contiguous();
  narrow.test.x = narrow.test.x.slice(1, 0, 8).contiguous();
  write_labelled(path("tasks/b.safetensors"), narrow);
  EXPECT_NE(complaint(given).find("b.safetensors: activations have width 8"), std::string::npos);
  write_safetensors(path("tasks/b.safetensors"), {{"train_x", axis_classes().train.x}});
  EXPECT_NE(complaint(given).find("data: " + path("tasks/b.safetensors")), std::string::npos);
  given.data = {write_normal_store(path("acts"), 60, 1, 10, 20).string()};
  given.suites = {"core", "truth"};
  EXPECT_EQ(complaint(given).find("--suite truth: needs activations whose features are known"), 0U);
  given.data = {write_normal_store(path("wide"), 60, 1, 10, 21).string(),
                path("tasks/a.safetensors")};
  given.suites = {"absorption", "core"};
  EXPECT_NE(complaint(given).find("activations have width 21, the autoencoder takes 20"),
            std::string::npos);
}

TEST_F(EvaluateCommand, UnfinishedRunsAreNotEvaluatedOnOtherDataByTheSameName) {
  write_normal_store(path("acts"), 200, 1, 10, 20);
  Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 24}, {"k", 3}});
  config["data"] = {{"kind", "store"}, {"path", path("acts")}, {"held_out", 0.2}};
  int steps = 0;
  train(tiny_run(config), path("run"), false, {.should_stop = [&] { return ++steps == 30; }});
  EvaluateArguments given = arguments({"core"});
  given.sets = {"eval.tokens=20"};
  for (const char* name : {"run", "run/checkpoints/step-00000030"}) {
    write_normal_store(path("acts"), 200, 1, 10, 20);
    given.path = path(name);
    EXPECT_EQ(complaint(given), "none");
    write_normal_store(path("acts"), 200, 2, 10, 20);
    EXPECT_NE(complaint(given).find(": was trained on other data: " + path("acts")),
              std::string::npos)
        << complaint(given);
  }
}

TEST_F(EvaluateCommand, OpensUnfinishedRunsAndOtherToolsAutoencoders) {
  RunHooks hooks;
  int steps = 0;
  hooks.should_stop = [&] { return ++steps == 30; };
  train(tiny_run(tiny_config({{"architecture", "topk"}, {"d_sae", 24}, {"k", 3}})), path("run"),
        false, hooks);
  EvaluateArguments given = arguments({});
  given.path = path("run");
  std::vector<std::string> said;
  given.say = [&](const std::string& line) { said.push_back(line); };
  given.sets = {"eval.tokens=200"};
  const Evaluation unfinished = evaluate_path(given);
  EXPECT_LE(unfinished.values.at("l0"), 3.0);
  ASSERT_EQ(said.size(), 1U);
  EXPECT_NE(said[0].find("is not finished"), std::string::npos);
  given.path = path("run/checkpoints/step-00000030");
  EXPECT_EQ(to_json(evaluate_path(given).values), to_json(unfinished.values)) << "NaN is null";

  ConvertArguments arguments;
  arguments.input = path("run");
  arguments.output = path("theirs");
  arguments.to = "saelens";
  convert(arguments);
  given.path = path("theirs");
  EXPECT_NEAR(evaluate_path(given).values.at("mse"), unfinished.values.at("mse"), 1e-4)
      << "on the data of the training, which is carried along";
}

}  // namespace
}  // namespace sae

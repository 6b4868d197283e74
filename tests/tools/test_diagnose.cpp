#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "sae/base/error.h"
#include "sae/base/rng.h"
#include "sae/formats/safetensors.h"
#include "sae/models/architectures.h"
#include "sae/models/sae_folder.h"
#include "sae/tools/diagnose.h"
#include "support/run_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::set<std::string> fired(const Diagnosis& diagnosis) {
  std::set<std::string> names;
  for (const Check& check : diagnosis.checks) {
    if (check.state == CheckState::kFired) names.insert(check.name);
  }
  return names;
}

double evidence(const Check& check, const std::string& name) {
  for (const auto& [key, value] : check.evidence) {
    if (key == name) return value;
  }
  ADD_FAILURE() << check.name << " has no evidence '" << name << "'";
  return kNone;
}

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Diagnose : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  /// A run that is long enough, and has batches large enough, to be a healthy one.
  static Json config(const Json& model, const Json& train = Json::object()) {
    Json config = tiny_config(model, 400);
    config["model"].update({{"dead_after_tokens", 20000}});
    config["train"].update({{"batch", 256}, {"log_every", 10}, {"checkpoint_every", 0}});
    config["train"].update(train);
    config["eval"] = {{"tokens", 4096}};
    return config;
  }
  static Json with_mask(const Json& mask) {
    Json all = {{"warmup_steps", 150}};
    all.update(mask);
    return {{"architecture", "atm"}, {"d_sae", 20}, {"sparsity", 0.2}, {"mask", all}};
  }

  Diagnosis trained(const std::string& name, const Json& config) const {
    train(tiny_run(config), path(name), /*resume=*/false);
    return diagnose_run(path(name));
  }

  /// The folder of a run that did well, for a test to spoil: 40 rows, 400 steps.
  struct Written {
    Json config;
    std::vector<MetricsRow> rows;
    Json summary;

    MetricValues& last() { return rows.back().values; }
    void each(const std::string& name, double value) {
      for (MetricsRow& row : rows) row.values[name] = value;
    }
  };
  static Written healthy(const Json& model) {
    Written run;
    Json plain = config(model);
    plain["model"]["d_in"] = 20;
    run.config = resolve_run(tiny_run(plain));
    for (std::int64_t step = 10; step <= 400; step += 10) {
      run.rows.push_back({step,
                          {{"loss", 1},
                           {"nmse", 0.1},
                           {"explained_variance", 0.9},
                           {"l0", 2},
                           {"cosine", 0.95},
                           {"dead", 0},
                           {"grad_norm", 1},
                           {"lr", 1e-3}}});
    }
    run.summary = {
        {"steps", 400},
        {"metrics",
         {{"l0", 2}, {"explained_variance", 0.89}, {"cosine", 0.94}, {"never_fired", 0}}},
        {"firing", {{"edges", {-2, -1, -0.75, 0}}, {"counts", {20, 0, 0}}, {"never", 0}}}};
    return run;
  }
  static Written healthy_masked(const Json& mask = Json::object()) {
    Written run = healthy(with_mask(mask));
    run.each("mask.masked", 0.3);
    run.each("mask.drift", 0.004);
    run.each("mask.theta", 0.05);
    return run;
  }
  Diagnosis diagnose(const Written& run, const DiagnoseOptions& options = {}) const {
    fs::remove_all(path("written"));
    fs::create_directories(path("written"));
    write_text(path("written") / "config.json", run.config.dump());
    std::string log;
    for (const MetricsRow& row : run.rows) log += to_json_line(row) + "\n";
    write_text(path("written") / "metrics.jsonl", log);
    if (!run.summary.is_null()) write_text(path("written") / "summary.json", run.summary.dump());
    return diagnose_run(path("written"), options);
  }

  static Json topk() { return {{"architecture", "topk"}, {"d_sae", 20}, {"k", 2}}; }

 private:
  TemporaryFolder folder_;
};

TEST_F(Diagnose, FindsNothingInHealthyRuns) {
  const std::vector<std::pair<std::string, Json>> models = {
      {"batch_topk", {{"architecture", "batch_topk"}, {"d_sae", 20}, {"k", 1.25}}},
      {"standard", {{"architecture", "standard"}, {"d_sae", 20}, {"sparsity", 0.2}}},
      {"atm", with_mask(Json::object())},
  };
  for (const auto& [name, model] : models) {
    const Diagnosis diagnosis = trained(name, config(model));
    EXPECT_EQ(fired(diagnosis), std::set<std::string>{}) << name << "\n" << to_text(diagnosis);
    EXPECT_EQ(diagnosis.checks.size(), name == "atm" ? 17U : 12U);
    EXPECT_EQ(diagnosis.check("dense_latents").state, CheckState::kClear);
  }
  EXPECT_EQ(fired(diagnose(healthy(topk()))), std::set<std::string>{});
  EXPECT_EQ(fired(diagnose(healthy_masked())), std::set<std::string>{});
}

TEST_F(Diagnose, FindsARunThatWasStopped) {
  const Json config = Diagnose::config(topk());
  train(tiny_run(config), path("stopped"), false,
        {.on_step = {}, .should_stop = [n = 0]() mutable { return ++n == 35; }});
  const Check check = diagnose_run(path("stopped")).check("unfinished");
  ASSERT_EQ(check.state, CheckState::kFired);
  EXPECT_EQ(evidence(check, "step"), 35);
  EXPECT_EQ(evidence(check, "total_steps"), 400);
  EXPECT_EQ(evidence(check, "checkpoint_step"), 35);
  EXPECT_FALSE(says(check.found, "killed"));
  EXPECT_EQ(check.change, "go on with: sae train " + (path("stopped") / "config.json").string() +
                              " --out " + path("stopped").string() + " --resume");
  // And that this is so.
  train(read_run(read_config((path("stopped") / "config.json").string())), path("stopped"), true);
  EXPECT_EQ(diagnose_run(path("stopped")).check("unfinished").state, CheckState::kClear);
}

TEST_F(Diagnose, TellsAKilledRunFromAStoppedOne) {
  Written run = healthy(topk());
  run.summary = nullptr;
  EXPECT_TRUE(says(diagnose(run).check("unfinished").found, "there is no checkpoint"));
}

TEST_F(Diagnose, FindsWhatADivergedRunLeft) {
  const Json config = Diagnose::config(
      topk(), {{"lr", 30}, {"lr_warmup_steps", 100}, {"log_every", 1}, {"divergence", 100}});
  EXPECT_THROW(train(tiny_run(config), path("diverged"), false), DivergenceError);
  const Diagnosis diagnosis = diagnose_run(path("diverged"));
  const Check& check = diagnosis.check("divergence");
  ASSERT_EQ(check.state, CheckState::kFired) << to_text(diagnosis);
  EXPECT_LT(evidence(check, "explained_variance"), 0);
  EXPECT_TRUE(says(check.change, "lower train.lr (30.0)")) << check.change;
  EXPECT_EQ(diagnosis.check("unfinished").state, CheckState::kFired);
}

TEST_F(Diagnose, FindsLossesThatAreNotFiniteAndErrorsThatRise) {
  Written run = healthy(topk());
  run.rows[12].values["loss"] = kNone;
  Check check = diagnose(run).check("divergence");
  ASSERT_EQ(check.state, CheckState::kFired);
  EXPECT_EQ(evidence(check, "step"), 130);

  run = healthy(topk());
  run.last()["nmse"] = 0.21;  // a run that has finished has its evaluation to go by
  EXPECT_EQ(diagnose(run).check("divergence").state, CheckState::kClear);
  run.summary = nullptr;
  EXPECT_EQ(diagnose(run).check("divergence").state, CheckState::kFired);
  run.last()["nmse"] = 0.19;
  EXPECT_EQ(diagnose(run).check("divergence").state, CheckState::kClear);

  run = healthy(topk());
  run.summary["metrics"]["explained_variance"] = -0.01;
  EXPECT_EQ(diagnose(run).check("divergence").state, CheckState::kFired);
}

TEST_F(Diagnose, FindsSpikesAndLeavesSlopesAlone) {
  Written run = healthy(topk());
  run.rows[20].values["nmse"] = 0.25;
  run.rows[30].values["nmse"] = 0.31;
  const Check check = diagnose(run).check("loss_spikes");
  ASSERT_EQ(check.state, CheckState::kFired);
  EXPECT_EQ(evidence(check, "spikes"), 2);
  EXPECT_NEAR(evidence(check, "ratio"), 3.1, 1e-12);
  EXPECT_EQ(evidence(check, "step"), 310);

  // A coefficient that is warmed up makes the error rise for good; that is none.
  for (std::size_t i = 20; i < run.rows.size(); ++i) run.rows[i].values["nmse"] = 0.4;
  EXPECT_EQ(diagnose(run).check("loss_spikes").state, CheckState::kClear);

  run.rows.erase(run.rows.begin(), run.rows.end() - 4);
  EXPECT_EQ(diagnose(run).check("loss_spikes").state, CheckState::kSkipped);
}

TEST_F(Diagnose, FindsDeadLatents) {
  Json model = topk();
  model.update({{"d_sae", 200}, {"k", 1}, {"aux_coefficient", 0}});
  const Check check = trained("dead", config(model)).check("dead_latents");
  ASSERT_EQ(check.state, CheckState::kFired);
  EXPECT_GT(evidence(check, "dead"), 0.1);
  EXPECT_EQ(evidence(check, "dead"),
            read_metrics(path("dead") / "metrics.jsonl").back().values.at("dead"));
  EXPECT_TRUE(says(check.change, "set model.aux_coefficient")) << check.change;
}

TEST_F(Diagnose, JudgesDeathByTheLongerLook) {
  Written run = healthy(topk());  // 400 steps of 256 tokens: more than dead_after_tokens
  run.summary["metrics"]["never_fired"] = 0.5;
  EXPECT_EQ(diagnose(run).check("dead_latents").state, CheckState::kClear);
  run.config["model"]["dead_after_tokens"] = 1'000'000;
  EXPECT_EQ(diagnose(run).check("dead_latents").state, CheckState::kFired);
  run.summary = nullptr;
  EXPECT_EQ(diagnose(run).check("dead_latents").state, CheckState::kSkipped);

  Written masked = healthy_masked();
  masked.last()["dead"] = 0.4;
  EXPECT_TRUE(
      says(diagnose(masked).check("dead_latents").change, "lower model.mask.threshold (1.00)"));
}

TEST_F(Diagnose, KnowsAnAuxKThatIsTooWeakForTheSizeOfTheInputs) {
  const auto advice = [&](const char* norm, bool normalised) {
    Written run = healthy(topk());
    run.last()["dead"] = 0.4;
    run.config["train"]["input_norm"] = norm;
    run.config["model"]["aux_normalize"] = normalised;
    return diagnose(run).check("dead_latents").change;
  };
  EXPECT_TRUE(says(advice("sqrt_d", true), "set model.aux_normalize=false"));
  EXPECT_FALSE(says(advice("sqrt_d", false), "aux_normalize"));
  EXPECT_FALSE(says(advice("unit", true), "aux_normalize"));
}

/// Normally distributed activations around `centre`, of unit variance.
at::Tensor gaussian(std::int64_t tokens, std::int64_t d_in, std::uint64_t index, double centre) {
  at::Tensor x = at::empty({tokens, d_in});
  Rng rng(0, Stream::kTest, index);
  auto* value = x.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < x.numel(); ++i) value[i] = static_cast<float>(centre + rng.normal());
  return x;
}

TEST_F(Diagnose, FindsLatentsThatStandForTheMean) {
  write_safetensors(path("far.safetensors"), {{"activations", gaussian(4096, 8, 1, 30)}});
  Json config = Diagnose::config({{"architecture", "topk"}, {"d_sae", 64}, {"k", 2}},
                                 {{"b_dec_init", "zero"}, {"steps", 100}});
  config["data"] = {{"kind", "store"}, {"path", path("far.safetensors").string()}};
  config["eval"]["tokens"] = 400;
  const Check check = trained("dense", config).check("dense_latents");
  ASSERT_EQ(check.state, CheckState::kFired) << check.found;
  EXPECT_GE(evidence(check, "dense"), 1);
  EXPECT_TRUE(says(check.change, "train.b_dec_init"));
}

TEST_F(Diagnose, CountsDenseLatentsInWholeBins) {
  Written run = healthy(topk());  // average frequency 0.1: dense is half of the tokens
  run.summary["firing"] = {{"edges", {-1, -0.5, -0.25, 0}}, {"counts", {5, 9, 1}}, {"never", 5}};
  Check check = diagnose(run).check("dense_latents");
  EXPECT_EQ(evidence(check, "dense"), 1);
  EXPECT_NEAR(evidence(check, "frequency"), std::pow(10, -0.25), 1e-12);
  EXPECT_EQ(check.state, CheckState::kFired);
  check = diagnose(run, read_diagnose({"dense_ratio=1"})).check("dense_latents");
  EXPECT_EQ(evidence(check, "dense"), 15);
  EXPECT_EQ(diagnose(run, read_diagnose({"dense_share=0.05"})).check("dense_latents").state,
            CheckState::kClear);
  run.summary = nullptr;
  EXPECT_EQ(diagnose(run).check("dense_latents").state, CheckState::kSkipped);
}

TEST_F(Diagnose, ExpectsDenseLatentsOfNestedPrefixes) {
  const auto dense_latents = [&](const Json& model, std::int64_t dense) {
    Written run = healthy(model);
    run.summary["firing"] = {
        {"edges", {-1, -0.25, 0}}, {"counts", {20 - dense, dense}}, {"never", 0}};
    return diagnose(run).check("dense_latents");
  };
  Json matryoshka = {{"architecture", "matryoshka"}, {"d_sae", 20}, {"k", 2}};
  Json nested = {{"architecture", "batch_topk"},
                 {"d_sae", 20},
                 {"k", 2},
                 {"mask", {{"draw", "nested"}, {"paths", "both"}, {"warmup_steps", 150}}}};
  for (const Json& model : {matryoshka, nested}) {  // L0 is 2, as is the shortest prefix
    const Check check = dense_latents(model, 2);
    EXPECT_EQ(check.state, CheckState::kClear) << check.found;
    EXPECT_EQ(evidence(check, "nested"), 2);
    EXPECT_NEAR(evidence(check, "limit"), 0.11, 1e-12);
    EXPECT_TRUE(says(check.found, "nested prefixes explain up to 2")) << check.found;
    const Check more = dense_latents(model, 3);
    EXPECT_EQ(more.state, CheckState::kFired) << more.found;
    EXPECT_TRUE(says(more.change, "train.b_dec_init"));
  }
  matryoshka["widths"] = {1, 20};
  EXPECT_EQ(evidence(dense_latents(matryoshka, 2), "nested"), 1);
  EXPECT_EQ(dense_latents(matryoshka, 2).state, CheckState::kFired);
  matryoshka["widths"] = {20};  // nothing is nested
  EXPECT_EQ(dense_latents(matryoshka, 1).state, CheckState::kFired);
  nested["mask"]["draw"] = "bernoulli";
  EXPECT_EQ(dense_latents(nested, 2).state, CheckState::kFired);
  EXPECT_FALSE(says(dense_latents(topk(), 1).found, "nested"));
}

TEST_F(Diagnose, FindsL0FarFromItsTarget) {
  // Steering at this rate cannot get there in 400 steps.
  Json model = {{"architecture", "standard"},
                {"d_sae", 20},
                {"sparsity", 0.01},
                {"target_l0", 1.2},
                {"target_rate", 1e-4}};
  const Check check = trained("far", config(model)).check("l0_target");
  ASSERT_EQ(check.state, CheckState::kFired);
  EXPECT_GT(evidence(check, "l0"), 1.2 * 1.15);
  EXPECT_TRUE(says(check.change, "raise model.sparsity")) << check.change;

  Written run = healthy(topk());
  run.summary["metrics"]["l0"] = 1.71;
  EXPECT_EQ(diagnose(run).check("l0_target").state, CheckState::kClear);
  run.summary["metrics"]["l0"] = 1.69;
  EXPECT_EQ(diagnose(run).check("l0_target").state, CheckState::kFired);
  EXPECT_TRUE(says(diagnose(run).check("l0_target").change, "fewer latents than model.k"));
  EXPECT_EQ(diagnose(healthy_masked()).check("l0_target").state, CheckState::kSkipped);
}

TEST_F(Diagnose, FindsCodesThatAreNotSparse) {
  Json model = {{"architecture", "standard"}, {"d_sae", 40}, {"sparsity", 0}};
  const Check check = trained("wide", config(model, {{"steps", 60}})).check("l0_width");
  ASSERT_EQ(check.state, CheckState::kFired);
  EXPECT_GT(evidence(check, "l0"), 5);
  EXPECT_EQ(evidence(check, "limit"), 5);
}

TEST_F(Diagnose, FindsOverfitting) {
  write_safetensors(path("few.safetensors"), {{"activations", gaussian(64, 16, 2, 0)}});
  write_safetensors(path("more.safetensors"), {{"activations", gaussian(512, 16, 3, 0)}});
  Json config =
      Diagnose::config({{"architecture", "topk"}, {"d_sae", 128}, {"k", 2}}, {{"batch", 64}});
  config["data"] = {{"kind", "store"},
                    {"path", path("few.safetensors").string()},
                    {"held_out_path", path("more.safetensors").string()}};
  config["eval"]["tokens"] = 512;
  const Check check = trained("overfitted", config).check("held_out_gap");
  ASSERT_EQ(check.state, CheckState::kFired) << check.found;
  EXPECT_GT(evidence(check, "gap"), 0.05);
}

TEST_F(Diagnose, TakesTheLatestEvaluationOfAnUnfinishedRun) {
  Written run = healthy(topk());
  run.summary = nullptr;
  EXPECT_EQ(diagnose(run).check("held_out_gap").state, CheckState::kSkipped);
  run.rows.push_back({405, {{"eval.explained_variance", 0.8}, {"eval.l0", 3}}});
  const Diagnosis diagnosis = diagnose(run);
  EXPECT_NEAR(evidence(diagnosis.check("held_out_gap"), "gap"), 0.1, 1e-12);
  EXPECT_EQ(evidence(diagnosis.check("l0_target"), "l0"), 3);
}

TEST_F(Diagnose, FindsAMaskThatHidesNothing) {
  // The threshold lies below every importance.
  Diagnosis diagnosis = trained("nil", config(with_mask({{"threshold", -20}})));
  ASSERT_EQ(diagnosis.check("mask_share").state, CheckState::kFired) << to_text(diagnosis);
  EXPECT_EQ(evidence(diagnosis.check("mask_share"), "mask.masked"), 0);
  EXPECT_TRUE(says(diagnosis.check("mask_share").change, "raise model.mask.threshold (-20.0)"));

  const Check late = diagnose(healthy_masked({{"warmup_steps", 400}})).check("mask_share");
  ASSERT_EQ(late.state, CheckState::kFired);
  EXPECT_TRUE(says(late.change, "lower model.mask.warmup_steps"));
}

TEST_F(Diagnose, FindsAMaskThatHidesNearlyEverything) {
  const Json mask = {{"threshold", 5}, {"rate", 50}, {"min_keep", 0.1}};
  const Diagnosis diagnosis = trained("collapsed", config(with_mask(mask)));
  ASSERT_EQ(diagnosis.check("mask_share").state, CheckState::kFired) << to_text(diagnosis);
  EXPECT_GT(evidence(diagnosis.check("mask_share"), "mask.masked"), 0.8);
  EXPECT_TRUE(says(diagnosis.check("mask_share").change, "lower model.mask.threshold (5.00)"));
  ASSERT_EQ(diagnosis.check("mask_retention").state, CheckState::kFired) << to_text(diagnosis);
  EXPECT_LT(evidence(diagnosis.check("mask_retention"), "retained"), 0.2);
  EXPECT_TRUE(says(diagnosis.check("mask_retention").change, "raise model.mask.min_keep"));
}

TEST_F(Diagnose, ExpectsANestedDrawToHideMost) {
  Written run = healthy_masked({{"draw", "nested"}, {"paths", "both"}});
  run.each("mask.masked", 0.9);
  run.summary["metrics"]["cosine"] = 0.8;
  EXPECT_EQ(fired(diagnose(run)), std::set<std::string>{});
  run.config["model"]["mask"]["paths"] = "masked";
  EXPECT_EQ(fired(diagnose(run)), std::set<std::string>{"mask_retention"});
}

TEST_F(Diagnose, FindsAWarmUpThatIsTooShort) {
  const Diagnosis diagnosis =
      trained("short", config(with_mask({{"warmup_steps", 3}}), {{"log_every", 1}}));
  const Check& check = diagnosis.check("mask_warmup");
  ASSERT_EQ(check.state, CheckState::kFired) << to_text(diagnosis);
  EXPECT_EQ(evidence(check, "step"), 3);
  EXPECT_GT(evidence(check, "mask.drift"), 0.05);
  EXPECT_GE(evidence(check, "absorption_full_micro"), 0);
  EXPECT_TRUE(says(check.change, "raise model.mask.warmup_steps (3)")) << check.change;
}

TEST_F(Diagnose, NamesTheWarmUpThatWouldHaveBeenLongEnough) {
  Written run = healthy_masked({{"warmup_steps", 20}});
  for (std::size_t i = 0; i < 7; ++i) run.rows[i].values["mask.drift"] = 0.06;
  EXPECT_TRUE(says(diagnose(run).check("mask_warmup").change, "(20) to 80 or more"));
  // A row from long after the warm-up says nothing about it.
  run.rows.erase(run.rows.begin(), run.rows.begin() + 20);
  EXPECT_EQ(diagnose(run).check("mask_warmup").state, CheckState::kSkipped);
}

TEST_F(Diagnose, FindsStatisticsThatFollowSingleBatches) {
  const Diagnosis diagnosis =
      trained("noisy", config(with_mask({{"decay", 0.2}}), {{"batch", 32}}));
  ASSERT_EQ(diagnosis.check("mask_importance").state, CheckState::kFired) << to_text(diagnosis);
  EXPECT_GT(evidence(diagnosis.check("mask_importance"), "mask.drift"), 0.1);
  EXPECT_TRUE(says(diagnosis.check("mask_importance").change, "raise model.mask.decay (0.2)"));
  ASSERT_EQ(diagnosis.check("mask_theta").state, CheckState::kFired) << to_text(diagnosis);

  Written run = healthy_masked({{"decay", 0.9}});
  run.each("mask.drift", 0.04);  // half of that with half of the weight
  EXPECT_TRUE(says(diagnose(run).check("mask_importance").change, "(0.9) to 0.95 or more"));
}

TEST_F(Diagnose, KnowsThePruningCycleFromAnOscillation) {
  // Steps 1 to 20 of each 40 prune, the others are relaxed: rows of 10 steps come in pairs.
  Written run = healthy_masked({{"cycle", 40}, {"active_fraction", 0.5}});
  for (MetricsRow& row : run.rows) row.values["mask.theta"] = (row.step - 1) % 40 < 20 ? 0.1 : 0.02;
  EXPECT_EQ(diagnose(run).check("mask_theta").state, CheckState::kClear);
  for (std::size_t i = 0; i < run.rows.size(); ++i) {
    run.rows[i].values["mask.theta"] = i % 2 == 0 ? 0.1 : 0.02;
  }
  const Check check = diagnose(run).check("mask_theta");
  ASSERT_EQ(check.state, CheckState::kFired);
  // Seven relaxed rows in the second half: 0.02, 0.1, ..., 0.02.
  EXPECT_NEAR(evidence(check, "swing"), 0.08 / (0.38 / 7), 1e-12);
}

TEST_F(Diagnose, HoldsAbsorptionOnWordsAgainstTheTextAndTheLatentsThatThereAre) {
  const Written run = healthy(topk());
  const auto evaluated = [&](double l0, double f1, bool repeats) {
    diagnose(run);
    const Json mean = {{"mean_full_absorption_score", 0.3}};
    const Json more = {{"l0", l0}, {"mean_k1_f1", f1}, {"explained_variance", 0.5}};
    Json all = more;
    all.update(mean);
    const Json absorption = repeats
                                ? Json{{"mean", all}, {"repeats", Json::array()}}
                                : Json{{"eval_result_metrics", {{"mean", mean}}}, {"more", more}};
    write_text(path("written") / "evaluation.json", Json{{"absorption", absorption}}.dump());
    return diagnose_run(path("written"));
  };
  for (const bool repeats : {false, true}) {
    EXPECT_EQ(fired(evaluated(2.2, 0.5, repeats)), std::set<std::string>{});
    const Diagnosis dense = evaluated(5, 0.5, repeats);
    EXPECT_EQ(fired(dense), std::set<std::string>{"words_l0"}) << "L0 is 2 on text";
    EXPECT_EQ(evidence(dense.check("words_l0"), "absorption.l0"), 5);
    EXPECT_EQ(evidence(dense.check("words_l0"), "ratio"), 2.5);
    EXPECT_EQ(fired(evaluated(1, 0.5, repeats)), std::set<std::string>{"words_l0"});
    const Diagnosis none = evaluated(2, 0.19, repeats);
    EXPECT_EQ(fired(none), std::set<std::string>{"words_latents"});
    EXPECT_EQ(evidence(none.check("words_latents"), "absorption.mean_full_absorption_score"), 0.3);
  }
  EXPECT_EQ(diagnose(run).check("words_l0").state, CheckState::kSkipped) << "nothing was measured";
  write_text(path("written") / "evaluation.json", R"({"core": {"l0": 2}})");
  EXPECT_EQ(diagnose_run(path("written")).check("words_latents").state, CheckState::kSkipped);
  for (const char* bad : {"[", "[]", R"({"absorption": 3})", R"({"absorption": {"more": {}}})"}) {
    write_text(path("written") / "evaluation.json", bad);
    EXPECT_THROW(diagnose_run(path("written")), DataError) << bad;
  }
}

TEST_F(Diagnose, RefusesWhatIsNoRun) {
  const auto message = [&](const fs::path& folder) -> std::string {
    try {
      diagnose_run(folder);
    } catch (const DataError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message(path("none")), path("none").string() + ": no such folder");
  fs::create_directories(path("empty"));
  EXPECT_EQ(message(path("empty")),
            path("empty").string() + ": got no config.json, expected the folder of a run");
  diagnose(healthy(topk()));
  const fs::path run = path("written");
  write_text(run / "summary.json", "{\"steps\": 400}");
  EXPECT_TRUE(says(message(run), "summary.json: damaged")) << message(run);
  write_text(run / "summary.json", "{");
  EXPECT_TRUE(says(message(run), "summary.json: damaged")) << message(run);
  fs::remove(run / "summary.json");
  write_text(run / "metrics.jsonl", "{\"step\":10,\"eval.l0\":2}\n");
  EXPECT_TRUE(says(message(run), "metrics.jsonl: holds no training step"));
  write_text(run / "metrics.jsonl", "{\"step\":10,\n");
  EXPECT_TRUE(says(message(run), "metrics.jsonl:1: expected one object"));
  fs::remove(run / "metrics.jsonl");
  EXPECT_TRUE(says(message(run), "metrics.jsonl: is missing"));
  write_text(run / "config.json", R"({"format": "sae", "model": {}})");
  EXPECT_TRUE(says(message(run), "config.json: is no run's configuration"));
  write_text(run / "config.json", R"({"model": {"architecture": "topk"}, "data": 1, "train": {}})");
  EXPECT_TRUE(says(message(run), "config.json")) << message(run);
  EXPECT_FALSE(says(message(run), "\n"));
  write_text(run / "comparison.json", "{}");
  EXPECT_TRUE(says(message(run), "got a comparison, expected a run"));
}

TEST_F(Diagnose, LooksAtTheWeightsWhereThereIsNoRecord) {
  const fs::path golden = fs::path(SAE_SOURCE_DIR) / "tests/golden/convert/saelens_standard";
  const Diagnosis theirs = diagnose_run(golden);
  EXPECT_EQ(theirs.checks.size(), 3U);
  EXPECT_EQ(theirs.check("training").state, CheckState::kSkipped);
  EXPECT_TRUE(says(theirs.check("training").found, "another tool, which has no record of its"));
  EXPECT_EQ(theirs.check("zero_rows").state, CheckState::kClear);
  EXPECT_EQ(theirs.check("twins").state, CheckState::kClear);

  const Json model = resolve_model(
      config_from_json(Json{{"architecture", "standard"}, {"d_in", 5}, {"d_sae", 20}}, "test"));
  const auto sae = make_autoencoder(config_from_json(model, "test"));
  sae->initialise(3);
  {
    const at::NoGradGuard no_grad;
    for (int i = 0; i < 4; ++i) sae->W_enc[i].zero_();
    for (int i = 0; i < 6; ++i) sae->W_dec[10 + i].copy_(3 * sae->W_dec[9]);
  }
  save_sae(path("sae"), *sae, model, 1, Json::object());
  const Diagnosis ours = diagnose_run(path("sae"));
  EXPECT_EQ(evidence(ours.check("zero_rows"), "zero_rows"), 0.2);
  EXPECT_EQ(evidence(ours.check("twins"), "twins"), 7.0 / 20);
  EXPECT_EQ(ours.fired(), 2);
}

TEST_F(Diagnose, LooksAtTheWeightsOfACheckpointAndOfARunWithoutMetrics) {
  RunHooks hooks;
  int steps = 0;
  hooks.should_stop = [&] { return ++steps == 20; };
  train(tiny_run(tiny_config(topk())), path("run"), false, hooks);
  EXPECT_EQ(diagnose_run(path("run")).checks.size(), 12U);
  const Diagnosis checkpoint = diagnose_run(path("run/checkpoints/step-00000020"));
  EXPECT_TRUE(says(checkpoint.check("training").found, "this is a checkpoint"));
  ASSERT_EQ(checkpoint.notes.size(), 1U);
  fs::remove(path("run/metrics.jsonl"));
  const Diagnosis run = diagnose_run(path("run"));
  EXPECT_TRUE(says(run.check("training").found, "this run has no metrics.jsonl any more"));
  EXPECT_EQ(run.checks.size(), 3U);
}

TEST_F(Diagnose, ReadsLimitsStrictly) {
  EXPECT_EQ(read_diagnose({"dead=0.2", "diagnose.spike=3"}).dead, 0.2);
  EXPECT_EQ(read_diagnose({"dead=0.2", "diagnose.spike=3"}).spike, 3);
  EXPECT_THROW(read_diagnose({"deed=0.2"}), ConfigError);
  EXPECT_THROW(read_diagnose({"dead=2"}), ConfigError);
  DiagnoseOptions options;
  options.spike = 1;
  EXPECT_THROW(diagnose(healthy(topk()), options), std::invalid_argument);
}

TEST_F(Diagnose, PrintsForPeopleAndPrograms) {
  Written run = healthy(topk());
  run.last()["dead"] = 0.25;
  const Diagnosis diagnosis = diagnose(run);
  const std::string text = to_text(diagnosis);
  EXPECT_TRUE(says(text, "1 of 12 checks fired\n\ndead_latents\n  25 % of 20 latents have been"))
      << text;
  EXPECT_TRUE(says(text, "\n  evidence: dead 0.250, limit 0.100, eval.never_fired 0\n")) << text;
  EXPECT_TRUE(says(text, "\nclear\n  unfinished: all 400 steps done\n")) << text;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    EXPECT_LE(end - begin, 80U) << text.substr(begin, end - begin);
  }
  const Json json = to_json(diagnosis);
  EXPECT_EQ(json["fired"], 1);
  EXPECT_EQ(json["checks"].size(), 12U);
  EXPECT_EQ(json["checks"][3]["name"], "dead_latents");
  EXPECT_EQ(json["checks"][3]["state"], "fired");
  EXPECT_EQ(json["checks"][3]["evidence"]["dead"], 0.25);
  EXPECT_TRUE(json["checks"][0]["change"].is_null());
  EXPECT_THROW(diagnosis.check("mask_share"), std::invalid_argument);
}

}  // namespace
}  // namespace sae

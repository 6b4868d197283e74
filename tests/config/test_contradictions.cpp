// Options that are each in range and do not go together: errors and warnings before anything is
// made.
#include <algorithm>

#include "sae/base/error.h"
#include "sae/comparison/plan.h"
#include "sae/config/findings.h"
#include "sae/data/store.h"
#include "sae/models/architectures.h"
#include "sae/tools/bench.h"
#include "sae/tools/synth.h"
#include "support/run_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

using Sets = std::vector<std::string>;

/// A sound run of 400 steps of 64 tokens.
ConfigNode sound(const std::string& architecture) {
  return parse_config(R"({"device": "cpu",
 "model": {"architecture": ")" +
                          architecture + R"(", "d_sae": 48, "dead_after_tokens": 5000,
           "mask": {"warmup_steps": 30}},
 "data": {"kind": "synthetic", "preset": "tiny"},
 "train": {"steps": 400, "batch": 64}, "eval": {"every": 100}})",
                      "run.json");
}

RunOptions read_with(const std::string& architecture, const Sets& sets) {
  ConfigNode document = sound(architecture);
  const bool has_k = architecture.find("topk") != std::string::npos || architecture == "matryoshka";
  if (has_k) document = with_set(document, "model.k=4");
  for (const std::string& set : sets) document = with_set(document, set);
  return read_run(document);
}

std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

std::string run_error(const std::string& architecture, const Sets& sets) {
  return error_of([&] { read_with(architecture, sets); });
}

std::string joined_notices(const std::vector<Notice>& notices) {
  std::vector<std::string> texts;
  for (const Notice& notice : notices) texts.push_back(notice.text);
  return joined(texts, "\n");
}

/// The warnings, or the error.
std::string run_warnings(const std::string& architecture, const Sets& sets) {
  std::string warnings;
  const std::string error =
      error_of([&] { warnings = joined_notices(read_with(architecture, sets).notices); });
  return error == "no error" ? warnings : error;
}

struct Case {
  std::string architecture;
  Sets sets;
  std::string begins;  ///< what is said
};

TEST(Contradictions, ASoundRunOfEachArchitectureHasNone) {
  for (const std::string& name : architecture_names())
    EXPECT_EQ(run_warnings(name, {}), "") << name;
}

TEST(Contradictions, ThatCannotBeMeantAreErrors) {
  const std::vector<Case> cases = {
      {"topk", {"model.k=49"}, "--set model.k: got 49, expected at most 48, which is d_sae"},
      {"batch_topk", {"model.k=48.5"}, "--set model.k: got 48.5, expected at most 48"},
      {"matryoshka", {"model.k=200"}, "--set model.k: got 200, expected at most 48"},
      {"standard", {"model.target_l0=50"}, "--set model.target_l0: got 50, expected at most 48"},
      {"atm", {"model.target_l0=1e3"}, "--set model.target_l0: got 1000, expected at most 48"},
      {"jumprelu", {"model.target_l0=49"}, "--set model.target_l0: got 49, expected at most 48"},
      {"jumprelu",
       {"model.sparsity_loss=target"},
       "run.json:2: model.target_l0: missing; expected a number > 0"},
      {"standard",
       {"model.sparsity=0", "model.target_l0=3"},
       "--set model.sparsity: got 0, expected > 0 with target_l0"},
      {"topk", {"model.aux_k=60"}, "--set model.aux_k: got 60, expected at most 48"},
      {"matryoshka", {"model.widths=[24, 12, 48]"}, "--set model.widths: got [24, 12, 48], exp"},
      {"matryoshka", {"model.widths=[12, 24]"}, "--set model.widths: got [12, 24], expected"},
      {"matryoshka", {"model.widths=[12, 96]"}, "--set model.widths: got [12, 96], expected"},
      {"atm", {"model.mask=null"}, "--set model.mask: got null, expected the options of a mask"},
      {"atm", {"model.mask.weights=[1, 2]"}, "--set model.mask.weights: got 2 numbers, expected 3"},
      {"topk",
       {"model.mask={\"importance\": \"weighted\", \"weights\": [0, 0, 0]}"},
       "--set model.mask: model.mask.weights: got zeros alone"},
      {"standard",
       {"model.sparsity_warmup_steps=401"},
       "--set model.sparsity_warmup_steps: got 401, the run has 400 steps"},
      {"topk", {"train.lr_warmup_steps=500"}, "--set train.lr_warmup_steps: got 500, the run has"},
      {"topk", {"train.tokens=640"}, "run.json:5: train: got both steps and tokens"},
      {"topk", {"train.steps="}, "run.json:5: train: got neither steps nor tokens"},
      {"topk",
       {"train.steps=", "train.tokens=63"},
       "--set train.tokens: got 63, expected at least one batch of 64"},
      {"topk", {"model.d_in=21"}, "--set model.d_in: got 21, the data has width 20"},
      {"topk", {"device=gpu"}, "--set device: got 'gpu', expected auto, cpu, cuda or cuda:N"},
      {"topk",
       {"device=cpu", "precision=tf32"},
       "--set precision: got tf32 with device cpu, which has no such products"},
      {"topk", {"kernels=on"}, "--set kernels: got \"on\", expected "},
      {"topk", {"data.preset=custom"}, "run.json:4: data.features: missing; expected an integer"},
      {"topk", {"data.roots=21"}, "--set data.roots: got 21, expected at most 20, which is featu"},
      {"topk", {"data.rate_min=0.5"}, "--set data.rate_min: got 0.5, expected at most 0.4, which"},
      {"topk", {"data.child_rate=0.4"}, "--set data.child_rate: got 0.4, times 3 children above 1"},
      {"topk",
       {"data={\"kind\": \"store\", \"path\": \"none\", \"held_out\": 0}"},
       "--set data: data.held_out: got 0"},
  };
  for (const Case& one : cases) {
    const std::string error = run_error(one.architecture, one.sets);
    EXPECT_TRUE(error.starts_with(one.begins)) << one.begins << "\n" << error;
  }
}

TEST(Contradictions, ThatLookWrongAreWarnings) {
  const std::vector<Case> cases = {
      {"topk", {"model.k=48"}, "--set model.k: got all of d_sae: nothing is sparse"},
      {"batch_topk", {"model.k=0.01"}, "--set model.k: got 0.01, less than one latent in a batch"},
      {"topk", {"train.lr_warmup_steps=250"}, "--set train.lr_warmup_steps: got 250, the run has"},
      {"topk",
       {"train.lr_warmup_steps=190", "train.lr_decay_share=0.6"},
       "--set train.lr_warmup_s"},
      {"atm", {"model.sparsity_warmup_steps=201"}, "--set model.sparsity_warmup_steps: got 201"},
      {"atm", {"model.mask.warmup_steps=400"}, "--set model.mask.warmup_steps: got 400, the run"},
      {"atm", {"model.mask.threshold=7"}, "--set model.mask.threshold: got 7, but importance is"},
      {"atm", {"model.mask.rate=0"}, "--set model.mask.rate: got 0: the mask never masks"},
      {"atm", {"model.mask.min_keep=1"}, "--set model.mask.min_keep: got 1: the mask never masks"},
      {"atm", {"model.mask.weights=[1, 2, 3]"}, "--set model.mask.weights: is not used with impor"},
      {"atm", {"model.mask.cycle=50"}, "--set model.mask.cycle: is not used with active_fraction"},
      {"atm",
       {"model.mask.relaxed_threshold=0.1"},
       "--set model.mask.relaxed_threshold: is not us"},
      {"atm",
       {"model.mask.active_fraction=0.5", "model.mask.cycle=300", "model.mask.relaxed_threshold=2"},
       "--set model.mask.relaxed_threshold: got 2, above threshold 1"},
      {"atm",
       {"model.mask.active_fraction=0.5"},
       "run.json:3: model.mask.cycle: got 1000, the run"},
      {"atm",
       {"model.mask.draw=nested", "model.mask.rate=0.7"},
       "--set model.mask.rate: is not used with draw 'nested'"},
      {"topk", {"model.dead_after_tokens=25601"}, "--set model.dead_after_tokens: got 25601, the"},
      {"topk",
       {"model.dead_after_tokens=63"},
       "--set model.dead_after_tokens: got 63, a batch has"},
      {"topk",
       {"model.aux_coefficient=0", "model.aux_k=8"},
       "--set model.aux_k: is not used with aux_coefficient 0"},
      {"standard", {"model.target_rate=0.01"}, "--set model.target_rate: is not used without targ"},
      {"standard",
       {"model.target_l0=3", "model.target_rate=0"},
       "--set model.target_rate: got 0: lambda never moves"},
      {"standard", {"model.resample_every=500"}, "--set model.resample_every: got 500, the run"},
      {"jumprelu", {"model.tanh_scale=2"}, "--set model.tanh_scale: is not used with sparsity_los"},
      {"topk", {"train.lr_decay=none", "train.lr_end=0.1"}, "--set train.lr_end: is not used with"},
      {"topk", {"train.beta1=0.9999"}, "--set train.beta1: got 0.9999, above beta2 0.999"},
      {"topk", {"train.accumulate=65"}, "--set train.accumulate: got 65 parts of a batch of 64"},
      {"topk", {"train.log_every=401"}, "--set train.log_every: got 401, the run has 400 steps"},
      {"topk", {"train.calibration_tokens=30000"}, "--set train.calibration_tokens: got 30000, mo"},
      {"topk", {"train.checkpoint_every=5000"}, "--set train.checkpoint_every: got 5000, the run"},
      {"topk", {"eval.every=401"}, "--set eval.every: got 401, the run has 400 steps"},
      {"topk", {"eval.every=0", "eval.every_tokens=64"}, "--set eval.every_tokens: is not used wi"},
      {"topk", {"data.correlation_scale=0.3"}, "--set data.correlation_scale: is not used with co"},
      {"topk", {"data.depth=3"}, "run.json:4: data.features: got 20, the trees have 120"},
      {"topk", {"data.roots=0"}, ""},
      {"topk",
       {"data.roots=0", "data.depth=2"},
       "--set data.depth: is not used in a world without"},
  };
  for (const Case& one : cases) {
    const std::string warnings = run_warnings(one.architecture, one.sets);
    EXPECT_TRUE(warnings.starts_with(one.begins)) << one.begins << "\n" << warnings;
    EXPECT_EQ(std::count(warnings.begin(), warnings.end(), '\n'), 0) << warnings;
  }
}

TEST(Contradictions, OfDefaultsAloneAreNoWarnings) {
  // A short run in which no default is ever reached.
  const std::string start = R"({"model": {"architecture": "topk", "d_sae": 24, "k": 3},
 "data": {"kind": "synthetic", "preset": "tiny"}, "train": {"steps": 7, "batch": 16},
 "eval": {"tokens": 30}})";
  const auto warnings = [&](const std::string& set) {
    return joined_notices(read_run(with_set(parse_config(start, "short.json"), set)).notices);
  };
  EXPECT_EQ(warnings("train.lr=0.5"), "");
  EXPECT_TRUE(warnings("model.dead_after_tokens=1000000")
                  .starts_with("--set model.dead_after_tokens: got 1000000, the run has 112"))
      << "the default too, if somebody wrote it";
}

TEST(Contradictions, AreFoundWithTheLineOfTheOption) {
  const std::string text =
      "{\"model\": {\"architecture\": \"topk\", \"d_sae\": 24,\n \"k\": 30},\n" +
      std::string("\"data\": {\"kind\": \"synthetic\", \"preset\": \"tiny\"},\n") +
      "\"train\": {\"steps\": 9}}";
  EXPECT_EQ(error_of([&] { read_run(parse_config(text, "lines.json")); }),
            "lines.json:2: model.k: got 30, expected at most 24, which is d_sae");
}

TEST(Contradictions, OfARunThatWasMadeAreLetPass) {
  const ConfigNode document = with_set(with_set(sound("topk"), "model.k=60"), "model.d_in=3");
  EXPECT_EQ(read_recorded_run(document).model.at("k").json(), 60);
}

TEST(Contradictions, WithTheSizeOfTheDataAreWarnings) {
  const TemporaryFolder folder;
  const std::string store = (folder.path() / "acts").string();
  write_world(read_synth("tiny", 100, {}), store);
  const std::string data = "data={\"kind\": \"store\", \"path\": \"" + store + "\"}";
  EXPECT_EQ(run_warnings("topk", {data}), "");
  EXPECT_EQ(run_warnings("topk", {data, "train.batch=128"}),
            "--set train.batch: got 128, the data have about 95 tokens to train on: a batch has "
            "some more than once; lower it");
  EXPECT_EQ(run_error("topk", {data, "model.d_in=8"}),
            "--set model.d_in: got 8, the data has width 20; leave d_in out to take the data's");
  const std::string other = "data.held_out_path=" + store;
  EXPECT_EQ(run_warnings("topk", {data, other}),
            "--set data.held_out_path: is what is trained on: nothing is held out");
  EXPECT_TRUE(run_warnings("topk", {data, "data.held_out_path=elsewhere", "data.held_out=0.3"})
                  .starts_with("--set data.held_out: is not used with held_out_path"));
}

// ---- Comparisons ----------------------------------------------------------------------------

ConfigNode comparison() {
  return parse_config(R"({"levels": [2, 4], "seeds": [0, 1],
 "base": {"device": "cpu", "model": {"d_sae": 40, "dead_after_tokens": 500},
          "data": {"kind": "synthetic", "preset": "tiny"}, "train": {"steps": 40, "batch": 32}},
 "members": [{"name": "topk", "config": {"model": {"architecture": "topk"}}, "level": "model.k"}]})",
                      "grid.json");
}

std::string plan_notices(const Sets& sets) {
  std::string notices;
  const std::string error = error_of([&] {
    std::vector<Notice> of_sets;
    notices = joined_notices(plan_comparison(with_sets(comparison(), sets, of_sets)).notices);
  });
  return error == "no error" ? notices : error;
}

TEST(Contradictions, OfComparisonsAreFoundBeforeAnythingIsTrained) {
  EXPECT_EQ(plan_notices({}), "");
  EXPECT_EQ(plan_notices({"levels=[2, 41]"}),
            "--set levels: base.model.k: got 41, expected at most 40, which is d_sae");
  EXPECT_EQ(plan_notices({"seeds=[3, 3]"}),
            "--set seeds: seeds.1: got 3 a second time, expected distinct values");
  EXPECT_EQ(plan_notices({"levels=[2, 2]"}),
            "--set levels: levels.1: got 2 a second time, expected distinct values");
  EXPECT_EQ(plan_notices({"seeds=[]"}), "--set seeds: got an empty list, expected seeds");
  EXPECT_EQ(plan_notices({"axes={\"seed\": [1, 2]}"}),
            "--set axes: axes.seed: the runs' seeds are those of \"seeds\"; list them there");
  EXPECT_EQ(plan_notices({"axes={\"model.k\": [1, 2]}"}),
            "grid.json:4: members.0: two axes vary model.k; leave out one of them");
  EXPECT_EQ(plan_notices({"members.0.level="}),
            "grid.json:1: levels: is not used: no member has a \"level\", a path to write them to");
  EXPECT_EQ(plan_notices({"levels="}), "grid.json:4: members.0.level: is not used without levels");
  EXPECT_EQ(plan_notices({"base.seed=7"}),
            "--set base.seed: is not used: the runs' seeds are those of \"seeds\"");
  EXPECT_EQ(plan_notices({"base.model.dead_after_tokens=9999"}),
            "--set base.model.dead_after_tokens: got 9999, the run has 1280 tokens: no latent ever "
            "counts as dead, and nothing revives any; lower it")
      << "once, although every run says it";
}

TEST(Contradictions, OfACombinationsEvaluationAreSaid) {
  const std::string set = "evaluate=";
  EXPECT_EQ(
      plan_notices({set + "{\"controls\": [\"pca\", \"pca\"]}"}),
      "--set evaluate: evaluate.controls: one stands there twice, expected distinct controls");
  EXPECT_EQ(plan_notices({set + "{\"repeats\": 3}"}),
            "--set evaluate: evaluate.repeats: is not used without words or tasks");
  EXPECT_EQ(plan_notices({set + "{\"probing\": {\"k_values\": [4]}}"}),
            "--set evaluate: evaluate.probing: is not used without words or tasks");
  EXPECT_EQ(plan_notices({set + "{\"words\": \"w\", \"absorption\": {\"end_lr\": 1}}"}),
            "--set evaluate: evaluate.absorption.end_lr: got 1, above lr 0.01: the learning rate "
            "grows");
  EXPECT_EQ(
      plan_notices({set + "{\"tasks\": \"t\", \"probing\": {\"dense\": false, "
                          "\"k_values\": []}}"}),
      "--set evaluate: evaluate.probing.k_values: got an empty list and dense false: there is "
      "nothing to probe");
}

// ---- Other commands -------------------------------------------------------------------------

TEST(Contradictions, OfAWorldToWriteAreFoundBeforeItIsMade) {
  std::vector<Notice> notices;
  read_synth("small", 10, {"orthogonal_steps=3", "features=90"}, &notices);
  EXPECT_EQ(joined_notices(notices),
            "--set orthogonal_steps: is not used with no more features than dimensions\n"
            "--set features: got 90, the trees have 208: the last ones lack children");
  EXPECT_EQ(error_of([] { read_synth("small", 10, {"roots=600"}); }),
            "--set roots: got 600, expected at most 512, which is features");
}

TEST(Contradictions, OfABenchmarksShapeAreErrors) {
  const auto bench_error = [](double l0, Storage storage, Screening screening) {
    BenchOptions options;
    options.storage = storage;
    options.screening = screening;
    return error_of([&] { bench({"topk", 8, 16, l0, 4}, options); });
  };
  EXPECT_EQ(bench_error(17, Storage::kAuto, Screening::kAuto),
            "bench: got K 17 of F 16 latents, expected K at most F");
  EXPECT_TRUE(
      bench_error(2, Storage::kDense, Screening::kOn).starts_with("bench: got screening on"));
}

}  // namespace
}  // namespace sae

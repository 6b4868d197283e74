// The command as a user meets it: what its subcommands do, print and refuse.
#include <chrono>
#include <cmath>
#include <csignal>
#include <thread>

#include "sae/data/store.h"
#include "sae/models/architectures.h"
#include "sae/models/sae_folder.h"
#include "support/command_testing.h"
#include "support/sae_testing.h"
#include "support/store_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

using Command = CommandTest;
using Result = CommandResult;

Json topk(std::int64_t steps = 40) { return topk_config(steps); }

TEST_F(Command, ConfigErrorsOfEveryKindNameTheirPlace) {
  expect_error(2, "none.json: cannot be read: No such file", {"train", path("none.json")});
  const std::vector<std::pair<std::string, std::string>> texts = {
      {"{\"model\": ", "c.json:1"},
      {"[]", "expected an object"},
      {"{\"seed\": 1, \"seed\": 2}", "seed"},
      {"{\"data\": {}, \"train\": {\"steps\": 1}}", "model: missing"},
  };
  for (const auto& [text, part] : texts) {
    write_text(path("c.json"), text);
    expect_error(2, part, {"config", "check", path("c.json")});
  }
  const std::string file = write_config(topk());
  const std::vector<std::pair<std::string, std::string>> sets = {
      {"train.lrr=1", "--set train.lrr: unknown key; did you mean 'lr'?"},
      {"train.lr=fast", "--set train.lr: got \"fast\", expected a number"},
      {"train.lr=-1", "--set train.lr: got -1, expected"},
      {"model.architecture=topj", "did you mean 'topk'?"},
      {"model=5", "expected an object"},
      {"data.kind=stor", "did you mean 'store'?"},
      {"train.tokens=100", "train: got both steps and tokens"},
      {"device=gpu", "device: got 'gpu'"},
      {"model.d_in=7", "model.d_in: got 7, the data has width 20"},
      {"nothing", "no '='"},
  };
  for (const auto& [set, part] : sets) {
    expect_error(2, part, {"train", file, "--out", path("run"), "--set", set});
  }
  EXPECT_FALSE(fs::exists(path("run"))) << "nothing is left behind";
}

TEST_F(Command, ConfigCheckPrintsWhatItReadsBack) {
  const std::string file = write_config(topk());
  const Result first = sae({"config", "check", file, "--set", "train.lr=0.25"});
  EXPECT_EQ(first.status, 0) << first.err;
  EXPECT_EQ(Json::parse(first.out)["train"]["lr"], 0.25);
  write_text(path("resolved.json"), first.out);
  EXPECT_EQ(sae({"config", "check", path("resolved.json")}).out, first.out);
  const Result quiet = sae({"config", "check", file, "--quiet"});
  EXPECT_EQ(quiet.status, 0);
  EXPECT_EQ(quiet.out + quiet.err, "");
  EXPECT_TRUE(Json::parse(sae({"config", "schema"}).out).contains("properties"));
  const Result reference = sae({"config", "print"});
  EXPECT_NE(reference.out.find("train.lr_warmup_steps"), std::string::npos);
  for (const std::string& line : lines_of(reference.out)) EXPECT_LE(line.size(), 100U) << line;
}

TEST_F(Command, TrainsEvaluatesAndDescribes) {
  const std::string file = write_config(topk());
  const std::string run = path("run");
  const Result trained = sae({"train", file, "--out", run, "--json", "--quiet"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_EQ(trained.err, "");
  const Json result = Json::parse(trained.out);
  EXPECT_EQ(result["steps"], 40);
  const Json evaluated = Json::parse(sae({"eval", run, "--json", "--threads", "1"}).out);
  EXPECT_EQ(evaluated, result["metrics"]) << "the same held-out tokens";
  EXPECT_EQ(Json::parse(sae({"info", run, "--json"}).out)["kind"], "run");
  EXPECT_NE(sae({"info", run}).out.find("kind: run\n"), std::string::npos);
  EXPECT_NE(sae({"eval", run}).out.find("explained_variance"), std::string::npos);
  expect_error(2, "exists already; go on with --resume", {"train", file, "--out", run});
  expect_error(2, "train.batch is 32 there and 8 here",
               {"train", file, "--out", run, "--resume", "--set", "train.batch=8"});
  const Result again = sae({"train", file, "--out", run, "--resume", "--json", "-q"});
  EXPECT_EQ(Json::parse(again.out)["metrics"], result["metrics"]);

  const Result quiet = sae({"train", file, "--out", path("quiet"), "--quiet"});
  EXPECT_EQ(quiet.status, 0);
  EXPECT_EQ(quiet.out + quiet.err, "");

  expect_error(3, "width 50, the autoencoder takes 20", {"eval", run, "--data", "pair"});
  expect_error(2, "did you mean 'tiny'?", {"eval", run, "--data", "tiyn"});
  expect_error(3, "no such file or folder", {"eval", path("nothing")});
  expect_error(3, "no such file or folder", {"info", path("nothing")});
  fs::resize_file(path("run") / "sae" / "sae.safetensors", 99);
  expect_error(3, "sae.safetensors", {"eval", run});
}

/// Words of three classes on axes, and how a file of them can be wrong.
struct LabelledFile {
  at::Tensor train_y = at::arange(60, at::kLong) % 3;
  at::Tensor test_y = at::arange(30, at::kLong) % 3;
  at::Tensor train_x = axes(train_y), test_x = axes(test_y), score_x = axes(test_y);
  std::string words;

  static at::Tensor axes(const at::Tensor& y) { return at::one_hot(y, 20).to(at::kFloat); }
  void write(const fs::path& path) const {
    Metadata metadata = {{"task", "axis"}, {"classes", R"(["x", "y", "z"])"}};
    if (!words.empty()) metadata["words"] = words;
    write_safetensors(path,
                      {{"train_x", train_x},
                       {"train_y", train_y},
                       {"test_x", test_x},
                       {"test_y", test_y},
                       {"score_x", score_x}},
                      metadata);
  }
};

TEST_F(Command, SaysWhatIsWrongWithLabelledWords) {
  const auto make = [&](const std::string& name, std::int64_t width) {
    const Json model = {{"architecture", "standard"}, {"d_in", width}, {"d_sae", 20}};
    const auto sae = make_autoencoder(config_from_json(model, "test"));
    sae->initialise(0);
    save_sae(path(name), *sae, model, 1, Json::object());
  };
  make("sae", 20);
  make("narrow", 12);
  const std::string file = path("words.safetensors");
  const auto refused = [&](const std::string& part, auto&& spoil, const char* sae = "sae") {
    LabelledFile words;
    spoil(words);
    words.write(file);
    expect_error(3, part, {"eval", path(sae), "--data", file, "--suite", "absorption"});
  };
  refused("train_y: row 5 has label 7, expected 0 to 2", [](auto& w) { w.train_y[5] = 7; });
  refused("test_y: row 0 has label -1", [](auto& w) { w.test_y[0] = -1; });
  refused("train_y: class \"z\" has no words", [](auto& w) { w.train_y.clamp_max_(1); });
  refused("test_y: class \"x\" has no words", [](auto& w) { w.test_y.clamp_min_(1); });
  refused("test_x: row 4 is not finite", [](auto& w) { w.test_x[4][3] = NAN; });
  refused("score_x: row 29 is not finite", [](auto& w) { w.score_x[29][0] = INFINITY; });
  refused("score_x is [29, 20]", [](auto& w) { w.score_x = w.score_x.slice(0, 1).contiguous(); });
  refused("train_x has 59 rows", [](auto& w) { w.train_x = w.train_x.slice(0, 1).contiguous(); });
  refused("test_x has width 19", [](auto& w) { w.test_x = w.test_x.slice(1, 1).contiguous(); });
  refused("got 1 words for 60 rows, expected one word a row",
          [](auto& w) { w.words = R"({"train": ["a"], "test": ["b"]})"; });
  refused(
      "activations have width 20, the autoencoder takes 12", [](auto&) {}, "narrow");
  refused("of 3 classes have a probe F1 above 0.6, expected at least 20", [](auto&) {});
  expect_error(2, "needs labelled activations", {"eval", path("sae"), "--suite", "absorption"});
  expect_error(2, "tau_pa: got 2",
               {"eval", path("sae"), "--data", file, "--suite", "absorption", "--set",
                "absorption.tau_pa=2"});
}

TEST_F(Command, EvaluatesSuitesAndShowsThemOnPages) {
  const std::string store = path("store"), words = path("words.safetensors");
  ASSERT_EQ(sae({"synth", "--preset", "tiny", "--tokens", "900", "--out", store, "-q"}).status, 0);
  const std::string run = path("run");
  ASSERT_EQ(sae({"train", write_config(topk()), "--out", run, "-q"}).status, 0);
  LabelledFile().write(words);
  const std::vector<std::string> easy = {"--set", "absorption.min_feats_for_eval=0",
                                         "--set", "absorption.min_GT_probe_f1=0",
                                         "--set", "probing.dense=false"};
  std::vector<std::string> ask = {"eval",    run,   "--data",     store,    "--data",    words,
                                  "--suite", "all", "--controls", "random", "--repeats", "2"};
  ask.insert(ask.end(), easy.begin(), easy.end());
  const Result shown = sae(ask);
  ASSERT_EQ(shown.status, 0) << shown.err;
  EXPECT_EQ(shown.out.find("core\n"), 0U) << shown.out;
  for (const char* part : {"\nabsorption\n", "\nprobing\n", "\nabsorption, control: random\n",
                           "mean_full_absorption_score", " +- "}) {
    EXPECT_NE(shown.out.find(part), std::string::npos) << part;
  }
  for (const std::string& line : lines_of(shown.out)) EXPECT_LE(line.size(), 80U) << line;
  ask.emplace_back("--json");
  const Result asked = sae(ask);
  const Json json = Json::parse(asked.out);
  EXPECT_TRUE(json["absorption"]["repeats"][0]["eval_result_metrics"]["mean"].contains(
      "mean_absorption_fraction_score"));
  EXPECT_TRUE(json["controls"]["random"].contains("core"));
  write_text(path("eval.json"), asked.out);
  const Result pages = sae({"features", run, "--data", store, "--results", path("eval.json"),
                            "--out", path("pages"), "--json"});
  ASSERT_EQ(pages.status, 0) << pages.err;
  EXPECT_EQ(Json::parse(pages.out)["latents"], 16);
  EXPECT_TRUE(fs::exists(path("pages") / "index.html"));
  expect_error(2, "exists already", {"features", run, "--data", store, "--out", path("pages")});
}

TEST_F(Command, WritesLatentsForOtherTools) {
  const std::string store = write_normal_store(path("store"), 90, 1, /*context=*/9);
  Json config = topk();
  config["data"] = {{"kind", "store"}, {"path", store}};
  const std::string run = path("run");
  ASSERT_EQ(sae({"train", write_config(config), "--out", run, "-q"}).status, 0);
  const auto ask = [&](const std::string& format, const std::vector<std::string>& more) {
    std::vector<std::string> words = {"features", run,          "--data",   store,
                                      "--out",    path(format), "--format", format};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const Result batches = sae(ask("neuronpedia", {"--latents", "5", "--model", "m", "--source-set",
                                                 "s", "--contexts", "3", "--json"}));
  ASSERT_EQ(batches.status, 0) << batches.err;
  EXPECT_EQ(Json::parse(batches.out)["latents"], 5);
  const Json batch = parsed(path("neuronpedia") / "batch-0.json");
  EXPECT_EQ(batch["features"].size(), 5u);
  EXPECT_EQ(batch["model_id"], "m");
  EXPECT_EQ(batch["sae_set"], "s");
  EXPECT_EQ(batch["features"][0]["activations"][0]["tokens"].size(), 9u) << "a whole context";
  const Result cache = sae(ask("delphi", {"--pad-token", "7"}));
  ASSERT_EQ(cache.status, 0) << cache.err;
  EXPECT_EQ(cache.out.find("16 latents ("), 0U) << cache.out;
  EXPECT_EQ(parsed(path("delphi") / "sae" / "config.json")["pad_token"], 7);
  for (const auto& format : {"neuronpedia", "delphi"}) fs::remove_all(path(format));
  expect_error(2, "--window: the format delphi has no use for it",
               ask("delphi", {"--window", "3"}));
  expect_error(2, "--results: the format delphi has no use for it",
               ask("delphi", {"--results", "eval.json"}));
  expect_error(2, "--latents: the format html has no use for it", ask("html", {"--latents", "3"}));
  expect_error(2, "expected one of html, neuronpedia, delphi", ask("dolphi", {}));
  expect_error(3, "unembedding: ", ask("neuronpedia", {"--unembedding", path("unembedding")}));
}

TEST_F(Command, ComparesWithSuitesAndControls) {
  LabelledFile().write(path("words.safetensors"));
  Json comparison = {{"base", topk()}, {"members", {{{"name", "topk"}}}}};
  comparison["evaluate"] = {{"words", path("words.safetensors").string()},
                            {"controls", {"identity"}},
                            {"absorption", {{"min_feats_for_eval", 0}, {"min_GT_probe_f1", 0}}}};
  const std::string config = write_config(comparison);
  const Result done = sae({"compare", config, "--out", path("out"), "--json"});
  ASSERT_EQ(done.status, 0) << done.err;
  const Json result = Json::parse(done.out);
  EXPECT_TRUE(result["runs"][0]["metrics"].contains("absorption.mean_full_absorption_score"));
  EXPECT_EQ(result["controls"][0]["member"], "identity");
  EXPECT_TRUE(fs::exists(path("out") / "runs" / "topk-seed0" / "evaluation.json"));
  fs::remove(path("words.safetensors"));
  expect_error(3, "words.safetensors", {"compare", config, "--out", path("out")});
}

TEST_F(Command, ReadsStoresAndNamesWhatIsWrongWithThem) {
  const std::string store = path("store");
  const Result written =
      sae({"synth", "--preset", "tiny", "--tokens", "900", "--out", store, "-q"});
  ASSERT_EQ(written.status, 0) << written.err;
  EXPECT_EQ(written.out + written.err, "");
  expect_error(2, "exists already", {"synth", "--preset", "tiny", "--out", store});
  Json config = topk();
  config["data"] = {{"kind", "store"}, {"path", store}};
  const std::string file = write_config(config);
  ASSERT_EQ(sae({"train", file, "--out", path("run"), "-q"}).status, 0);
  const Result evaluated = sae({"eval", path("run"), "--data", store, "--json"});
  EXPECT_EQ(evaluated.status, 0) << evaluated.err;
  EXPECT_GT(Json::parse(evaluated.out)["l0"], 0);

  const auto refuse = [&](int status, const std::string& part, const std::string& data) {
    expect_error(status, part,
                 {"train", file, "--out", path("bad"), "-q", "--set", "data.path=" + data});
  };
  refuse(3, "nowhere: ", path("nowhere"));
  const at::Tensor rows = normal({600, 20}, 1).to(at::kFloat);
  write_safetensors(path("wide.safetensors"), {{"activations", normal({9, 21}, 1).to(at::kFloat)}});
  expect_error(2, "the data has width 21",
               {"train", file, "--out", path("bad"), "--set", "model.d_in=20", "--set",
                "data.path=" + path("wide.safetensors").string()});
  write_safetensors(path("empty.safetensors"), {{"activations", at::zeros({0, 20})}});
  refuse(3, "empty.safetensors", path("empty.safetensors"));
  rows[7].fill_(NAN);
  write_safetensors(path("nan.safetensors"), {{"activations", rows}});
  refuse(3, "nan.safetensors: row 7", path("nan.safetensors"));
  expect_error(3, "nan.safetensors: row 7 has a NaN or infinity; of 600 tokens 1 have",
               {"inspect", path("nan.safetensors"), "-q"});
  const Json found = Json::parse(sae({"inspect", store, "--json", "-q"}).out);
  EXPECT_EQ(found["tokens"], 900);
  EXPECT_EQ(found["not_finite"]["tokens"], 0);
  EXPECT_NE(sae({"inspect", store}).out.find("900 of width 20, f32"), std::string::npos);
  fs::resize_file(path("store") / "shard-00000.safetensors", 5000);
  refuse(3, "shard-00000.safetensors", store);
}

TEST_F(Command, DiagnosesARunByItsExitStatus) {
  const std::string run = path("run").string();
  ASSERT_EQ(sae({"train", write_config(topk()), "--out", run, "-q"}).status, 0);
  std::vector<std::string> lenient = {"diagnose", run, "--json"};
  for (const char* limit :
       {"dead=1", "dense_share=1", "l0_tolerance=9", "l0_width=9", "spike=99", "gap=9"}) {
    lenient.insert(lenient.end(), {"--set", limit});
  }
  const Result healthy = sae(lenient);
  EXPECT_EQ(healthy.status, 0) << healthy.out;
  EXPECT_EQ(Json::parse(healthy.out)["fired"], 0);
  const Result ill = sae({"diagnose", run, "--set", "l0_width=0.001"});
  EXPECT_EQ(ill.status, 1);
  EXPECT_NE(ill.out.find("\nl0_width\n"), std::string::npos) << ill.out;
  EXPECT_EQ(sae({"diagnose", run, "--set", "l0_width=0.001", "-q"}).out, "");
  expect_error(3, "expected the folder of a run", {"diagnose", path("").string()});
  expect_error(2, "did you mean 'dead'", {"diagnose", run, "--set", "deed=1"});
}

TEST_F(Command, ConvertsARunAndSaysHowCloseTheCopyIs) {
  const std::string store = path("store");
  ASSERT_EQ(sae({"synth", "--preset", "tiny", "--tokens", "300", "--out", store, "-q"}).status, 0);
  const std::string run = path("run");
  ASSERT_EQ(sae({"train", write_config(topk()), "--out", run, "-q"}).status, 0);
  const Result printed = sae({"convert", run, path("a"), "--to", "saelens", "--verify", store});
  EXPECT_EQ(printed.status, 0) << printed.err;
  EXPECT_NE(printed.out.find("topk with k"), std::string::npos) << printed.out;
  EXPECT_NE(printed.out.find("on 300 tokens"), std::string::npos) << printed.out;
  EXPECT_NE(printed.out.find("latents active on one side   0\n"), std::string::npos) << printed.out;
  EXPECT_TRUE(fs::exists(path("a") / "sae_weights.safetensors"));
  const Json report =
      Json::parse(sae({"convert", path("a"), path("b"), "--to", "sae", "--json"}).out);
  EXPECT_EQ(report["from"], "saelens");
  EXPECT_FALSE(report.contains("verification"));
  expect_error(2, "exists already", {"convert", run, path("a"), "--to", "saelens"});
  expect_error(2, "--to is required", {"convert", run, path("c")});
  expect_error(2, "did you mean 'saelens'?", {"convert", run, path("c"), "--to", "saelans"});
  expect_error(2, "gemma_scope", {"convert", run, path("c"), "--to", "gemma_scope"});
  expect_error(3, "expected", {"convert", store, path("c"), "--to", "saelens"});
}

TEST_F(Command, AFullDiskIsOneLineAndKeepsTheOldCheckpoint) {
  const std::string file = write_config(topk(60));
  const fs::path run = path("run");
  // A limit on file sizes acts as a full disk; metrics.jsonl is what outgrows it.
  const std::string shell = "trap '' XFSZ; ulimit -f 8; exec " + std::string(SAE_COMMAND) +
                            " train " + file + " --out " + run.string() +
                            " -q --set train.log_every=1 --set train.checkpoint_every=5 >" +
                            path("stdout").string() + " 2>" + path("stderr").string();
  const int status = std::system(("bash -c \"" + shell + "\"").c_str());
  EXPECT_EQ(WEXITSTATUS(status), 3);
  EXPECT_EQ(lines_of(read_file(path("stderr"))).size(), 1U) << read_file(path("stderr"));
  EXPECT_NE(read_file(path("stderr")).find("cannot write: File too large"), std::string::npos);
  EXPECT_TRUE(newest_checkpoint(run / "checkpoints"));
  const Result resumed = sae({"train", file, "--out", run, "--resume", "-q", "--set",
                              "train.log_every=1", "--set", "train.checkpoint_every=5"});
  EXPECT_EQ(resumed.status, 0) << resumed.err;
}

TEST_F(Command, SurvivesKillsAtAnyMoment) {
  Rng rng(7, Stream::kTest, 0);
  for (const std::size_t which : {5, 6, 7}) {  // atm, nested ATM, resampling
    const auto [name, model] = stateful_models()[which];
    Json config = tiny_config(model, 240);
    config["train"]["checkpoint_every"] = 3;  // about half of the time is spent saving
    const std::string file = write_config(config);
    const std::string id = std::to_string(which);
    ASSERT_EQ(sae({"train", file, "--out", path("whole" + id), "-q"}).status, 0);
    const fs::path run = path("killed" + id);
    int kills = 0;
    while (kills < 5) {
      const pid_t pid = start({"train", file, "--out", run, "--resume", "-q"});
      if (kills > 0) {
        // After the first kill the run logs before it is killed, or it would never get anywhere.
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50 + rng.below(700)));
      kill(pid, SIGKILL);
      ++kills;
      const Result result = finish(pid);
      if (result.status == 0) break;
      ASSERT_EQ(result.status, 128 + SIGKILL) << result.err;
    }
    const Result last = sae({"train", file, "--out", run, "--resume", "-q"});
    ASSERT_EQ(last.status, 0) << last.err;
    SCOPED_TRACE(name + " after " + std::to_string(kills) + " kills");
    expect_same_run(run, path("whole" + id));
    for (const auto& entry : fs::recursive_directory_iterator(run)) {
      EXPECT_FALSE(entry.path().filename().string().starts_with(".tmp-")) << entry.path();
    }
  }
}

TEST_F(Command, ComparesAndContinues) {
  Json base = topk(300);
  base["model"] = {{"d_sae", 16}};
  const std::string file =
      write_config({{"levels", {1, 2}},
                    {"base", base},
                    {"members",
                     {{{"name", "topk"},
                       {"level", "model.k"},
                       {"config", {{"model", {{"architecture", "topk"}}}}}}}}});
  const std::string out = path("out");
  const pid_t pid = start({"compare", file, "--out", out, "-q"});
  wait_for_log(path("out") / "runs" / "topk-1-seed0");
  kill(pid, SIGKILL);
  finish(pid);
  const Result result = sae({"compare", file, "--out", out, "--json", "-q", "--threads", "1"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(Json::parse(result.out)["runs"].size(), 2U);
  const Result table = sae({"compare", file, "--out", out});
  EXPECT_EQ(table.status, 0);
  EXPECT_NE(table.out.find("report: " + out + "/report.html"), std::string::npos);
  expect_error(2, "holds a comparison with another base",
               {"compare", file, "--out", out, "--set", "base.train.steps=299"});
  EXPECT_EQ(sae({"config", "check", file}).out, "topk-1-seed0\ntopk-2-seed0\n");
}

}  // namespace
}  // namespace sae

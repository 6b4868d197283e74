#include <limits>

#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/models/sae_folder.h"
#include "sae/training/run.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

const Json kTopK = {{"architecture", "topk"}, {"d_sae", 20}, {"k", 2}};

class Run : public ::testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  RunOutcome train_in(const std::string& name, const Json& config, bool resume = false,
                      std::int64_t stop_at = -1) {
    std::int64_t step = 0;
    return train(tiny_run(config), path(name), resume,
                 {.on_step = [&](const StepReport& report, std::int64_t) { step = report.step; },
                  .should_stop = [&] { return step == stop_at; }});
  }

 private:
  TemporaryFolder folder_;
};

template <class Function>
std::string config_error(Function&& function) {
  try {
    function();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST_F(Run, StoppedAndResumedEqualsUninterrupted) {
  std::uint64_t index = 0;
  for (const auto& [name, model] : stateful_models()) {
    const Json config = tiny_config(model);
    ASSERT_TRUE(train_in(name + " whole", config).finished);
    Rng rng(1, Stream::kTest, index++);
    const auto first = 1 + static_cast<std::int64_t>(rng.below(29));
    const auto second = first + 1 + static_cast<std::int64_t>(rng.below(29));
    for (const std::int64_t stop : {first, second}) {
      const RunOutcome outcome = train_in(name, config, /*resume=*/true, stop);
      EXPECT_FALSE(outcome.finished);
      EXPECT_EQ(outcome.step, stop);
      EXPECT_FALSE(fs::exists(path(name) / "summary.json"));
    }
    ASSERT_TRUE(train_in(name, config, /*resume=*/true).finished);
    SCOPED_TRACE(name + " stopped at " + std::to_string(first) + " and " + std::to_string(second));
    expect_same_run(path(name), path(name + " whole"));
  }
}

TEST_F(Run, ResumesBitForBitWithTheScreenedEncoderToo) {
  for (const char* architecture : {"topk", "batch_topk", "jumprelu"}) {
    Json model = {{"architecture", architecture}, {"d_sae", 200}};
    if (std::string(architecture) != "jumprelu") model["k"] = 2;
    Json config = tiny_config(model);
    config["train"]["screening"] = "on";
    const std::string whole = std::string(architecture) + " whole";
    const std::string parts = std::string(architecture) + " parts";
    ASSERT_TRUE(train_in(whole, config).finished);
    ASSERT_FALSE(train_in(parts, config, false, 33).finished);
    ASSERT_TRUE(train_in(parts, config, /*resume=*/true).finished);
    expect_same_run(path(whole), path(parts));
  }
}

TEST_F(Run, GoesOnFromTheCheckpointBeforeADamagedOne) {
  const Json config = tiny_config(stateful_models()[5].second);
  train_in("whole", config);
  train_in("damaged", config, false, 45);  // checkpoints 40 and 45
  fs::resize_file(path("damaged") / "checkpoints" / "step-00000045" / "optimizer.safetensors", 9);
  train_in("damaged", config, true);
  expect_same_run(path("damaged"), path("whole"));

  train_in("lost", config, false, 45);
  fs::remove_all(path("lost") / "checkpoints");  // nothing to go on from: from the beginning
  train_in("lost", config, true);
  expect_same_run(path("lost"), path("whole"));
}

TEST_F(Run, TheSameConfigurationGivesTheSameBytes) {
  for (const char* name : {"a", "b"}) train_in(name, tiny_config(kTopK));
  expect_same_run(path("a"), path("b"));
  expect_same_file(path("a") / "config.json", path("b") / "config.json");
  Json other = tiny_config(kTopK);
  other["seed"] = 1;
  train_in("c", other);
  EXPECT_NE(read_file(path("a") / "sae" / "sae.safetensors"),
            read_file(path("c") / "sae" / "sae.safetensors"));
}

TEST_F(Run, LoggingEvaluatingAndSavingChangeNothing) {
  for (const auto& [name, model] : stateful_models()) {
    Json often = tiny_config(model, 30);
    often["train"]["log_every"] = 1;
    often["train"]["checkpoint_every"] = 1;
    often["eval"]["every"] = 1;
    Json never = tiny_config(model, 30);
    never["train"]["log_every"] = 1000;
    never["train"]["checkpoint_every"] = 0;
    never["eval"]["every"] = 0;
    train_in(name + " often", often);
    train_in(name + " never", never);
    SCOPED_TRACE(name);
    expect_same_file(path(name + " often") / "sae" / "sae.safetensors",
                     path(name + " never") / "sae" / "sae.safetensors");
  }
}

TEST_F(Run, WritesWhatTheFormatPromises) {
  const RunOutcome outcome = train_in("run", tiny_config(kTopK));
  const Json config = parsed(path("run") / "config.json");
  EXPECT_EQ(config["model"]["d_in"], 20) << "taken from the data";
  EXPECT_EQ(config["train"]["beta1"], 0.9) << "no default left implicit";
  const Json summary = parsed(path("run") / "summary.json");
  EXPECT_EQ(summary["steps"], 60);
  EXPECT_EQ(summary["tokens"], 60 * 32);
  EXPECT_EQ(summary["metrics"]["mcc"], outcome.metrics.at("mcc"));
  EXPECT_TRUE(fs::exists(path("run") / "checkpoints" / "step-00000060" / "MANIFEST.json"));
  EXPECT_FALSE(fs::exists(path("run") / "checkpoints" / "step-00000020")) << "keeps two";
  bool events = false;
  for (const auto& entry : fs::directory_iterator(path("run"))) {
    events = events || entry.path().filename().string().starts_with("events.out.tfevents.");
  }
  EXPECT_TRUE(events);
  const SaeFolder result = load_sae(path("run") / "sae");
  EXPECT_EQ(result.config->at("training"), config);
  EXPECT_EQ(result.config->at("source").at("kind"), "synthetic");
  std::vector<std::int64_t> steps;
  for (const MetricsRow& row : read_metrics(path("run") / "metrics.jsonl")) {
    steps.push_back(row.step);
    EXPECT_EQ(row.values.contains("eval.l0"), row.step % 25 == 0);
    EXPECT_EQ(row.values.contains("loss"), row.step % 7 == 0 || row.step == 60);
  }
  EXPECT_EQ(steps, (std::vector<std::int64_t>{7, 14, 21, 25, 28, 35, 42, 49, 50, 56, 60}));
}

TEST_F(Run, AFinishedOneStaysAsItIs) {
  Json config = tiny_config(kTopK);
  config["train"]["checkpoint_every"] = 0;  // no checkpoint to go on from
  const RunOutcome first = train_in("run", config);
  const auto written = fs::last_write_time(path("run") / "metrics.jsonl");
  const RunOutcome again = train_in("run", config, /*resume=*/true);
  EXPECT_TRUE(again.finished);
  EXPECT_EQ(again.step, 60);
  EXPECT_EQ(to_json_line({0, again.metrics}), to_json_line({0, first.metrics})) << "NaN too";
  EXPECT_EQ(fs::last_write_time(path("run") / "metrics.jsonl"), written);
  config["train"]["lr"] = 1e-3;
  EXPECT_NE(config_error([&] { train_in("run", config, true); }).find("train.lr is 0.005 there"),
            std::string::npos);
}

TEST_F(Run, AnExistingFolderNeedsResume) {
  train_in("run", tiny_config(kTopK), false, 5);
  EXPECT_EQ(
      config_error([&] { train_in("run", tiny_config(kTopK)); }),
      path("run").string() + ": exists already; go on with --resume, or choose another --out");
  fs::create_directory(path("other"));
  write_text(path("other") / "notes.txt", "mine");
  EXPECT_EQ(config_error([&] { train_in("other", tiny_config(kTopK), true); }),
            path("other").string() + ": exists and is no run; choose another --out");
  write_text(path("file"), "mine");
  EXPECT_EQ(config_error([&] { train_in("file", tiny_config(kTopK), true); }),
            path("file").string() + ": exists and is no folder; choose another --out");
  EXPECT_EQ(read_file(path("file")), "mine");
}

TEST_F(Run, AnotherConfigurationIsRefusedByItsFirstDifference) {
  train_in("run", tiny_config(kTopK), false, 5);
  Json config = tiny_config(kTopK);
  config["train"]["batch"] = 16;
  EXPECT_EQ(config_error([&] { train_in("run", config, true); }),
            path("run").string() +
                ": is a run of another configuration: train.batch is 32 there and 16 here; choose "
                "another --out");
  Json elsewhere = tiny_config(kTopK);
  elsewhere["threads"] = 2;
  elsewhere["device"] = "auto";
  EXPECT_NO_THROW(train_in("run", elsewhere, true, 7)) << "where it runs is no part of what it is";
}

TEST_F(Run, AFolderThatCannotBeMadeIsAConfigError) {
  write_text(path("file"), "mine");
  const std::string message = config_error([&] { train_in("file/run", tiny_config(kTopK)); });
  EXPECT_EQ(message, path("file/run").string() +
                         ": cannot write here: Not a directory; choose another --out");
}

TEST_F(Run, DivergenceLeavesTheLastGoodCheckpoint) {
  const RunOptions options = tiny_run(tiny_config(kTopK));
  TrainingRun run(options, open_data(options.data, 0), path("run"), false);
  run.calibrate();
  const auto source = run.data().train();
  for (int i = 0; i < 25; ++i) run.step(source->next(32));
  at::Tensor bad = source->next(32);
  bad[0][0] = std::numeric_limits<float>::infinity();
  // On a GPU only steps that are logged are looked at, and those that are saved.
  EXPECT_THROW(
      {
        for (int i = 0; i < 7; ++i) run.step(bad);
      },
      DivergenceError);
  EXPECT_EQ(newest_checkpoint(path("run") / "checkpoints")->filename(), "step-00000020");
  EXPECT_FALSE(TrainingRun::is_complete(path("run")));
}

TEST_F(Run, NeverSavesWhatIsNotFinite) {
  Json config = tiny_config(kTopK);
  config["train"]["log_every"] = 60;
  const RunOptions options = tiny_run(config);
  TrainingRun run(options, open_data(options.data, 0), path("run"), false);
  run.calibrate();
  const auto source = run.data().train();
  for (int i = 0; i < 38; ++i) run.step(source->next(32));
  at::Tensor bad = source->next(32);
  bad[0][0] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(
      {
        for (int i = 0; i < 2; ++i) run.step(bad);
      },
      DivergenceError)
      << "at 40, which is saved";
  EXPECT_EQ(newest_checkpoint(path("run") / "checkpoints")->filename(), "step-00000020");
}

TEST_F(Run, SavesByTheClockToo) {
  Json config = tiny_config(kTopK, 3);
  config["train"]["checkpoint_every"] = 0;
  config["train"]["checkpoint_minutes"] = 1e-9;
  train_in("run", config);
  EXPECT_TRUE(fs::exists(path("run") / "checkpoints" / "step-00000002"));
}

TEST_F(Run, ResolvingIsIdempotent) {
  const RunOptions options = tiny_run(tiny_config(kTopK));
  const Json resolved = resolve_run(options);
  EXPECT_TRUE(resolved["model"]["d_in"].is_null()) << "the data says";
  EXPECT_EQ(resolve_run(tiny_run(resolved)), resolved);
}

TEST_F(Run, AWidthOtherThanTheDatasIsAConfigError) {
  Json config = tiny_config(kTopK);
  config["model"]["d_in"] = 21;
  EXPECT_NE(config_error([&] { train_in("run", config); }).find("model.d_in: got 21, the data has"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(path("run")));
}

TEST_F(Run, DevicesThatAreNotThereAreConfigErrors) {
  EXPECT_TRUE(parse_device("cpu").is_cpu());
  EXPECT_NE(config_error([] { parse_device("gpu"); }).find("expected auto, cpu, cuda or cuda:N"),
            std::string::npos);
  EXPECT_NE(config_error([] { parse_device("cuda:99"); }).find("'cuda:99'"), std::string::npos);
  EXPECT_NE(config_error([] { parse_device(""); }).find("device: got ''"), std::string::npos);
}

}  // namespace
}  // namespace sae

// Ctrl-C and SIGTERM in the middle of every command.
#include <sys/stat.h>

#include <chrono>
#include <csignal>
#include <fstream>

#include "sae/models/architectures.h"
#include "sae/models/sae_folder.h"
#include "support/command_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;
using Clock = std::chrono::steady_clock;

class Stop : public CommandTest {
 protected:
  /// Sends `signal` in the middle of the command. It ends within 2 s (1 s, and a busy machine).
  CommandResult stopped(const Words& words, int signal = SIGINT, int after_ms = 600) {
    const pid_t pid = start(words);
    std::this_thread::sleep_for(std::chrono::milliseconds(after_ms));
    return interrupted(pid, signal);
  }

  CommandResult interrupted(pid_t pid, int signal) {
    const auto asked = Clock::now();
    kill(pid, signal);
    const CommandResult result = finish(pid);
    EXPECT_LT(std::chrono::duration<double>(Clock::now() - asked).count(), 2);
    EXPECT_EQ(result.status, 128 + signal) << result.err;
    EXPECT_EQ(result.out, "");
    return result;
  }

  /// Nothing of the test's folder is half-written.
  void expect_no_remains() {
    for (const auto& entry : fs::recursive_directory_iterator(path(""))) {
      EXPECT_FALSE(entry.path().filename().string().starts_with(".tmp-")) << entry.path();
    }
  }

  std::string trained_run() {
    const std::string run = path("run");
    EXPECT_EQ(sae({"train", write_config(topk_config(20)), "--out", run, "-q"}).status, 0);
    return run;
  }

  /// An autoencoder that takes long to encode with, and a store that takes long to read: a file of
  /// zeros that takes no room on the disk.
  std::string slow_sae() {
    const Json model = {{"architecture", "standard"}, {"d_in", 20}, {"d_sae", 8192}};
    const auto sae = make_autoencoder(config_from_json(model, "test"));
    sae->initialise(0);
    save_sae(path("slow"), *sae, model, 1, Json::object());
    return path("slow");
  }
  std::string huge_store() {
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (100000000, 20), }";
    header.resize(117, ' ');
    header += '\n';
    const std::string magic("\x93NUMPY\x01\x00\x76\x00", 10);
    write_text(path("zeros.npy"), magic + header);
    fs::resize_file(path("zeros.npy"), 128 + std::uintmax_t{100'000'000} * 20 * 4);
    return path("zeros.npy");
  }
};

TEST_F(Stop, EndsEvaluationsOfEveryKind) {
  const std::string run = trained_run();
  for (const int signal : {SIGINT, SIGTERM}) {
    stopped({"eval", run, "--set", "eval.tokens=1000000000"}, signal);
  }
  stopped({"eval", run, "--suite", "truth", "--set", "eval.tokens=1000000000"});
  stopped({"eval", run, "--data", huge_store(), "--set", "eval.tokens=100000000"});
}

TEST_F(Stop, EndsProbesOfLabelledWords) {
  const std::string run = trained_run();
  const at::Tensor y = at::arange(60, at::kLong) % 3;
  const at::Tensor x = at::one_hot(y, 20).to(at::kFloat) + 0.01 * at::ones({60, 20});
  write_safetensors(path("words.safetensors"),
                    {{"train_x", x}, {"train_y", y}, {"test_x", x}, {"test_y", y}},
                    {{"task", "axis"}, {"classes", R"(["x", "y", "z"])"}});
  const Words ask = {"eval", run, "--data", path("words.safetensors")};
  Words probing = ask, absorption = ask;
  probing.insert(probing.end(), {"--suite", "probing", "--set", "probing.probe_epochs=100000000",
                                 "--set", "probing.patience=100000000"});
  absorption.insert(absorption.end(),
                    {"--suite", "absorption", "--set", "absorption.probe_epochs=100000000"});
  stopped(probing);
  stopped(absorption);
}

TEST_F(Stop, LeavesNothingOfFoldersThatWereBeingMade) {
  const std::string run = trained_run();
  for (const int signal : {SIGINT, SIGTERM}) {
    stopped({"synth", "--preset", "tiny", "--tokens", "1000000000", "--out", path("store")},
            signal);
    stopped({"features", slow_sae(), "--data", huge_store(), "--out", path("pages")}, signal);
    expect_no_remains();
    fs::remove_all(path("slow"));
  }
  EXPECT_FALSE(fs::exists(path("store")));
  EXPECT_FALSE(fs::exists(path("pages")));
}

TEST_F(Stop, EndsReadingTimingAndComparing) {
  const std::string run = trained_run();
  stopped({"inspect", huge_store()});
  stopped({"convert", run, path("copy"), "--to", "saelens", "--verify", huge_store(),
           "--verify-tokens", "100000000"});
  stopped({"bench", "--shape", "16,64,4,64", "--steps", "100000000"});
  expect_no_remains();
}

TEST_F(Stop, EndsWhatCannotHearOfIt) {
  ASSERT_EQ(::mkfifo(path("config.json").c_str(), 0600), 0);  // nobody ever writes into it
  for (const Words& words : std::vector<Words>{{"config", "check", path("config.json")},
                                               {"train", path("config.json")},
                                               {"compare", path("config.json")}}) {
    stopped(words, SIGINT, 300);
  }
  expect_error(3, "expected a folder with", {"eval", path("").string()});  // reads files alone
  const std::string run = trained_run();
  fs::remove(fs::path(run) / "metrics.jsonl");
  ASSERT_EQ(::mkfifo((fs::path(run) / "metrics.jsonl").c_str(), 0600), 0);
  stopped({"diagnose", run}, SIGTERM, 300);
}

TEST_F(Stop, SavesATrainingAndSaysTheWholeCommandThatGoesOn) {
  const std::string file = write_config(topk_config(100'000), "it's.json");
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const std::string run = path("my run" + std::to_string(signal));
    const pid_t pid = start({"train", file, "--out", run, "--set", "seed=3", "--set",
                             "train.log_every=9", "--threads", "1", "--device", "cpu", "-q"});
    wait_for_log(run);
    const CommandResult result = interrupted(pid, signal);
    const std::string said = lines_of(result.err).back();
    EXPECT_EQ(said.find("warning: stopped; everything is saved. Go on with: "), 0U) << said;
    ASSERT_TRUE(newest_checkpoint(fs::path(run) / "checkpoints"));
    expect_no_remains();

    // Pasted into a shell it goes on.
    std::string line = said.substr(said.find("Go on with: ") + 12);
    const auto before = checkpoint_step(*newest_checkpoint(fs::path(run) / "checkpoints"));
    const pid_t shell = start({"-c", "exec " + line}, "", "", "sh");
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    EXPECT_EQ(interrupted(shell, SIGTERM).err.find("warning: stopped"), 0U);
    EXPECT_GT(checkpoint_step(*newest_checkpoint(fs::path(run) / "checkpoints")), before);
  }
}

TEST_F(Stop, InTheFinalEvaluationKeepsWhatWasTrained) {
  Json config = topk_config(50);
  config["train"]["checkpoint_every"] = 0;
  config["train"]["log_every"] = 1;
  config["eval"]["tokens"] = 1'000'000'000;
  const std::string file = write_config(config), run = path("run");
  const pid_t pid = start({"train", file, "--out", run, "-q"});
  wait_for_log(run);
  while (!fs::exists(fs::path(run) / "sae")) usleep(10'000);
  EXPECT_NE(interrupted(pid, SIGINT).err.find("Go on with"), std::string::npos);
  const auto checkpoint = newest_checkpoint(fs::path(run) / "checkpoints");
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint_step(*checkpoint), 50);
}

TEST_F(Stop, SavesEveryRunOfAComparison) {
  Json base = topk_config(100'000);
  base["model"] = {{"d_sae", 16}};
  const std::string file =
      write_config({{"levels", {1, 2}},
                    {"base", base},
                    {"members",
                     {{{"name", "topk"},
                       {"level", "model.k"},
                       {"config", {{"model", {{"architecture", "topk"}}}}}}}}});
  const std::string out = path("out");
  const pid_t pid = start({"compare", file, "--out", out, "-q", "--threads", "2"});
  wait_for_log(fs::path(out) / "runs" / "topk-1-seed0");
  wait_for_log(fs::path(out) / "runs" / "topk-2-seed0");
  const CommandResult result = interrupted(pid, SIGINT);
  EXPECT_NE(result.err.find(" compare " + file + " --out " + out + " --threads 2 --quiet\n"),
            std::string::npos)
      << result.err;
  for (const char* run : {"topk-1-seed0", "topk-2-seed0"}) {
    EXPECT_TRUE(newest_checkpoint(fs::path(out) / "runs" / run / "checkpoints")) << run;
  }
  expect_no_remains();
}

TEST_F(Stop, ASecondSignalEndsTheCommandAtOnce) {
  ASSERT_EQ(::mkfifo(path("config.json").c_str(), 0600), 0);
  const pid_t pid = start({"config", "check", path("config.json")});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  kill(pid, SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const auto asked = Clock::now();
  kill(pid, SIGTERM);
  EXPECT_EQ(finish(pid).status, 128 + SIGINT) << "the first one is why";
  EXPECT_LT(std::chrono::duration<double>(Clock::now() - asked).count(), 0.4);
}

}  // namespace
}  // namespace sae

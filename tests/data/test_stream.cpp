// Streams: a harvester beside a run, by a Python script that writes what can be told apart.
#include <gtest/gtest.h>
#include <signal.h>
#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "data/stream/stream.h"
#include "sae/base/error.h"
#include "sae/data/data.h"
#include "support/run_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// Token t is (t, 1, t mod 7, 0), in float32; shards have 10, so that windows cut through them.
constexpr const char* kHarvester = R"(
import json, os, struct, sys, time
folder, start = os.environ["SAE_STREAM_FOLDER"], int(os.environ["SAE_STREAM_START"])
ahead, reader = int(os.environ["SAE_STREAM_AHEAD"]), int(os.environ["SAE_STREAM_READER"])
end = int(sys.argv[1]) if len(sys.argv) > 1 else 10**9
with open(sys.argv[2], "a") as log: log.write(f"{start}\n")
shards, most = 0, 0
while start < end:
    while sum(name.endswith(".safetensors") for name in os.listdir(folder)) >= ahead:
        os.kill(reader, 0)
        time.sleep(.001)
    rows = [(t, 1, t % 7, 0) for t in range(start, min(start + 10, end))]
    header = json.dumps({"activations": {"dtype": "F32", "shape": [len(rows), 4],
                                         "data_offsets": [0, 16 * len(rows)]}}).encode()
    path = f"{folder}/shard-{shards:05d}.safetensors"
    with open(path + ".tmp", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for row in rows: file.write(struct.pack("<4f", *row))
    os.rename(path + ".tmp", path)
    start, shards = start + len(rows), shards + 1
    if len(sys.argv) > 3 and shards == 8:
        print("out of memory, or so", flush=True)
        exec(sys.argv[3])
open(folder + "/end", "w").close()
time.sleep(60)
)";

class Stream : public ::testing::Test {
 protected:
  void SetUp() override { std::ofstream(path("harvest.py")) << kHarvester; }

  fs::path path(const std::string& name) const { return folder_.path() / name; }

  /// At most `tokens` of it; after 80 tokens it does `then`.
  StreamDataOptions options(std::int64_t tokens = 1'000'000'000,
                            const std::string& then = "") const {
    StreamDataOptions options;
    options.command = "exec python3 " + path("harvest.py").string() + " " + std::to_string(tokens) +
                      " " + path("starts").string() + (then.empty() ? "" : " '" + then + "'");
    options.held_out = 25;
    options.window = 30;
    options.ahead = 3;
    options.stall_s = 60;
    return options;
  }

  std::vector<std::string> starts() const {
    std::ifstream file(path("starts"));
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }

  static std::vector<std::int64_t> tokens_of(const at::Tensor& x) {
    const at::Tensor first = x.select(1, 0).to(at::kLong).contiguous();
    return {first.const_data_ptr<std::int64_t>(), first.const_data_ptr<std::int64_t>() + x.size(0)};
  }

  static std::string error_of(const std::function<void()>& work) {
    try {
      work();
    } catch (const DataError& error) {
      return error.what();
    }
    return "none";
  }

 private:
  TemporaryFolder folder_;
};

std::vector<std::int64_t> sorted(std::vector<std::int64_t> all) {
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<std::int64_t> range(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = begin; i < end; ++i) all.push_back(i);
  return all;
}

TEST_F(Stream, HoldsOutTheFirstTokensAndHandsOutEachOtherOnceInShuffledWindows) {
  const auto stream = std::make_shared<ActivationStream>(options());
  EXPECT_EQ(stream->d_in(), 4);
  HeldOutSource held_out(stream);
  EXPECT_EQ(tokens_of(held_out.next(27)), [] {
    std::vector<std::int64_t> all = range(0, 25);
    all.insert(all.end(), {0, 1});
    return all;
  }());
  WindowSource source(stream, 3);
  std::vector<std::int64_t> all;
  for (const std::int64_t count : {7, 40, 13}) {
    for (const std::int64_t token : tokens_of(source.next(count))) all.push_back(token);
  }
  EXPECT_EQ(source.position(), 60);
  const std::vector<std::int64_t> first(all.begin(), all.begin() + 30);
  EXPECT_EQ(sorted(first), range(25, 55));
  EXPECT_NE(first, sorted(first));
  EXPECT_EQ(sorted({all.begin() + 30, all.end()}), range(55, 85));
  EXPECT_EQ(starts(), (std::vector<std::string>{"0"}));
}

TEST_F(Stream, GoesOnAtAnyPositionWithTheSameTokensAndAsksTheHarvesterForThem) {
  const auto whole = std::make_shared<ActivationStream>(options());
  WindowSource all(whole, 3);
  all.next(95);
  const auto later = std::make_shared<ActivationStream>(options());
  WindowSource some(later, 3);
  some.seek(95);
  EXPECT_EQ(tokens_of(some.next(20)), tokens_of(all.next(20)));
  EXPECT_EQ(starts(), (std::vector<std::string>{"0", "0", "115"}));  // 25 + 3 * 30
}

TEST_F(Stream, LetsTheHarvesterWaitWhileItsShardsAreNotRead) {
  StreamDataOptions few = options();
  few.folder = path("passed on").string();
  const auto stream = std::make_shared<ActivationStream>(few);
  WindowSource source(stream, 3);
  source.next(5);
  std::this_thread::sleep_for(300ms);
  std::int64_t shards = 0;
  for (const auto& entry : fs::directory_iterator(*few.folder)) {
    shards += entry.path().extension() == ".safetensors" ? 1 : 0;
  }
  EXPECT_LE(shards, 3);
  EXPECT_GE(shards, 1);
}

TEST_F(Stream, LeavesNoFolderAndNoProcessBehind) {
  StreamDataOptions here = options();
  here.folder = path("passed on").string();
  here.command = "echo $$ > " + path("pid").string() + "; " + here.command;
  std::make_shared<ActivationStream>(here).reset();
  EXPECT_FALSE(fs::exists(*here.folder));
  pid_t pid = 0;
  std::ifstream(path("pid")) >> pid;
  ASSERT_GT(pid, 0);
  EXPECT_EQ(kill(pid, 0), -1);
}

TEST_F(Stream, SaysWhatTheHarvesterSaidWhenItEndsOrStallsOrHasNoMore) {
  const auto read_all = [&](const StreamDataOptions& given) {
    return error_of([&] {
      WindowSource source(std::make_shared<ActivationStream>(given), 3);
      source.next(200);
    });
  };
  EXPECT_EQ(read_all(options(90)), "data.command: its text is over after 90 tokens");
  EXPECT_EQ(read_all(options(1000, "sys.exit(3)")),
            "data.command: ended with status 3 after 80 tokens; it said: out of memory, or so");
  EXPECT_EQ(read_all(options(1000, "os.kill(os.getpid(), 9)")),
            "data.command: was ended by signal 9 after 80 tokens; it said: out of memory, or so");
  StreamDataOptions stalls = options(1000, "time.sleep(60)");
  stalls.stall_s = 1;
  EXPECT_EQ(read_all(stalls),
            "data.command: made nothing for 1 s (data.stall_s) after 80 tokens; it said: out of "
            "memory, or so");
  StreamDataOptions none = options();
  none.command = "no-such-harvester";
  EXPECT_NE(error_of([&] { ActivationStream stream(none); }).find("ended with status 127"),
            std::string::npos);
}

TEST_F(Stream, ARunTrainsOnItStopsAndGoesOnAsIfNothingHadHappened) {
  Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 8}, {"k", 2}}, 20);
  config["device"] = "cpu";
  config["kernels"] = "auto";
  config["data"] = {
      {"kind", "stream"}, {"command", options().command}, {"held_out", 50}, {"window", 100}};
  config["train"]["calibration_tokens"] = 64;
  config["eval"] = {{"tokens", 50}, {"batch", 20}};
  train(tiny_run(config), path("whole"), false);
  int steps = 0;
  train(tiny_run(config), path("parts"), false,
        {.on_step = {}, .should_stop = [&] { return ++steps == 9; }, .on_notice = {}});
  EXPECT_FALSE(TrainingRun::is_complete(path("parts")));
  train(tiny_run(config), path("parts"), true);
  expect_same_file(path("whole") / "sae" / "sae.safetensors",
                   path("parts") / "sae" / "sae.safetensors");
  EXPECT_EQ(parsed(path("whole") / "summary.json")["held_out_tokens"], 50);
}

}  // namespace
}  // namespace sae

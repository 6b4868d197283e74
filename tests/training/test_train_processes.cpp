// sae train over processes: killed, hung and stopped ranks, and what goes on after them.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "sae/base/rng.h"
#include "support/rank_processes.h"
#include "support/ranks_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class TrainProcesses : public RankProcesses {
 protected:
  /// A run of a second or two that saves every few steps.
  void write_config(std::int64_t steps) const {
    Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 64}, {"k", 2}}, steps);
    config["train"]["checkpoint_every"] = 25;
    write_text(path("config.json"), config.dump());
  }

  std::vector<pid_t> begin_all(int size, const std::string& out, bool resume,
                               const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words{"train", path("config.json"), "--out", path(out), "--quiet"};
    if (resume) words.emplace_back("--resume");
    words.insert(words.end(), more.begin(), more.end());
    const int port = free_port();
    std::vector<pid_t> all;
    for (int rank = 0; rank < size; ++rank) all.push_back(begin(rank, size, port, words));
    return all;
  }

  void expect_done(const std::vector<pid_t>& ranks) const {
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      EXPECT_EQ(finish(ranks[rank]).status, 0) << err_of(static_cast<int>(rank));
    }
  }

  /// Returns when something has been logged since now.
  void wait_for_a_line(const std::string& out) const {
    const fs::path file = path(out) / "metrics.jsonl";
    const auto began = fs::file_time_type::clock::now();
    for (int i = 0; i < 3000; ++i) {
      if (fs::exists(file) && fs::last_write_time(file) > began) return;
      std::this_thread::sleep_for(10ms);
    }
    FAIL() << "nothing was logged: " << err_of(0);
  }

  void wait_for_step(const std::string& out, std::int64_t step) const {
    for (int i = 0; i < 3000; ++i) {
      const fs::path file = path(out) / "metrics.jsonl";
      if (fs::exists(file)) {
        const auto rows = read_metrics(file);
        if (!rows.empty() && rows.back().step >= step) return;
      }
      std::this_thread::sleep_for(10ms);
    }
    FAIL() << "it never came to step " << step << ": " << err_of(0);
  }
};

// SAE_KILLS=100 makes a hundred of it.
TEST_F(TrainProcesses, KilledAtAnyMomentGoOnAsIfNothingHadHappened) {
  constexpr int kSize = 3;
  const char* asked = std::getenv("SAE_KILLS");
  const int kills = asked != nullptr ? std::atoi(asked) : 4;
  write_config(100 * kills);  // so long that most of them find it at work
  expect_done(begin_all(kSize, "undisturbed", false));
  Rng rng(7, Stream::kTest, 0);
  for (int i = 0; i < kills; ++i) {
    SCOPED_TRACE(i);
    const bool goes_on = fs::exists(path("killed") / "config.json");
    // One that is killed before it comes is missed only when the time is over.
    const std::vector<pid_t> ranks =
        begin_all(kSize, "killed", true, {"--set", "distributed.timeout_s=20"});
    const int culprit = static_cast<int>(rng.below(kSize));
    // Some of a hundred come before ranks meet, which costs the others the timeout.
    if (asked == nullptr) wait_for_a_line("killed");
    std::this_thread::sleep_for(std::chrono::milliseconds(200 + rng.below(1000)));
    kill(ranks[static_cast<std::size_t>(culprit)], SIGKILL);
    const auto began = std::chrono::steady_clock::now();
    for (int rank = 0; rank < kSize; ++rank) {
      const int status = finish(ranks[static_cast<std::size_t>(rank)]).status;
      if (rank == culprit) {
        EXPECT_TRUE(status == 128 + SIGKILL || status == 0) << status;
        continue;
      }
      if (status == 0) continue;  // done before
      EXPECT_TRUE(status == 4 || status == 2) << status << ": " << err_of(rank);
      EXPECT_EQ(lines_of(err_of(rank)).size(), 1U) << err_of(rank);
      // Of one that never came rank 0 knows; whoever was still waiting sees rank 0 leave.
      const bool named =
          err_of(rank).find("rank " + std::to_string(culprit)) != std::string::npos ||
          err_of(rank).find("rank 0 left while ranks were coming") != std::string::npos;
      EXPECT_TRUE(named) << "of rank " << rank << " when " << culprit
                         << " was killed: " << err_of(rank);
    }
    EXPECT_LT(std::chrono::steady_clock::now() - began, 60s);
    if (goes_on && fs::exists(path("killed") / "checkpoints")) {
      EXPECT_TRUE(newest_checkpoint(path("killed") / "checkpoints").has_value());
    }
  }
  expect_done(begin_all(kSize, "killed", true));
  expect_same_file(path("undisturbed") / "sae" / "sae.safetensors",
                   path("killed") / "sae" / "sae.safetensors");
}

TEST_F(TrainProcesses, OneThatIsToldToStopSavesWithTheOthersAtOneStep) {
  write_config(100000);
  const std::vector<pid_t> ranks = begin_all(2, "run", false);
  wait_for_step("run", 30);
  kill(ranks[1], SIGTERM);
  EXPECT_EQ(finish(ranks[1]).status, 128 + SIGTERM);
  EXPECT_EQ(finish(ranks[0]).status, 4);
  EXPECT_NE(err_of(0).find("stopped; everything is saved. Go on with: "), std::string::npos)
      << err_of(0);
  EXPECT_EQ(err_of(1), "");
  const auto newest = newest_checkpoint(path("run") / "checkpoints");
  ASSERT_TRUE(newest);
  EXPECT_GT(checkpoint_step(*newest), 30);
}

TEST_F(TrainProcesses, OneThatHangsIsNamedWhenItsTimeIsOver) {
  write_config(100000);
  const std::vector<pid_t> ranks = begin_all(3, "run", false, {"--set", "distributed.timeout_s=3"});
  wait_for_step("run", 30);
  kill(ranks[1], SIGSTOP);
  expect_told(ranks, 1, "rank 1 did not answer for 3 s", 20s);
  kill(ranks[1], SIGKILL);
  finish(ranks[1]);
}

TEST_F(TrainProcesses, AFullDiskAtOneRankEndsAllAndKeepsTheOldCheckpoint) {
  write_config(300);
  expect_done(begin_all(2, "undisturbed", false));
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);  // the commands inherit that
  const std::vector<pid_t> ranks = begin_all(2, "run", false);
  std::signal(SIGXFSZ, handler);
  wait_for_step("run", 30);
  // A limit on file sizes acts as a full disk; what this rank writes is its part of a checkpoint.
  const rlimit tight{256, 256};
  ASSERT_EQ(prlimit(ranks[1], RLIMIT_FSIZE, &tight, nullptr), 0);
  EXPECT_EQ(finish(ranks[1]).status, 3);
  EXPECT_EQ(finish(ranks[0]).status, 4);
  EXPECT_NE(err_of(1).find("cannot write: File too large"), std::string::npos) << err_of(1);
  EXPECT_EQ(err_of(0).find("error: rank 1: "), 0U) << err_of(0);
  EXPECT_NE(err_of(0).find("cannot write: File too large"), std::string::npos) << err_of(0);
  EXPECT_EQ(lines_of(err_of(0)).size(), 1U) << err_of(0);
  ASSERT_TRUE(newest_checkpoint(path("run") / "checkpoints"));
  expect_done(begin_all(2, "run", true));
  expect_same_file(path("undisturbed") / "sae" / "sae.safetensors",
                   path("run") / "sae" / "sae.safetensors");
}

TEST_F(TrainProcesses, RankZeroSpeaksForAllAndPrintsWhatOneProcessWould) {
  write_config(60);
  expect_done(begin_all(3, "run", false, {"--json"}));
  const Json result = Json::parse(out_of(0));
  EXPECT_EQ(result["steps"], 60);
  EXPECT_EQ(out_of(1) + out_of(2), "");
  EXPECT_EQ(sae({"eval", path("run")}).status, 0);
}

TEST_F(TrainProcesses, ALayoutThatIsNotTheNumberOfRanksIsRefused) {
  write_config(60);
  const std::vector<pid_t> ranks = begin_all(2, "run", false, {"--set", "distributed.data=3"});
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(finish(ranks[static_cast<std::size_t>(rank)]).status, 2);
    EXPECT_EQ(
        err_of(rank),
        "error: distributed: got latents 0 and data 3, expected 2 ranks in all (WORLD_SIZE)\n");
  }
  EXPECT_FALSE(fs::exists(path("run")));
}

}  // namespace
}  // namespace sae

#include <algorithm>
#include <atomic>
#include <set>

#include "comparison/memory.h"
#include "comparison/preflight.h"
#include "comparison/waves.h"
#include "sae/base/error.h"
#include "sae/comparison/compare.h"
#include "support/run_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

std::int64_t limit_bytes(const Json& value) {
  const auto limit = memory_limit(value);
  return limit ? limit->bytes : -1;
}

TEST(MemoryLimit, IsAShareOrASize) {
  EXPECT_EQ(memory_limit(0.5)->share, 0.5);
  EXPECT_EQ(memory_limit(1)->share, 1);
  EXPECT_EQ(memory_limit("35%")->share, 0.35);
  EXPECT_EQ(limit_bytes("24GB"), 24'000'000'000);
  EXPECT_EQ(limit_bytes("1.5 GiB"), 3LL << 29);
  EXPECT_EQ(limit_bytes("800kB"), 800'000);
  EXPECT_EQ(limit_bytes("1B"), 1);
  for (const Json& wrong :
       std::vector<Json>{0, -0.5, 1.01, 24, "24", "", "0%", "101%", "GB", "-1GB", "nanGB", "infGB",
                         "0GB", "1e40TB", "7 apples", nullptr, true, Json::array({0.5})}) {
    EXPECT_FALSE(memory_limit(wrong)) << wrong;
  }
}

TEST(WaveSize, CountsWhatRunsHoldAndWhatThoseComputedOnWorkWith) {
  const std::vector<RunMemory> runs(5, RunMemory{.held = 10, .working = 30});
  EXPECT_EQ(wave_size(runs, 1, 80), 5U);
  EXPECT_EQ(wave_size(runs, 1, 79), 4U);
  EXPECT_EQ(wave_size(runs, 2, 80), 2U);
  EXPECT_EQ(wave_size(runs, 2, 90), 3U);
  EXPECT_EQ(wave_size(runs, 9, 200), 5U);
  EXPECT_EQ(wave_size({{10, 5}, {10, 50}, {10, 5}}, 1, 69), 1U) << "the largest counts";
  EXPECT_EQ(wave_size({{10, 5}, {10, 50}, {10, 5}}, 1, 70), 2U);
}

TEST(WaveSize, IsOneWhereNothingFits) {
  EXPECT_EQ(wave_size({{10, 10}, {10, 10}}, 2, 3), 1U);
  EXPECT_EQ(wave_size({{10, 10}}, 2, -100), 1U);
  EXPECT_EQ(wave_size({{INT64_MAX / 2, INT64_MAX / 2}, {INT64_MAX / 2, 1}}, 2, 100), 1U);
}

/// Four runs of two architectures and two seeds in two cohorts; chunks are of 64 steps.
Json four_runs(std::int64_t steps = 30) {
  Json base = tiny_config(Json{{"d_sae", 16}, {"architecture", "topk"}, {"k", 2}}, steps);
  base["train"]["checkpoint_every"] = 0;
  base["eval"]["every"] = 10;
  const Json plain = {{"name", "plain"}};
  const Json batch = {{"name", "batch"}, {"config", {{"model", {{"architecture", "batch_topk"}}}}}};
  return {{"title", "Waves"},
          {"seeds", {5, 6}},
          {"base", base},
          {"members", Json::array({plain, batch})}};
}

/// The same in one cohort.
Json one_cohort(std::int64_t steps = 30) {
  Json comparison = four_runs(steps);
  comparison["base"]["data"]["stream_seed"] = 1;
  return comparison;
}

Json with(Json comparison, const char* key, const Json& value) {
  comparison[key] = value;
  return comparison;
}

ComparisonPlan plan_of(const Json& comparison) {
  return plan_comparison(config_from_json(comparison, "c.json"));
}

class Waves : public ::testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  bool run(const std::string& name, const Json& comparison, const CompareHooks& hooks = {}) {
    ComparisonPlan plan = plan_of(comparison);
    plan.basics.jobs = 2;
    return compare(plan, path(name), "sae compare c.json", hooks).finished;
  }

  /// How many runs have a folder when the first chunk has been trained.
  std::size_t first_wave(const std::string& name, const Json& comparison) {
    std::size_t folders = 0;
    run(name, comparison, {.on_progress = [&](auto, auto, auto) {
          const auto entries = fs::directory_iterator(path(name) / "runs");
          if (folders == 0) folders = static_cast<std::size_t>(std::distance(entries, {}));
        }});
    return folders;
  }

  void expect_same(const std::string& a, const std::string& b, const Json& comparison) {
    for (const PlannedRun& run : plan_of(comparison).runs) {
      SCOPED_TRACE(a + " and " + b + ": " + run.name);
      const fs::path left = path(a) / "runs" / run.name;
      const fs::path right = path(b) / "runs" / run.name;
      ASSERT_TRUE(fs::exists(left / "summary.json") && fs::exists(right / "summary.json"));
      EXPECT_EQ(logged(left), logged(right));
      expect_same_file(left / "sae" / "sae.safetensors", right / "sae" / "sae.safetensors");
      EXPECT_EQ(parsed(left / "summary.json")["metrics"],
                parsed(right / "summary.json")["metrics"]);
    }
  }

  std::string complaint(const Json& comparison) {
    try {
      run("wrong", comparison);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "none";
  }

 private:
  TemporaryFolder folder_;
};

/// What so many of the first runs of the only cohort take together on two threads.
std::int64_t memory_for(std::size_t count, const Json& comparison) {
  const ComparisonPlan plan = plan_of(comparison);
  std::vector<Entrant> entrants;
  for (const PlannedRun& run : plan.runs) entrants.push_back(make_entrant(run, "nowhere"));
  ComparisonData data;
  const std::vector<Cohort> cohorts = make_cohorts(entrants, data);
  EXPECT_EQ(cohorts.size(), 1U);
  std::int64_t bytes = batch_memory(cohorts.front());
  std::vector<std::int64_t> working;
  for (std::size_t i = 0; i < count; ++i) {
    const RunMemory one = estimate_memory(plan.runs[i].options, cohorts.front().data);
    bytes += one.held;
    working.push_back(one.working);
  }
  std::sort(working.rbegin(), working.rend());
  for (std::size_t i = 0; i < std::min<std::size_t>(2, count); ++i) bytes += working[i];
  return bytes;
}

TEST_F(Waves, GiveTheSameBytesWhateverTheMemory) {
  const Json all = one_cohort(100);
  EXPECT_EQ(first_wave("all", all), 4U);
  for (const std::size_t size : {1, 2, 3}) {
    const std::string bytes = std::to_string(memory_for(size, all)) + "B";
    const std::string name = "waves of " + std::to_string(size);
    EXPECT_EQ(first_wave(name, with(all, "memory", bytes)), size);
    expect_same("all", name, all);
  }
}

TEST_F(Waves, OfSeveralGroupsGiveTheSameBytes) {
  run("all", four_runs());
  EXPECT_EQ(first_wave("ones", with(four_runs(), "memory", "1B")), 1U);
  expect_same("all", "ones", four_runs());
}

TEST_F(Waves, StoppedInTheSecondAndContinuedWithOtherMemoryEqualUninterrupted) {
  const Json all = one_cohort(150);
  run("all", all);
  std::int64_t done = 0;
  std::int64_t before = 0;
  int chunks = 0;
  const CompareHooks stop = {.on_progress =
                                 [&](std::int64_t steps, std::int64_t total, std::int64_t) {
                                   EXPECT_EQ(total, 4 * 150);
                                   EXPECT_GT(steps, done);
                                   done = steps;
                                 },
                             .should_stop = [&] { return ++chunks == 5; }};
  EXPECT_FALSE(run("parts", with(all, "memory", "1B"), stop));
  EXPECT_EQ(done, 150 + 128) << "a wave of one run, and two chunks of the next";
  EXPECT_FALSE(fs::exists(path("parts") / "runs" / "batch-seed5")) << "of a later wave";
  const CompareHooks watch = {.on_progress = [&](std::int64_t steps, auto, std::int64_t finished) {
    EXPECT_GE(finished, 1);
    if (before == 0) before = steps;
  }};
  EXPECT_TRUE(run("parts", with(all, "memory", 0.5), watch));
  EXPECT_GT(before, done) << "what was done before the stop counts";
  expect_same("all", "parts", all);
}

TEST_F(Waves, DrawEachBatchOnce) {
  /// Hands out another's batches and notes their positions.
  class Counting : public ActivationSource {
   public:
    Counting(std::unique_ptr<ActivationSource> source, std::multiset<std::int64_t>& drawn)
        : source_(std::move(source)), drawn_(drawn) {}
    std::int64_t d_in() const override { return source_->d_in(); }
    at::Tensor next(std::int64_t count) override {
      if (count == 32) drawn_.insert(position());
      return source_->next(count);
    }
    std::int64_t position() const override { return source_->position(); }
    void seek(std::int64_t position) override { source_->seek(position); }
    std::string description() const override { return source_->description(); }

   private:
    std::unique_ptr<ActivationSource> source_;
    std::multiset<std::int64_t>& drawn_;
  };
  const ComparisonPlan plan = plan_of(one_cohort(100));
  std::vector<Entrant> entrants;
  for (const PlannedRun& one : plan.runs) entrants.push_back(make_entrant(one, path(one.name)));
  ComparisonData data;
  std::vector<Cohort> cohorts = make_cohorts(entrants, data);
  std::multiset<std::int64_t> drawn;
  cohorts.front().data.train = [&drawn, train = cohorts.front().data.train] {
    return std::make_unique<Counting>(train(), drawn);
  };
  train_wave(cohorts.front(), cohorts.front().entrants, 2, [] { return true; });
  for (std::int64_t step = 0; step < 100; ++step) EXPECT_EQ(drawn.count(step * 32), 1U) << step;
}

TEST_F(Waves, DevicesShareTheRunsAndGiveTheSameBytes) {
  const Json all = four_runs(100);
  const Json two = with(all, "devices", {"cpu", "cpu"});
  const ComparisonPlan plan = plan_of(two);
  EXPECT_EQ(plan.queues, (std::vector<std::string>{"cpu", "cpu"}));
  std::vector<std::size_t> queues;
  for (const PlannedRun& one : plan.runs) queues.push_back(one.queue);
  EXPECT_EQ(queues, (std::vector<std::size_t>{0, 1, 0, 1}));
  EXPECT_TRUE(run("all", all));
  EXPECT_TRUE(run("two", two));
  expect_same("all", "two", all);
  EXPECT_TRUE(run("two ones", with(two, "memory", "1B")));
  expect_same("all", "two ones", all);
}

TEST_F(Waves, DevicesAreStoppedTogetherAndGoOn) {
  const Json all = one_cohort(200);
  const Json two = with(with(all, "devices", {"cpu", "cpu", "cpu"}), "memory", "1B");
  run("all", all);
  std::atomic<int> chunks = 0;
  EXPECT_FALSE(run("parts", two, {.should_stop = [&] { return ++chunks == 3; }}));
  EXPECT_EQ(chunks, 3) << "nobody is asked again";
  EXPECT_TRUE(run("parts", with(all, "memory", "2B")));
  expect_same("all", "parts", all);
}

TEST_F(Waves, WithoutAListOfDevicesEachRunKeepsItsOwn) {
  Json comparison = four_runs(2);
  comparison["members"][1]["config"]["device"] = "auto";
  const ComparisonPlan plan = plan_of(comparison);
  EXPECT_EQ(plan.queues, (std::vector<std::string>{"cpu", "auto"}));
  EXPECT_EQ(plan.runs.back().queue, 1U);
  EXPECT_EQ(plan.runs.back().options.basics.device, "auto");
  EXPECT_TRUE(run("c", comparison));
}

TEST_F(Waves, AFailureOfOneRunLeavesTheOthersSaved) {
  Json comparison = one_cohort(200);
  const fs::path runs = path("c") / "runs";
  bool broken = false;
  comparison["members"][0]["config"] = {{"train", {{"checkpoint_every", 70}}}};
  const CompareHooks break_one = {.on_progress = [&](auto, auto, auto) {
    if (broken) return;
    broken = true;
    write_text(runs / "plain-seed5" / "checkpoints", "a file where a folder is to be");
  }};
  EXPECT_THROW(run("c", comparison, break_one), std::exception);
  EXPECT_FALSE(newest_checkpoint(runs / "plain-seed5" / "checkpoints"));
  for (const char* other : {"plain-seed6", "batch-seed5", "batch-seed6"}) {
    const auto saved = newest_checkpoint(runs / other / "checkpoints");
    ASSERT_TRUE(saved) << other;
    EXPECT_EQ(checkpoint_step(*saved), 128) << other;
  }
  fs::remove(runs / "plain-seed5" / "checkpoints");
  EXPECT_TRUE(run("c", comparison));
  run("whole", comparison);
  expect_same("whole", "c", comparison);
}

TEST_F(Waves, AFailureOnOneDeviceStopsTheOthersAtTheirNextChunk) {
  Json comparison = with(one_cohort(1000), "devices", {"cpu", "cpu"});
  const fs::path runs = path("c") / "runs";
  const CompareHooks break_one = {.on_progress = [&](auto, auto, auto) {
    const fs::path place = runs / "plain-seed5" / "checkpoints";
    if (!fs::exists(place)) write_text(place, "in the way");
  }};
  comparison["members"][0]["config"] = {{"train", {{"checkpoint_every", 100}}}};
  EXPECT_THROW(run("c", comparison, break_one), std::exception);
  const auto saved = newest_checkpoint(runs / "batch-seed6" / "checkpoints");
  ASSERT_TRUE(saved);
  EXPECT_LT(checkpoint_step(*saved), 1000);
}

TEST_F(Waves, ADivergingRunStopsNoOtherInItsWaveOrLater) {
  Json comparison = one_cohort(60);
  comparison["members"][0]["config"] = {{"train", {{"lr", 1e4}, {"lr_warmup_steps", 0}}}};
  comparison["memory"] = "1B";
  std::int64_t done = 0, finished = 0;
  EXPECT_TRUE(run("c", comparison, {.on_progress = [&](auto steps, auto, auto over) {
                    done = steps;
                    finished = over;
                  }}));
  EXPECT_EQ(done, 4 * 60);
  EXPECT_EQ(finished, 4);
  EXPECT_TRUE(fs::exists(path("c") / "runs" / "plain-seed5" / "failure.txt"));
  EXPECT_TRUE(fs::exists(path("c") / "runs" / "batch-seed6" / "summary.json"));
}

TEST_F(Waves, MemoryAndDevicesMayChangeWhenAComparisonGoesOn) {
  EXPECT_TRUE(run("c", four_runs(2)));
  EXPECT_TRUE(run("c", with(with(four_runs(2), "memory", "3GB"), "devices", {"cpu", "cpu"})));
}

TEST_F(Waves, SayBeforehandThatARunExceedsTheMemoryGiven) {
  std::vector<std::string> warnings;
  const CompareHooks hooks = {.on_notice = [&](const Notice& notice) {
    if (notice.text.starts_with("memory")) warnings.push_back(notice.text);
  }};
  EXPECT_TRUE(run("enough", one_cohort(2), hooks));
  EXPECT_TRUE(warnings.empty());
  EXPECT_TRUE(run("little", with(one_cohort(2), "memory", "50kB"), hooks));
  ASSERT_EQ(warnings.size(), 1U) << "not one for each run";
  EXPECT_EQ(warnings[0].find("memory: 4 runs need more than the 50.0 kB that may be taken ("), 0U)
      << warnings[0];
  EXPECT_TRUE(run("little", with(one_cohort(2), "memory", "50kB"), hooks));
  EXPECT_EQ(warnings.size(), 1U) << "there is nothing left to train";
}

TEST_F(Waves, RefuseARunThatTheMachineCannotHoldBeforeAnythingIsTrained) {
  Json comparison = one_cohort(2);
  comparison["members"].push_back(
      {{"name", "huge"}, {"config", {{"model", {{"d_sae", 10'000'000'000}}}}}});
  const std::string message = complaint(comparison);
  EXPECT_EQ(message.find("runs/huge-seed5: needs 6.72 TB"), 0U) << message;
  EXPECT_NE(message.find("cpu has"), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(path("wrong") / "runs"));
}

TEST_F(Waves, OptionsThatMakeNoSenseAreRefusedWithTheirPlace) {
  EXPECT_EQ(complaint(with(four_runs(), "memory", 0)),
            "c.json: memory: got 0, expected a share of the free memory above 0 and at most 1, or "
            "a size such as \"24GB\" or \"512MiB\"");
  EXPECT_NE(complaint(with(four_runs(), "memory", "lots")).find("got \"lots\""), std::string::npos);
  EXPECT_NE(complaint(with(four_runs(), "devices", "cpu")).find("devices: got \"cpu\""),
            std::string::npos);
  EXPECT_NE(complaint(with(four_runs(), "devices", {"cpu", "tpu"})).find("got 'tpu'"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(path("wrong") / "runs"));
}

TEST_F(Waves, EvaluationsGiveTheSameNumbersOneAtATime) {
  Json comparison = four_runs(5);
  comparison["evaluate"] = {{"controls", {"random"}}};
  run("all", comparison);
  run("ones", with(comparison, "memory", "1B"));
  const auto metrics = [&](const std::string& name) {
    Json all = Json::array();
    const Json results = parsed(path(name) / "results.json");
    for (const char* list : {"runs", "controls"}) {
      for (const Json& run : results.at(list)) all.push_back(run.at("metrics"));
    }
    return all;
  };
  EXPECT_EQ(metrics("all").size(), 4U + 1) << "four runs and a control";
  EXPECT_EQ(metrics("all"), metrics("ones"));
}

TEST(JobsThatFit, AreAtLeastOneAndAtMostTheThreads) {
  ComparisonPlan plan;
  plan.queues = {"cpu"};
  plan.memory.bytes = 100;
  EXPECT_EQ(jobs_that_fit(plan, 30, 8), 3U);
  EXPECT_EQ(jobs_that_fit(plan, 30, 2), 2U);
  EXPECT_EQ(jobs_that_fit(plan, 1000, 2), 1U);
  EXPECT_EQ(jobs_that_fit(plan, 0, 2), 2U);
}

TEST(SizeText, IsShort) {
  EXPECT_EQ(size_text(12), "12.0 B");
  EXPECT_EQ(size_text(999'400), "999 kB");
  EXPECT_EQ(size_text(3'210'000'000), "3.21 GB");
  EXPECT_EQ(size_text(95'000'000'000'000), "95.0 TB");
}

}  // namespace
}  // namespace sae

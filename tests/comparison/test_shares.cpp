#include <algorithm>
#include <set>

#include "sae/base/error.h"
#include "sae/comparison/compare.h"
#include "support/command_testing.h"
#include "support/labelled_testing.h"
#include "support/other_process.h"
#include "support/run_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

ComparisonPlan plan(const Json& comparison) {
  return plan_comparison(config_from_json(comparison, "c.json"));
}

TEST(Share, IsReadStrictly) {
  const Share third = share_named("3/16");
  EXPECT_EQ(third.index, 3);
  EXPECT_EQ(third.count, 16);
  EXPECT_EQ(name_of(third), "3/16");
  EXPECT_FALSE(third.is_whole());
  EXPECT_TRUE(share_named("1/1").is_whole());
  for (const char* text : {"", "3", "/", "0/4", "5/4", "-1/4", "1/0", "1/4x", " 1/4", "1/-4", "a/b",
                           "1/99999999999999999999"}) {
    try {
      share_named(text);
      ADD_FAILURE() << text;
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.what(),
                "--share: got '" + std::string(text) +
                    "', expected i/n with i from 1 to n, such as 3/16: the third of 16");
    }
  }
}

/// Runs of three widths and two lengths, three seeds, in no order of cost.
Json uneven_comparison() {
  return {{"base", tiny_config(Json{{"architecture", "topk"}, {"k", 2}}, 30)},
          {"seeds", {0, 1, 2}},
          {"axes", {{"model.d_sae", {16, 64, 32}}, {"train.steps", {10, 30}}}},
          {"members", {{{"name", "topk"}, {"config", Json::object()}}}}};
}

TEST(Share, SharesTogetherHaveEachRunOnceAndCostAboutTheSame) {
  const ComparisonPlan whole = plan(uneven_comparison());
  ASSERT_EQ(whole.runs.size(), 18U);
  const auto cost = [&](std::size_t run) {
    const Json options = resolve_run(whole.runs[run].options);
    return options["model"]["d_sae"].get<double>() * options["train"]["steps"].get<double>();
  };
  double most = 0;
  for (std::size_t run = 0; run < whole.runs.size(); ++run) most = std::max(most, cost(run));
  for (const std::int64_t count : {1, 2, 3, 5, 18, 20}) {
    std::multiset<std::size_t> all;
    std::vector<double> costs;
    for (std::int64_t index = 1; index <= count; ++index) {
      const std::vector<std::size_t> own = runs_of(whole, {index, count});
      EXPECT_TRUE(std::is_sorted(own.begin(), own.end()));
      all.insert(own.begin(), own.end());
      costs.push_back(0);
      for (const std::size_t run : own) costs.back() += cost(run);
    }
    EXPECT_EQ(all.size(), whole.runs.size()) << count;
    EXPECT_EQ(std::set<std::size_t>(all.begin(), all.end()).size(), whole.runs.size()) << count;
    const auto [least, greatest] = std::minmax_element(costs.begin(), costs.end());
    EXPECT_LE(*greatest - *least, most) << "of " << count << " shares: at most the dearest run";
  }
  EXPECT_TRUE(runs_of(whole, {19, 20}).empty());
}

class Shares : public CommandTest {
 protected:
  void SetUp() override {
    write_labelled(path("words.safetensors"), axis_classes());
    Json base = tiny_config(Json{{"d_sae", 24}}, 60);
    base["train"]["checkpoint_every"] = 30;
    base["eval"] = {{"tokens", 400}};
    config_ = {{"title", "Shared"},
               {"levels", {1, 2}},
               {"seeds", {0, 1}},
               {"base", base},
               {"members",
                {{{"name", "topk"},
                  {"level", "model.k"},
                  {"config", {{"model", {{"architecture", "topk"}}}}}},
                 {{"name", "batch"},
                  {"level", "model.k"},
                  {"config", {{"model", {{"architecture", "batch_topk"}}}}}}}},
               {"evaluate",
                {{"words", path("words.safetensors").string()},
                 {"controls", {"identity", "random"}},
                 {"absorption",
                  {{"min_feats_for_eval", 2}, {"l1_batch_size", 16}, {"probe_batch_size", 8}}}}}};
    file_ = write_config(config_);
  }

  std::vector<std::string> command(const std::string& out, const std::string& share = "") const {
    std::vector<std::string> words{"compare", file_, "--out", path(out), "--threads", "1"};
    if (!share.empty()) words.insert(words.end(), {"--share", share});
    return words;
  }

  pid_t begin(const std::string& out, const std::string& share) const {
    const std::string name = share.substr(0, 1);
    return start(command(out, share), path("out" + name), path("err" + name));
  }

  /// What a comparison found, without what each process measures anew.
  Json found(const std::string& out) const {
    Json results = parsed(path(out) / "results.json");
    for (const char* runs : {"runs", "controls"}) {
      for (Json& run : results[runs]) run.erase("wall_s");
    }
    for (Json& run : results["runs"]) {
      for (Json& row : run["history"]) row.erase("tokens_per_s");
    }
    return results;
  }

  void expect_same_as_one_process(const std::string& out) const {
    ASSERT_EQ(sae(command("one")).status, 0);
    const Json one = found("one");
    EXPECT_EQ(one["runs"].size(), 8U);
    EXPECT_EQ(one["controls"].size(), 3U);
    EXPECT_EQ(found(out), one);
    for (const PlannedRun& run : plan(config_).runs) {
      expect_same_run(path(out) / "runs" / run.name, path("one") / "runs" / run.name);
    }
  }

  Json config_;
  std::string file_;
};

TEST_F(Shares, SideBySideGiveTheResultsOfOneProcess) {
  std::vector<pid_t> processes;
  for (const char* share : {"1/3", "2/3", "3/3"}) processes.push_back(begin("shared", share));
  for (const pid_t process : processes) EXPECT_EQ(finish(process).status, 0);
  EXPECT_EQ(read_file(path("out2")),
            "share 2/3: its 3 of 8 runs are trained and evaluated; when all shares are:\n  " +
                std::string(SAE_COMMAND) + " compare " + file_ + " --out " +
                path("shared").string() + " --threads 1\n");
  for (const PlannedRun& run : plan(config_).runs) {
    EXPECT_TRUE(fs::exists(path("shared") / "runs" / run.name / "evaluation.json")) << run.name;
  }
  EXPECT_FALSE(fs::exists(path("shared") / "results.json")) << "a share does not report";
  const auto trained = fs::last_write_time(path("shared") / "runs" / "topk-1-seed0" / "sae");
  ASSERT_EQ(sae(command("shared")).status, 0);
  EXPECT_EQ(fs::last_write_time(path("shared") / "runs" / "topk-1-seed0" / "sae"), trained);
  for (const auto& entry : fs::directory_iterator(path("shared"))) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
  }
  expect_same_as_one_process("shared");
}

TEST_F(Shares, KilledGoOnWhenStartedAgainAndTheWholeDoesWhatIsLeft) {
  config_["base"]["train"]["steps"] = 1000;
  config_["base"]["train"]["checkpoint_every"] = 250;
  file_ = write_config(config_);
  const pid_t process = begin("shared", "1/2");
  wait_for_log(path("shared") / "runs" / "topk-1-seed0");
  kill(process, SIGKILL);
  finish(process);
  const CommandResult again = sae(command("shared", "1/2"));
  ASSERT_EQ(again.status, 0) << again.err;
  // Nobody begins the second share: the whole trains its runs.
  ASSERT_EQ(sae(command("shared")).status, 0);
  expect_same_as_one_process("shared");
}

TEST_F(Shares, PrintTheResultsOfTheirOwnRuns) {
  std::vector<std::string> words = command("shared", "2/8");
  words.emplace_back("--json");
  const CommandResult result = sae(words);
  ASSERT_EQ(result.status, 0) << result.err;
  const Json own = Json::parse(result.out);
  ASSERT_EQ(own["runs"].size(), 1U);
  EXPECT_EQ(own["runs"][0]["name"], plan(config_).runs[1].name);
  const CommandResult none = sae(command("shared", "9/9"));
  EXPECT_EQ(none.status, 0) << none.err;
  EXPECT_EQ(none.out.find("share 9/9: its 0 of 8 runs"), 0U) << none.out;
}

TEST_F(Shares, AFolderIsWrittenByOneOfEachShareOrByOneOfTheWhole) {
  const fs::path folder = path("shared");
  std::optional<FolderLock> lock;
  {
    const OtherProcess same([&] { lock.emplace(FolderLock::beside(folder / "share-1-of-2")); });
    expect_error(
        2, "share-1-of-2: another process is writing it: process " + std::to_string(same.pid()),
        command("shared", "1/2"));
    expect_error(2, "share-1-of-2: another process is writing it", command("shared"));
    EXPECT_EQ(sae(command("shared", "2/2")).status, 0) << "the other share";
  }
  {
    const OtherWriter whole(folder);
    expect_error(2, folder.string() + ": another process is writing it", command("shared", "1/2"));
  }
  {
    const OtherWriter run(folder / "runs" / "topk-1-seed0");
    expect_error(2, "topk-1-seed0: another process is writing it", command("shared", "1/2"));
  }
  EXPECT_EQ(sae(command("shared")).status, 0) << "the locks of the killed are in nobody's way";
  expect_error(2, "--share: got '0/2', expected i/n", command("shared", "0/2"));
}

TEST_F(Shares, OfUnlikeConfigurationsAreRefused) {
  ASSERT_EQ(sae(command("shared", "1/2")).status, 0);
  config_["base"]["train"]["lr"] = 1e-4;
  file_ = write_config(config_, "other.json");
  expect_error(2, "holds a comparison with another base", command("shared", "2/2"));
}

}  // namespace
}  // namespace sae

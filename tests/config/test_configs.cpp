// Every configuration that ships with the project.
#include <algorithm>

#include "sae/base/error.h"
#include "sae/comparison/compare.h"
#include "sae/models/architectures.h"
#include "sae/tools/config_reference.h"
#include "support/run_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files(const std::string& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(fs::path(SAE_SOURCE_DIR) / folder)) {
    if (entry.path().extension() == ".json") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

void expect_round_trip(const RunOptions& options, const std::string& name) {
  const Json resolved = resolve_run(options);
  EXPECT_EQ(resolve_run(read_run(config_from_json(resolved, name))), resolved) << name;
}

TEST(Configs, OfRunsAreValidAndResolveToThemselves) {
  for (const char* folder : {"configs", "configs/minilm"}) {
    const auto all = files(folder);
    ASSERT_FALSE(all.empty());
    for (const fs::path& file : all) {
      SCOPED_TRACE(file);
      expect_round_trip(read_run(read_config(file.string())), file.string());
    }
  }
}

TEST(Configs, EveryArchitectureHasOneOfItsNameOnSyntheticAndOnRealData) {
  for (const std::string& name : architecture_names()) {
    for (const char* folder : {"configs", "configs/minilm"}) {
      const fs::path file = fs::path(SAE_SOURCE_DIR) / folder / (name + ".json");
      ASSERT_TRUE(fs::exists(file)) << file;
      EXPECT_EQ(read_config(file.string()).at("model").string_at("architecture"), name);
    }
  }
}

TEST(Configs, OfComparisonsAreValidAndHaveAllMembers) {
  const auto all = files("configs/compare");
  ASSERT_FALSE(all.empty());
  for (const fs::path& file : all) {
    SCOPED_TRACE(file);
    const ComparisonPlan plan = plan_comparison(read_config(file.string()));
    for (const PlannedRun& run : plan.runs) expect_round_trip(run.options, run.name);
    for (const std::string& name : architecture_names()) {
      EXPECT_TRUE(std::any_of(plan.members.begin(), plan.members.end(), [&](const Member& one) {
        return one.architecture == name;
      })) << name;
    }
    const bool nested = std::any_of(
        plan.members.begin(), plan.members.end(),
        [](const Member& one) { return one.masked && one.architecture == "batch_topk"; });
    EXPECT_TRUE(nested);
  }
}

TEST(Configs, OfAblationsAreValidVaryAnAxisAndHaveSeedsAndLevels) {
  const auto all = files("configs/ablations");
  ASSERT_FALSE(all.empty());
  for (const fs::path& file : all) {
    SCOPED_TRACE(file);
    const ComparisonPlan plan = plan_comparison(read_config(file.string()));
    for (const Notice& notice : plan.notices) ADD_FAILURE() << notice.text;
    EXPECT_GE(plan.basics.seeds.size(), 3U);
    EXPECT_GE(plan.basics.levels.size(), 2U);
    EXPECT_TRUE(std::any_of(plan.members.begin(), plan.members.end(),
                            [](const Member& one) { return !one.axes.empty(); }));
  }
}

TEST(Configs, OfStudiesAreValidAndHaveControls) {
  const auto all = files("configs/studies");
  ASSERT_FALSE(all.empty());
  for (const fs::path& file : all) {
    SCOPED_TRACE(file);
    const ComparisonPlan plan = plan_comparison(read_config(file.string()));
    for (const Notice& notice : plan.notices) ADD_FAILURE() << notice.text;
    for (const PlannedRun& run : plan.runs) expect_round_trip(run.options, run.name);
    EXPECT_TRUE(plan.evaluation && !plan.evaluation->controls.empty());
  }
}

TEST(Configs, BatchesAreAblatedAtEqualTokens) {
  const std::string file = std::string(SAE_SOURCE_DIR) + "/configs/ablations/decay_batch.json";
  for (const PlannedRun& run : plan_comparison(read_config(file)).runs) {
    const Json train = resolve_run(run.options)["train"];
    EXPECT_EQ(train["batch"].get<int>() * train["steps"].get<int>(), 3000 * 512) << run.name;
  }
}

TEST(Configs, QuickHasThreeLevelsAndFullHasFiveSeedsAndSixLevels) {
  const auto plan = [](const char* name) {
    return plan_comparison(read_config(std::string(SAE_SOURCE_DIR) + "/configs/compare/" + name));
  };
  EXPECT_EQ(plan("quick.json").runs.size(), 9U * 3);
  EXPECT_EQ(plan("full.json").runs.size(), 9U * 6 * 5);
}

TEST(Configs, ThePapersSettingIsThePapers) {
  const Json config = resolve_run(
      read_run(read_config(std::string(SAE_SOURCE_DIR) + "/configs/gemma-2-2b-layer12.json")));
  EXPECT_EQ(config["model"]["architecture"], "atm");
  EXPECT_EQ(config["model"]["d_in"], 2304);
  EXPECT_EQ(config["model"]["d_sae"], 16384);
  EXPECT_EQ(config["model"]["sparsity"], 1e-3);
  EXPECT_EQ(config["model"]["mask"]["decay"], 0.99);
  EXPECT_EQ(config["model"]["mask"]["rate"], 0.5);
  EXPECT_EQ(config["model"]["mask"]["warmup_steps"], 1000);
  EXPECT_EQ(config["train"]["tokens"], 5'000'000);
  EXPECT_EQ(config["train"]["lr"], 3e-4);
}

TEST(ConfigReference, DocumentsEveryOptionOfTheResolvedConfiguration) {
  const std::string text = config_reference();
  std::vector<std::pair<std::string, Json>> open = {
      {"", resolve_run(read_run(read_config(std::string(SAE_SOURCE_DIR) + "/configs/atm.json")))}};
  int options = 0;
  while (!open.empty()) {
    const auto [path, value] = open.back();
    open.pop_back();
    if (value.is_object()) {
      for (const auto& [key, child] : value.items()) {
        open.emplace_back(path.empty() ? key : path + "." + key, child);
      }
    } else if (path != "model.architecture" && path != "data.kind") {
      ++options;
      EXPECT_NE(text.find(path), std::string::npos) << path;
    }
  }
  EXPECT_GT(options, 60);
}

TEST(ConfigReference, KnowsItsSectionsAndSuggests) {
  EXPECT_NE(config_reference("topk").find("model.k"), std::string::npos);
  EXPECT_EQ(config_reference("topk").find("train.lr"), std::string::npos);
  for (const char* name : {"run", "model", "data", "train", "eval", "compare"}) {
    EXPECT_FALSE(config_reference(name).empty()) << name;
  }
  try {
    config_reference("trian");
    FAIL() << "no error";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean 'train'?"), std::string::npos);
  }
}

TEST(ConfigReference, SchemaKnowsTheGroups) {
  const Json schema = config_schema();
  for (const char* group : {"model", "data", "train", "eval", "seed", "device"}) {
    EXPECT_TRUE(schema["properties"].contains(group)) << group;
  }
}

}  // namespace
}  // namespace sae

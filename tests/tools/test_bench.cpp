#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sae/base/error.h"
#include "sae/models/architectures.h"
#include "sae/tools/bench.h"
#include "sae/tools/synth.h"
#include "support/run_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

BenchOptions brief() {
  BenchOptions options;
  options.steps = 2;
  options.threads = 1;
  options.device = test_device();
  options.kernels = *choice_named<DeviceKernels>(test_kernels());
  return options;
}

TEST(Bench, MeasuresEveryArchitectureInAStateWithTheL0AskedFor) {
  for (const std::string& name : architecture_names()) {
    const BenchResult result = bench({name, 32, 512, 8, 256}, brief());
    // ATM's mask takes some away.
    EXPECT_GT(result.l0, name == "atm" ? 1 : 5) << name;
    EXPECT_LE(result.l0, 11) << name;
    EXPECT_GT(result.gemms_per_step(), 0.1) << name;
  }
}

TEST(Bench, ReportsWhatItPromises) {
  BenchOptions options = brief();
  options.screening = Screening::kOn;
  const Json json = to_json(bench({"topk", 32, 512, 8, 256}, options));
  for (const char* field : {"arch", "d", "n", "k", "batch", "step_s", "tokens_per_s", "gemm_s",
                            "gemms_per_step", "peak_rss_mib", "l0", "stages", "floor_share"}) {
    EXPECT_TRUE(json.contains(field)) << field;
  }
  EXPECT_EQ(json["l0"], 8);
  EXPECT_EQ(json["screened"], test_device() == "cpu");
  EXPECT_GT(json["peak_rss_mib"], 20);
  double stages = 0;
  for (const char* stage : {"encode", "select", "decode", "backward", "optimizer"}) {
    EXPECT_GT(json["stages"][stage], 0) << stage;
  }
  for (const auto& [name, seconds] : json["stages"].items()) stages += seconds.get<double>();
  EXPECT_LT(stages, 3 * json["step_s"].get<double>());
}

TEST(Bench, TakesItsBatchesFromAStoreIfAskedTo) {
  const TemporaryFolder folder;
  write_world(read_synth("tiny", 500, {}), folder.path() / "store");
  BenchOptions options = brief();
  options.data = (folder.path() / "store").string();
  const std::int64_t width = parsed(folder.path() / "store" / "manifest.json")["d_in"];
  const Json json = to_json(bench({"topk", width, 64, 2, 50}, options));
  EXPECT_GT(json["stages"]["data"], 0);
  EXPECT_THROW(bench({"topk", width + 1, 64, 2, 50}, options), DataError);
  // Of many cases the last one's mistake is found before the first is timed.
  const BenchCase good{"topk", width, 64, 2, 50};
  EXPECT_NO_THROW(require_measurable({good, good}, options));
  EXPECT_THROW(require_measurable({good, {"topk", width + 1, 64, 2, 50}}, options), DataError);
  EXPECT_THROW(require_measurable({good, {"topk", width, 64, 65, 50}}, options), ConfigError);
  options.data += "-absent";
  EXPECT_THROW(require_measurable({good}, options), DataError);
}

TEST(Bench, RefusesShapesThatAreNone) {
  EXPECT_THROW(bench({"topk", 0, 64, 2, 50}, brief()), ConfigError);
  EXPECT_THROW(bench({"topk", 8, 64, 0, 50}, brief()), ConfigError);
}

TEST(Bench, CheckFailsWhereAStepCostsMoreThanRecorded) {
  const TemporaryFolder folder;
  Json one = {{"arch", "topk"}, {"d", 32},      {"n", 512},
              {"k", 8},         {"batch", 256}, {"screening", "off"}};
  std::vector<std::string> lines;
  const auto check = [&](double recorded) {
    one["gemms_per_step"] = recorded;
    write_text(folder.path() / "bench.json", Json{{"tolerance", 1.5}, {"cases", {one}}}.dump());
    return check_bench((folder.path() / "bench.json").string(), brief(),
                       [&](const std::string& line) { lines.push_back(line); });
  };
  EXPECT_TRUE(check(1e6));
  EXPECT_FALSE(check(1e-6));
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_NE(lines[1].find("too slow"), std::string::npos);
  one["gems"] = 1;
  EXPECT_THROW(check(1), ConfigError);
}

}  // namespace
}  // namespace sae

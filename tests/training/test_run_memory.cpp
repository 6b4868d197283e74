#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <thread>

#include "support/run_testing.h"
#include "support/temporary_folder.h"
#include "tools/bench/peak_memory.h"
#include "training/run_memory.h"

namespace sae {
namespace {

/// Wide enough for its tensors to outweigh what the libraries allocate.
Json wide_config(const Json& model) {
  Json config = tiny_config(Json{{"d_sae", 4096}, {"dead_after_tokens", 1000}}, 3);
  config["model"].update(model);
  config["data"]["d_in"] = 128;
  config["train"].update(Json{{"batch", 512}, {"checkpoint_every", 0}});
  config["eval"] = {{"tokens", 256}, {"batch", 256}};
  return config;
}

/// Bytes that this process grew by, at most, while the run was trained to its end.
double measured(const RunOptions& options, const Data& data, const std::filesystem::path& folder) {
  double grown = 0;
  std::thread([&] {  // a thread of its own: what it keeps for reuse goes with it
    at::set_num_threads(1);
    reset_peak_memory();
    const double before = peak_memory_mib();
    TrainingRun run(options, data, folder, /*resume=*/false);
    run.calibrate();
    const auto source = data.train();
    while (!run.finished()) run.step(source->next(options.train.train.batch));
    run.finish();
    grown = peak_memory_mib() - before;
  })
      .join();
  return grown * (1 << 20);
}

TEST(RunMemory, IsEstimatedNotBelowHalfNorFarAboveWhatARunTakes) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer keeps freed memory";
#endif
  const Json mask = {{"warmup_steps", 1}};
  const std::vector<std::pair<std::string, Json>> models = {
      {"topk", {{"architecture", "topk"}, {"k", 32}}},
      {"topk without AuxK", {{"architecture", "topk"}, {"k", 32}, {"aux_coefficient", 0}}},
      {"batch_topk", {{"architecture", "batch_topk"}, {"k", 32}}},
      {"matryoshka", {{"architecture", "matryoshka"}, {"k", 32}}},
      {"standard", {{"architecture", "standard"}, {"decoder_norm", "free"}}},
      {"atm", {{"architecture", "atm"}, {"mask", mask}}},
      {"jumprelu", {{"architecture", "jumprelu"}, {"target_l0", 30}, {"threshold_init", 1e-6}}},
  };
  TemporaryFolder folder;
  const RunOptions warm_up = tiny_run(wide_config(models.front().second));
  const Data data = open_data(warm_up.data, 0);
  measured(warm_up, data, folder.path() / "warm up");
  for (const auto& [name, model] : models) {
    const RunOptions options = tiny_run(wide_config(model));
    const RunMemory estimate = estimate_memory(options, data);
    const double grown = measured(options, data, folder.path() / name);
    if (grown <= 0) GTEST_SKIP() << "this system does not tell a process its peak";
    const double ratio = static_cast<double>(estimate.held + estimate.working) / grown;
    EXPECT_GT(ratio, 0.5) << name;
    EXPECT_LT(ratio, 2.5) << name;  // the heap may have had room before
  }
}

TEST(RunMemory, GrowsAsItsPartsDo) {
  const auto of = [](const std::string& set) {
    const ConfigNode config = config_from_json(wide_config({{"architecture", "atm"}}), "test");
    const RunOptions options = read_run(set.empty() ? config : with_set(config, set));
    return estimate_memory(options, open_data(options.data, 0));
  };
  const RunMemory usual = of("");
  EXPECT_NEAR(static_cast<double>(of("model.d_sae=8192").held), 2.0 * usual.held,
              0.01 * usual.held);
  EXPECT_LT(of("train.accumulate=8").working, usual.working / 2);
  EXPECT_EQ(of("train.accumulate=8").held, usual.held);
  // Of 6 F D a frozen matrix has no moments, 2 F D; what rows are held to is one more.
  for (const char* freeze : {"decoder", "encoder"}) {
    EXPECT_NEAR(static_cast<double>(of(std::string("model.freeze=") + freeze).held),
                usual.held * 4.0 / 6, 0.02 * usual.held);
  }
  EXPECT_NEAR(static_cast<double>(of("model.freeze=soft_decoder").held), usual.held * 7.0 / 6,
              0.02 * usual.held);
  EXPECT_GT(of("train.batch=2048").working, usual.working * 3);
  EXPECT_GT(of("eval.batch=65536").working, usual.working * 3);
  EXPECT_GT(of("train.calibration_tokens=1000000").working, usual.working * 3);
  EXPECT_GT(of("model.d_sae=1000000000000000").held, INT64_MAX / 8) << "and does not overflow";
}

}  // namespace
}  // namespace sae

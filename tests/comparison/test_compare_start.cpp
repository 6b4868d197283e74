// Members of a comparison that start from an autoencoder, and frozen ones beside them.
#include "sae/base/error.h"
#include "sae/comparison/compare.h"
#include "support/convert_testing.h"
#include "support/run_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

TEST(CompareStart, MembersGoOnFromOneAutoencoderWithAndWithoutAMask) {
  const TemporaryFolder folder;
  const fs::path first = folder.path() / "first";
  train(tiny_run(tiny_config({{"architecture", "topk"}, {"d_sae", 16}, {"k", 2}}, 30)), first,
        false);
  const auto comparison = [&](std::int64_t d_sae) {
    const Json from{{"from", first.string()}};
    const Json mask{{"warmup_steps", 5}};
    return Json{
        {"title", "Before and after"},
        {"base", tiny_config({{"architecture", "topk"}, {"d_sae", 16}, {"k", 2}}, 20)},
        {"members",
         {{{"name", "frozen"}, {"config", {{"train", from}, {"model", {{"freeze", "decoder"}}}}}},
          {{"name", "unmasked"}, {"config", {{"train", from}}}},
          {{"name", "masked"},
           {"config", {{"train", from}, {"model", {{"mask", mask}, {"d_sae", d_sae}}}}}}}}};
  };
  const auto plan = [&](std::int64_t d_sae) {
    return plan_comparison(config_from_json(comparison(d_sae), "c.json"));
  };
  EXPECT_EQ(plan(16).members.back().base, "unmasked") << "not the frozen one";
  const fs::path out = folder.path() / "compared";
  std::string said;
  EXPECT_TRUE(compare(plan(16), out, "sae compare c.json",
                      {.on_notice = [&](const Notice& notice) { said += notice.text; }})
                  .finished);
  EXPECT_NE(said.find("first (sae): topk with k 2, 16 latents"), std::string::npos) << said;
  const Json summary = parsed(out / "runs" / "masked-seed0" / "summary.json");
  EXPECT_EQ(summary["started_from"]["path"], first.string());
  expect_refused<ConfigError>(
      [&] { compare(plan(12), folder.path() / "refused", "sae compare c.json"); },
      {"model.d_sae is 12; expected at least 16"});
  EXPECT_FALSE(fs::exists(folder.path() / "refused" / "runs" / "unmasked-seed0"));
}

}  // namespace
}  // namespace sae

// Another architecture in the place of the one that a configuration was written for.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sae/base/error.h"
#include "sae/comparison/plan.h"
#include "sae/models/architectures.h"

namespace sae {
namespace {

struct Changed {
  ConfigNode document;
  std::vector<Notice> notices;
};

Changed changed(const std::string& text, const std::vector<std::string>& sets) {
  std::vector<Notice> notices;
  ConfigNode document = with_sets(parse_config(text, "c.json"), sets, notices);
  return {std::move(document), std::move(notices)};
}

const std::string kTopK =
    R"({"model": {"architecture": "topk", "d_in": 6, "d_sae": 12, "k": 3, "aux_k": 2,
                  "mask": {"warmup_steps": 4}}})";

TEST(Switching, LeavesOutWhatOnlyTheFormerArchitectureHasAndSaysSo) {
  const auto [document, notices] = changed(kTopK, {"model.architecture=standard"});
  EXPECT_EQ(document.at("model").json().dump(),
            R"({"architecture":"standard","d_in":6,"d_sae":12,"mask":{"warmup_steps":4}})");
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].kind, Notice::Kind::kNote);
  EXPECT_EQ(notices[0].text,
            "--set model.architecture: 'standard' in place of 'topk', without its k, aux_k");
  EXPECT_NO_THROW(resolve_model(document.at("model")));
}

TEST(Switching, KeepsWhatBothHave) {
  const auto [document, notices] = changed(kTopK, {"model.architecture=batch_topk"});
  EXPECT_TRUE(notices.empty());
  EXPECT_EQ(document.at("model").at("k").json(), 3);
  EXPECT_EQ(document.at("model").at("aux_k").json(), 2);
}

TEST(Switching, LeavesTheMaskToAtmWhichHasOneByItself) {
  const std::string atm = R"({"model": {"architecture": "atm", "d_in": 6, "d_sae": 12,
      "target_l0": 2, "mask": {"warmup_steps": 4}}})";
  const auto [document, notices] = changed(atm, {"model.architecture=topk"});
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].text,
            "--set model.architecture: 'topk' in place of 'atm', without its mask, target_l0");
  EXPECT_FALSE(make_autoencoder(document.at("model"))->mask());
}

TEST(Switching, TakesOptionsOfTheNewArchitectureInAnyOrder) {
  const auto after = changed(kTopK, {"model.architecture=jumprelu", "model.bandwidth=0.1"});
  EXPECT_NO_THROW(resolve_model(after.document.at("model")));
  const auto before = changed(kTopK, {"model.bandwidth=0.1", "model.architecture=jumprelu"});
  EXPECT_EQ(before.document.at("model").at("bandwidth").json(), 0.1);
  EXPECT_NO_THROW(resolve_model(before.document.at("model")));
}

TEST(Switching, LeavesMistakesToTheReader) {
  const auto error = [](const std::string& text, const std::vector<std::string>& sets) {
    try {
      resolve_model(changed(text, sets).document.at("model"));
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  // Asked for on the command line, before or after: not left out in silence.
  const std::string unknown = "--set model.k: unknown key";
  EXPECT_TRUE(error(kTopK, {"model.k=5", "model.architecture=standard"}).starts_with(unknown));
  EXPECT_TRUE(error(kTopK, {"model.architecture=standard", "model.k=5"}).starts_with(unknown));
  const std::string misspelt = R"({"model": {"architecture": "topk", "d_in": 6, "d_sae": 12,
      "decoder_nrom": "free"}})";
  EXPECT_TRUE(error(misspelt, {"model.architecture=atm"}).starts_with("c.json:2: model.decoder_n"));
  EXPECT_TRUE(error(kTopK, {"model.architecture=topkk"}).ends_with("did you mean 'topk'?"));
}

TEST(Switching, OfAComparisonsMembersLeavesTheBasesOptions) {
  const ConfigNode document = parse_config(R"({"seeds": [0],
   "base": {"model": {"architecture": "topk", "d_sae": 12, "k": 3, "dead_after_tokens": 64},
            "data": {"kind": "synthetic", "preset": "pair"}, "train": {"steps": 8, "batch": 16}},
   "members": [{"name": "same", "config": {"model": {"k": 2}}},
               {"name": "l1", "config": {"model": {"architecture": "standard"}}},
               {"name": "any", "axes": {"model.architecture": ["matryoshka", "jumprelu"]}}]})",
                                           "grid.json");
  const ComparisonPlan plan = plan_comparison(document);
  ASSERT_EQ(plan.runs.size(), 4U);
  std::vector<std::string> names;
  for (const PlannedRun& run : plan.runs) names.push_back(run.options.model.json().dump());
  EXPECT_EQ(names[0], R"({"architecture":"topk","d_sae":12,"k":2,"dead_after_tokens":64})");
  EXPECT_EQ(names[1], R"({"architecture":"standard","d_sae":12,"dead_after_tokens":64})");
  EXPECT_EQ(names[2], R"({"architecture":"matryoshka","d_sae":12,"k":3,"dead_after_tokens":64})");
  EXPECT_EQ(names[3], R"({"architecture":"jumprelu","d_sae":12,"dead_after_tokens":64})");
  ASSERT_EQ(plan.notices.size(), 2U);
  EXPECT_EQ(plan.notices[0].text,
            "grid.json:5: base.model.architecture: 'standard' in place of 'topk', without its k");
  EXPECT_EQ(plan.notices[1].text,
            "grid.json:6: base.model.architecture: 'jumprelu' in place of 'topk', without its k");
}

}  // namespace
}  // namespace sae

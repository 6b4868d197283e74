// sae diagnose on inputs of which metrics say little, and the warnings before training on them.
#include <gtest/gtest.h>
#include <torch/types.h>

#include "sae/base/error.h"
#include "sae/data/store.h"
#include "sae/tools/diagnose.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class DiagnoseInputs : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  /// A short run on a store of `rows`, and the warnings it began with.
  Diagnosis trained(const std::string& name, const at::Tensor& rows,
                    const std::string& centre = "none") {
    StoreWriter writer(path(name + "-store"), rows.size(1), at::kFloat, {{"model", "test"}});
    writer.append(rows.to(at::kFloat));
    writer.finish();
    Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 20}, {"k", 4}}, 20);
    config["data"] = {{"kind", "store"}, {"path", path(name + "-store").string()}};
    config["train"]["input_centre"] = centre;
    warnings.clear();
    RunHooks hooks;
    hooks.on_notice = [&](const Notice& notice) {
      if (notice.kind == Notice::Kind::kWarning) warnings += notice.text + "\n";
    };
    train(tiny_run(config), path(name), /*resume=*/false, hooks);
    return diagnose_run(path(name));
  }

  std::string warnings;

 private:
  TemporaryFolder folder_;
};

TEST_F(DiagnoseInputs, AreClearWhereTheyAreCentredAndOfOneSize) {
  const Diagnosis diagnosis = trained("fine", normal({600, 12}, 1));
  for (const char* name : {"large_inputs", "mean_input"}) {
    EXPECT_EQ(diagnosis.check(name).state, CheckState::kClear) << to_text(diagnosis);
  }
  EXPECT_EQ(warnings.find("squared norm"), std::string::npos) << warnings;
}

TEST_F(DiagnoseInputs, KnowsAFewMassiveTokensThatHoldMostOfTheEnergy) {
  at::Tensor x = normal({600, 12}, 1);
  x.index_put_({at::arange(0, 600, 50)}, 150 * x.index({at::arange(0, 600, 50)}));
  const Check check = trained("massive", x).check("large_inputs");
  ASSERT_EQ(check.state, CheckState::kFired) << check.found;
  EXPECT_GT(check.evidence[0].second, 0.9);
  EXPECT_NE(check.change.find("beginning-of-sequence"), std::string::npos);
  EXPECT_NE(warnings.find("explained variance is about these"), std::string::npos) << warnings;
  EXPECT_EQ(diagnose_run(path("massive")).check("mean_input").state, CheckState::kClear)
      << "the mean is that of the other tokens";
}

TEST_F(DiagnoseInputs, KnowsAMeanThatOutweighsTheRestUntilItIsSubtracted) {
  const at::Tensor x = normal({600, 12}, 1) + 3;
  const Check check = trained("mean", x).check("mean_input");
  ASSERT_EQ(check.state, CheckState::kFired) << check.found;
  EXPECT_NEAR(check.evidence[0].second, 0.9, 0.01);
  EXPECT_NE(check.change.find("train.input_centre=mean"), std::string::npos);
  EXPECT_NE(warnings.find("train.input_centre=mean"), std::string::npos) << warnings;
  const Check centred = trained("centred", x, "mean").check("mean_input");
  EXPECT_EQ(centred.state, CheckState::kClear);
  EXPECT_NE(centred.found.find("is subtracted"), std::string::npos);
  EXPECT_EQ(warnings.find("input_centre"), std::string::npos) << warnings;
}

TEST_F(DiagnoseInputs, AreSkippedWhereTheRunDoesNotSay) {
  trained("old", normal({600, 12}, 1) + 3);
  Json data = parsed(path("old") / "data.json");
  data.erase("inputs");
  write_text(path("old") / "data.json", data.dump());
  EXPECT_EQ(diagnose_run(path("old")).check("mean_input").state, CheckState::kSkipped);
  data["inputs"] = {{"tokens", 3}};
  write_text(path("old") / "data.json", data.dump());
  EXPECT_THROW(diagnose_run(path("old")), DataError);
}

}  // namespace
}  // namespace sae

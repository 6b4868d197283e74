#include <set>

#include "sae/base/error.h"
#include "sae/comparison/plan.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

/// One ATM and the member that it is a mask on, on the tiny world.
Json masked_and_plain() {
  const auto member = [](const char* name, const char* architecture) {
    return Json{{"name", name},
                {"level", "model.target_l0"},
                {"config", {{"model", {{"architecture", architecture}}}}}};
  };
  return {{"levels", {1, 2}},
          {"base", tiny_config(Json{{"d_sae", 16}}, 30)},
          {"members", {member("standard", "standard"), member("atm", "atm")}}};
}

ComparisonPlan planned(const Json& comparison) {
  return plan_comparison(config_from_json(comparison, "c.json"));
}

std::string refusal(const Json& comparison) {
  try {
    planned(comparison);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ComparisonAxes, MembersKnowTheirPlaceAndTheirFamily) {
  Json comparison = masked_and_plain();
  comparison["members"][1]["axes"] = {{"model.mask.rate", {.5, 1}},
                                      {"model.mask.warmup_steps", {9}}};
  const ComparisonPlan plan = planned(comparison);
  ASSERT_EQ(plan.members.size(), 3U);
  EXPECT_EQ(plan.members[0].family, "");
  EXPECT_TRUE(plan.members[0].axes.empty());
  EXPECT_EQ(plan.members[2].label, "atm rate=1");
  EXPECT_EQ(plan.members[2].family, "atm");
  EXPECT_EQ(plan.members[2].axes, (std::vector<AxisValue>{{"model.mask.rate", Json(1)}}))
      << "a single value is a setting, not an axis";
  EXPECT_EQ(plan.runs.back().point.at("model.mask.warmup_steps").text(), "9") << "yet of the point";
}

TEST(ComparisonAxes, PathsThatMoveTogetherAreOneAxis) {
  Json comparison = masked_and_plain();
  comparison["axes"]["batch"] = {{"train.batch", {8, 16}}, {"train.steps", {60, 30}}};
  const ComparisonPlan plan = planned(comparison);
  ASSERT_EQ(plan.members.size(), 4U);
  ASSERT_EQ(plan.runs.size(), 2U * 2 * 2) << "two steps of the axis, not two by two";
  EXPECT_EQ(plan.members[1].label, "standard batch=16");
  EXPECT_EQ(plan.members[1].axes, (std::vector<AxisValue>{{"batch", Json(16)}}));
  for (const PlannedRun& run : plan.runs) {
    const Json train = resolve_run(run.options)["train"];
    EXPECT_EQ(train["batch"].get<int>() * train["steps"].get<int>(), 480) << run.name;
    EXPECT_EQ(*run.point.at("train.steps"), train["steps"]);
  }
}

TEST(ComparisonAxes, AMaskIsComparedWithItsBaseAtTheSamePlace) {
  Json comparison = masked_and_plain();
  comparison["axes"] = {{"train.lr", {1e-3, 2e-3}}};
  comparison["members"][1]["axes"] = {{"model.mask.rate", {.5, 1}}};
  for (const Member& member : planned(comparison).members) {
    if (member.masked) {
      EXPECT_EQ(member.base, "standard lr=" + member.axes.front().value.text()) << member.label;
    }
  }
}

TEST(ComparisonAxes, SayWhatIsWrongWithThem) {
  const auto with = [](const Json& axes) {
    Json comparison = masked_and_plain();
    comparison["axes"] = axes;
    return refusal(comparison);
  };
  EXPECT_EQ(with({{"batch", {{"train.batch", {8, 16}}, {"train.steps", Json::array({60})}}}}),
            "c.json: axes.batch.train.steps: got 1 values, expected 2, as many as train.batch has: "
            "they move together");
  EXPECT_NE(with({{"batch", Json::object()}}).find("expected paths that move together"),
            std::string::npos);
  EXPECT_NE(with({{"batch", {{"train.batch", 8}}}}).find("expected a list of values"),
            std::string::npos);
  EXPECT_NE(with({{"batch", {{"train.batch", {8, 8}}, {"train.steps", {9, 9}}}}})
                .find("got 8 a second time"),
            std::string::npos);
  EXPECT_NE(with({{"all", {{"seed", {1, 2}}}}}).find("list them there"), std::string::npos);
  EXPECT_NE(with({{"train.lr", {1e-3, 2e-3}}, {"pace", {{"train.lr", {1e-3, 2e-3}}}}})
                .find("two axes vary train.lr"),
            std::string::npos);
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sae/report/report.h"
#include "support/markup_testing.h"

namespace sae {
namespace {

using Values = std::vector<nlohmann::ordered_json>;

/// A run of every level and seed for each point of the grid of `axes`, of a masked family on a
/// standard autoencoder without axes; absorption falls by .01 from member to member.
ComparisonResult over_axes(const std::vector<std::pair<std::string, Values>>& axes) {
  ComparisonResult result;
  result.title = "Axes";
  result.members = {{"standard", "standard", false, ""}};
  std::vector<Member> grid = {{"atm", "atm", true, "standard", "atm", {}}};
  for (const auto& [axis, values] : axes) {
    std::vector<Member> next;
    for (const Member& member : grid) {
      for (const auto& value : values) {
        next.push_back(member);
        next.back().label += " " + axis + "=" + value.dump();
        next.back().axes.push_back({axis, value});
      }
    }
    grid = next;
  }
  result.members.insert(result.members.end(), grid.begin(), grid.end());
  for (std::size_t i = 0; i < result.members.size(); ++i) {
    for (int level = 3; level <= 7; level += 2) {
      for (int seed = 0; seed < 3; ++seed) {
        RunResult run;
        run.member = result.members[i].label;
        run.name = run.member + std::to_string(level) + "-" + std::to_string(seed);
        run.point["model.target_l0"] = nlohmann::ordered_json(level);
        run.seed = seed;
        run.metrics = {{"l0", level},
                       {"explained_variance", .5 + .001 * static_cast<double>(i) + .01 * seed},
                       {"absorption_full_micro", .5 - .01 * static_cast<double>(i) + .001 * seed},
                       {"never_fired", 0}};
        result.runs.push_back(run);
      }
    }
  }
  return result;
}

std::string axes_of_page(const ComparisonResult& result) {
  const std::string page = render_report(result);
  EXPECT_EQ(malformed(page), "");
  return part_of(page, "<h2>Axes</h2>", "</section>");
}

TEST(ReportAxes, AComparisonWithoutAxesHasNone) {
  EXPECT_EQ(axes_of_page(over_axes({})), "");
  EXPECT_TRUE(axes_files(over_axes({})).empty());
}

TEST(ReportAxes, OneNumericAxisIsALineWithItsValuesAsTicks) {
  const ComparisonResult result = over_axes({{"model.mask.rate", {.1, .5, 1, 2}}});
  const std::string section = axes_of_page(result);
  EXPECT_EQ(count(section, "<h3>"), 1U);
  EXPECT_EQ(count(section, "<figcaption>"), 2U) << "variance and absorption";
  EXPECT_EQ(count(section, "Latents that never fired: 0.000 throughout."), 1U);
  const std::string chart = part_of(section, "<figcaption>Full absorption", "</figure>");
  EXPECT_EQ(count(chart, "<path class=\"line\""), 2U) << "the family and, level, its base";
  EXPECT_EQ(count(chart, " dashed\">"), 1U);
  for (const char* tick : {">0.1<", ">0.5<", ">1<", ">2<"})
    EXPECT_EQ(count(chart, tick), 1U) << tick;
  EXPECT_EQ(count(chart, "full absorption (micro) 0.481 ± 0.001 (3 seeds)"), 1U)
      << "the second value, in its tooltip";
  EXPECT_EQ(count(section, "At L0 5. "), 1U);
}

/// Where the markers of the only line lie, left to right.
std::vector<double> places(const std::string& chart) {
  const std::string mark = "<path class=\"whisker\" d=\"M";
  std::vector<double> x;
  for (auto at = chart.find(mark); at != std::string::npos; at = chart.find(mark, at + 1)) {
    x.push_back(std::stod(chart.substr(at + mark.size())));
  }
  return x;
}

TEST(ReportAxes, ValuesThatGrowByFactorsStandOnALogarithmicScale) {
  const auto chart = [](const Values& values) {
    return places(part_of(axes_of_page(over_axes({{"train.batch", values}})),
                          "<figcaption>Full absorption", "</figure>"));
  };
  const auto factors = chart({4096, 512, 1024, 2048});
  ASSERT_EQ(factors.size(), 4U);
  EXPECT_NEAR(factors[1] - factors[0], factors[3] - factors[2], .3) << "in order, evenly spaced";
  const auto steps = chart({1, 2, 3, 5, 0});
  ASSERT_EQ(steps.size(), 5U);
  EXPECT_NEAR(steps[1] - steps[0], steps[2] - steps[1], .3);
  EXPECT_NEAR(steps[4] - steps[3], 2 * (steps[1] - steps[0]), .3);
}

TEST(ReportAxes, TwoAxesAreLinesForEachAndAHeatMap) {
  const ComparisonResult result =
      over_axes({{"model.mask.threshold", {0, 1, 2, 3}}, {"model.mask.rate", {.1, .5, 1, 2}}});
  const std::string section = axes_of_page(result);
  EXPECT_EQ(count(section, "<h3>"), 3U);
  EXPECT_EQ(count(section, "<figcaption>"), 3U * 2);
  const std::string map = part_of(section, "<h3>Threshold and rate: atm</h3>", "<h3>");
  EXPECT_EQ(count(map, "class=\"cell\""), 2U * 16);
  EXPECT_EQ(count(map, ">.341<"), 1U) << "the last of 16 below .5";
  EXPECT_EQ(count(map, "± 0.001 (3 seeds)"), 16U) << "absorption's";
  EXPECT_EQ(count(part_of(section, "<h3>Over threshold", "<h3>Over rate"), "<li>"), 4U)
      << "a line a rate";
  EXPECT_EQ(count(section, "Held"), 0U);
}

TEST(ReportAxes, OfThreeAxesPairsAreShownWithTheOthersHeldAtTheirFirst) {
  const ComparisonResult result =
      over_axes({{"a.cycle", {100, 1000}}, {"a.share", {.2, .4, .6}}, {"a.relaxed", {-1, 0}}});
  const std::string section = axes_of_page(result);
  EXPECT_EQ(count(section, "<h3>"), 3U + 3);
  EXPECT_EQ(count(section, "Held: relaxed -1."), 1U);
  EXPECT_EQ(count(section, "Held: cycle 100."), 1U);
  const std::string map = part_of(section, "<h3>Cycle and relaxed: atm</h3>", "<h3>");
  // Members 2, 3 (share .2; relaxed -1, 0) and 8, 9 of the grid counted from 1.
  for (const char* value : {">.491<", ">.481<", ">.431<", ">.421<"}) {
    EXPECT_EQ(count(map, value), 1U) << value;
  }
}

TEST(ReportAxes, WordsStayCategories) {
  const std::string section = axes_of_page(
      over_axes({{"model.mask.importance", {"product", "frequency", "contribution", "mean"}}}));
  const std::string chart = part_of(section, "<figcaption>Full absorption", "</figure>");
  EXPECT_EQ(count(chart, "<path class=\"line\""), 1U) << "the base's level alone";
  for (const char* name : {">product<", ">frequency<", ">contribution<", ">mean<"}) {
    EXPECT_EQ(count(chart, name), 1U) << name;
  }
}

TEST(ReportAxes, NeverBreakThePageWhateverTheirValues) {
  const std::string evil = "<script>&\"'";
  const ComparisonResult result =
      over_axes({{"a." + evil, {evil, 1, nullptr, true}}, {"b", {Values{1, 2}, Values{3}}}});
  EXPECT_EQ(count(axes_of_page(result), "<script"), 0U);
  for (const auto& [name, svg] : axes_files(result)) {
    EXPECT_EQ(malformed(svg, "<svg"), "") << name;
    EXPECT_EQ(name.find_first_of("<>&\"'/ "), std::string::npos) << name;
  }
}

TEST(ReportAxes, AreWrittenAsFilesToo) {
  const auto files =
      axes_files(over_axes({{"model.mask.threshold", {0, 1}}, {"model.mask.rate", {.1, .5}}}));
  std::vector<std::string> names;
  for (const auto& [name, svg] : files) {
    names.push_back(name);
    EXPECT_EQ(malformed(svg, "<svg"), "") << name;
    EXPECT_EQ(count(svg, "class=\"caption\""), 2U) << name;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"axes-rate.svg", "axes-threshold-rate-atm.svg",
                                             "axes-threshold.svg"}));
}

TEST(ReportAxes, ManyMembersAreShownInPanelsWithTheirBase) {
  const ComparisonResult result =
      over_axes({{"model.mask.threshold", {0, 1, 2, 3}}, {"model.mask.rate", {.1, .5, 1, 2}}});
  const std::string page = render_report(result);
  const std::string charts = part_of(page, "<h2>Against sparsity</h2>", "</section>");
  EXPECT_EQ(count(charts, "<h3>atm at threshold "), 4U);
  EXPECT_EQ(count(charts, "<figcaption>"), 4U * 2);
  EXPECT_EQ(count(charts, "<path class=\"line\""), 4U * 2 * 5) << "four rates and the base";
  EXPECT_EQ(count(charts, "class=\"legend\""), 0U) << "lines are labelled themselves";
  EXPECT_EQ(count(page, "<figcaption>atm at threshold 2 by rate, at L0 5</figcaption>"), 1U);
  std::vector<std::string> ids;
  for (auto at = page.find(" id=\""); at != std::string::npos; at = page.find(" id=\"", at + 1)) {
    ids.push_back(page.substr(at + 5, page.find('"', at + 5) - at - 5));
  }
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end());
}

TEST(ReportAxes, FindingsSpeakOfTheBestOfAFamilyOnly) {
  const std::string text =
      findings(over_axes({{"model.mask.threshold", {0, 1, 2, 3}}, {"model.mask.rate", {.1, .5}}}));
  EXPECT_EQ(count(text, "Compared with standard, its base without the mask"), 1U) << text;
  EXPECT_NE(text.find("the mask, atm model.mask.threshold=3 model.mask.rate=0.5 absorbs less"),
            std::string::npos)
      << text;
}

}  // namespace
}  // namespace sae

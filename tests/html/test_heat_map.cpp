#include <gtest/gtest.h>

#include <cmath>

#include "html/heat_map.h"
#include "html/sheet.h"
#include "support/markup_testing.h"

namespace sae::report {
namespace {

HeatMap two_by_two() {
  HeatMap map;
  map.title = "Rate & <threshold>";
  map.x_title = "rate";
  map.y_title = "threshold";
  map.x_labels = {"0.5", "2"};
  map.y_labels = {"0", "<1>"};
  map.cells = {{HeatCell{.1, ".100", "first"}, HeatCell{.3, ".300", "\"second\" & more"}},
               {HeatCell{.2, ".200*", ""}, std::nullopt}};
  return map;
}

double channel(const std::string& colour, std::size_t i) {
  const double part = std::stoi(colour.substr(1 + 2 * i, 2), nullptr, 16) / 255.0;
  return part <= .04045 ? part / 12.92 : std::pow((part + .055) / 1.055, 2.4);
}

double light(const std::string& colour) {
  return .2126 * channel(colour, 0) + .7152 * channel(colour, 1) + .0722 * channel(colour, 2);
}

TEST(HeatMap, GrowsLighterEvenlyAndItsTextsStandOut) {
  double before = -1;
  for (double share = 0; share <= 1.0001; share += .01) {
    const std::string colour = heat_colour(share);
    EXPECT_GT(light(colour), before) << share;
    before = light(colour);
    const double a = light(colour) + .05, b = light(ink_on(colour)) + .05;
    EXPECT_GE(std::max(a, b) / std::min(a, b), 4.5) << colour;
  }
  EXPECT_EQ(heat_colour(-1), heat_colour(0));
  EXPECT_EQ(heat_colour(2), "#fde725");
}

TEST(HeatMap, PrintsItsValuesBottomUpAndEscapesThem) {
  const std::string html = figure(drawing(two_by_two()), "a");
  EXPECT_EQ(malformed(html, "<figure"), "");
  const std::size_t low = html.find(">.100<"), high = html.find(">.300<");
  ASSERT_NE(low, std::string::npos);
  ASSERT_NE(high, std::string::npos);
  const auto colour_before = [&](std::size_t at) {
    return html.substr(html.rfind("<rect", at))
        .substr(0, html.substr(html.rfind("<rect", at)).find('>'));
  };
  EXPECT_NE(colour_before(low).find(heat_colour(0)), std::string::npos) << "the least";
  EXPECT_NE(colour_before(high).find(heat_colour(1)), std::string::npos) << "the greatest";
  EXPECT_EQ(count(html, "class=\"empty\""), 1U) << "nothing measured";
  EXPECT_EQ(count(html, "<title>first</title>"), 1U);
  EXPECT_EQ(count(html, "&quot;second&quot; &amp; more"), 1U);
  EXPECT_EQ(count(html, "&lt;1&gt;"), 1U);
  const auto y_of = [&](const std::string& label) {
    const std::size_t end = html.find(">" + label + "<");
    const std::size_t y = html.rfind(" y=\"", end) + 4;
    return std::stod(html.substr(y));
  };
  EXPECT_GT(y_of(".100"), y_of(".200*")) << "the first row is the lowest";
}

TEST(HeatMap, OfOneValueHasOneColour) {
  HeatMap map = two_by_two();
  map.cells = {{HeatCell{0, "0", ""}, HeatCell{0, "0", ""}}, {std::nullopt, HeatCell{0, "0", ""}}};
  EXPECT_EQ(count(drawing(map).body, "fill:" + heat_colour(.5)), 3U);
}

TEST(Sheet, IsAnSvgDocumentThatNeedsNothingElse) {
  Chart chart;
  chart.small = true;
  chart.title = "Lines";
  chart.series = {{"", {0, 0, false}, {{1, .2, .1, "a < b"}, {2, .3, .1, ""}}}};
  chart.x_ticks = {{1, "1"}, {2, "2"}};
  const std::string svg = svg_file(
      {"A & B", "Noted.", {{{0, 0, false}, "<one>"}}, {drawing(chart), drawing(two_by_two())}});
  EXPECT_EQ(svg.find("<svg xmlns=\"http://www.w3.org/2000/svg\""), 0U);
  EXPECT_EQ(malformed(svg, "<svg"), "");
  for (const char* part : {"href", "url(", "@import", "<script", "src="}) {
    EXPECT_EQ(count(svg, part), 0U) << part;
  }
  EXPECT_EQ(count(svg, "prefers-color-scheme: dark"), 1U);
  EXPECT_EQ(count(svg, "<rect class=\"paper\""), 1U) << "text in ink needs a paper of its own";
  EXPECT_EQ(count(svg, "&lt;one&gt;"), 1U);
  EXPECT_EQ(count(svg, ">Noted.<"), 1U);
}

}  // namespace
}  // namespace sae::report

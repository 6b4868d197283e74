#include <gtest/gtest.h>
#include <stdlib.h>

#include <sstream>

#include "progress.h"

namespace sae {
namespace {

Progress example() {
  return {.label = "topk",
          .step = 1200,
          .total = 3000,
          .loss = 0.21342,
          .l0 = 31.94,
          .explained_variance = 0.8417,
          .dead = 0.0123,
          .tokens_per_s = 51342,
          .seconds_left = 41.2};
}

TEST(Progress, ShowsEverythingInOneLineOfATerminal) {
  EXPECT_EQ(format_progress(example()),
            "topk  1200/3000  loss 0.213  L0 31.9  EV 0.842  dead 1.2%  51k tok/s  ETA 0:41");
  EXPECT_LE(format_progress(example()).size(), 79u);
}

TEST(Progress, LeavesOutWhatIsNotKnown) {
  EXPECT_EQ(format_progress({.step = 7}), "7");
  EXPECT_EQ(format_progress({.step = 7, .total = 9, .l0 = 4}), "7/9  L0 4.00");
}

TEST(Progress, DropsTheLeastImportantPartsFirstAndNeverExceedsTheWidth) {
  EXPECT_EQ(format_progress(example(), 68),
            "topk  1200/3000  loss 0.213  L0 31.9  EV 0.842  51k tok/s  ETA 0:41");
  EXPECT_EQ(format_progress(example(), 40), "topk  1200/3000  L0 31.9  ETA 0:41");
  Progress large = example();
  large.label = std::string(100, 'x');
  large.step = large.total = 123456789012;
  for (std::size_t columns = 1; columns < 120; ++columns) {
    EXPECT_LE(format_progress(large, columns).size(), columns);
  }
}

TEST(Progress, FormatsDurationsAndRatesOfEverySize) {
  const auto eta = [](double seconds) { return format_progress({.seconds_left = seconds}); };
  EXPECT_EQ(eta(0.4), "0  ETA 0:00");
  EXPECT_EQ(eta(59.6), "0  ETA 1:00");
  EXPECT_EQ(eta(3599.6), "0  ETA 1:00:00");
  EXPECT_EQ(eta(2 * 86400 + 5 * 3600.0), "0  ETA 2d05h");
  const auto rate = [](double rate) { return format_progress({.tokens_per_s = rate}); };
  EXPECT_EQ(rate(999), "0  999 tok/s");
  EXPECT_EQ(rate(999.6), "0  1.0k tok/s");
  EXPECT_EQ(rate(1.5e6), "0  1.5M tok/s");
  EXPECT_EQ(rate(2.5e9), "0  2.5G tok/s");
}

class Line : public ::testing::Test {
 protected:
  ProgressLine make(ProgressStyle style) {
    return ProgressLine(style, out_, [this] { return now_; });
  }
  std::string taken() {
    const std::string text = out_.str();
    out_.str("");
    return text;
  }
  std::ostringstream out_;
  double now_ = 100;
};

TEST_F(Line, RedrawsInPlaceAtMostFiveTimesASecond) {
  auto line = make(ProgressStyle::kLive);
  int drawn = 0;
  for (int step = 0; step < 1000; ++step) {
    now_ = 100 + step * 0.002;
    line.update({.step = step, .total = 1000});
    const std::string text = taken();
    if (text.empty()) continue;
    ++drawn;
    EXPECT_EQ(text.front(), '\r');
    EXPECT_EQ(text.find('\n'), std::string::npos);
  }
  EXPECT_EQ(drawn, 10);
}

TEST_F(Line, ErasesWhatItDrewAndOnlyThat) {
  {
    auto line = make(ProgressStyle::kLive);
    line.clear();
    EXPECT_EQ(taken(), "");
    line.update({.step = 1});
    taken();
  }
  EXPECT_EQ(taken(), "\r\x1b[K");
}

TEST_F(Line, PrintsPlainLinesEveryFewSecondsWithoutControlCharacters) {
  auto line = make(ProgressStyle::kPlain);
  line.update({.step = 1, .total = 9});
  EXPECT_EQ(taken(), "1/9\n");
  now_ += 4.9;
  line.update({.step = 2, .total = 9});
  EXPECT_EQ(taken(), "");
  now_ += 0.1;
  line.update({.step = 3, .total = 9, .seconds_left = 12});
  EXPECT_EQ(taken(), "3/9  ETA 0:12\n");
  line.clear();
  EXPECT_EQ(taken(), "");
}

TEST_F(Line, SaysNothingWhenQuiet) {
  auto line = make(ProgressStyle::kSilent);
  EXPECT_FALSE(line.due());
  line.update({.step = 1});
  line.clear();
  EXPECT_EQ(taken(), "");
}

TEST_F(Line, EstimatesTheTimeLeftFromItsOwnStepsAlsoAfterAResume) {
  auto line = make(ProgressStyle::kPlain);
  line.update({.step = 1000, .total = 2000});  // resumed here
  EXPECT_EQ(taken(), "1000/2000\n");
  now_ += 10;
  line.update({.step = 1100, .total = 2000});
  EXPECT_EQ(taken(), "1100/2000  ETA 1:30\n");
  now_ += 10;
  line.update({.label = "next", .step = 0, .total = 2000});  // another run: its own clock
  taken();
  now_ += 10;
  line.update({.label = "next", .step = 1000, .total = 2000});
  EXPECT_EQ(taken(), "next  1000/2000  ETA 0:10\n");
}

TEST(Progress, IsNotLiveWhereALineCannotBeRedrawn) {
  EXPECT_EQ(progress_style(true), ProgressStyle::kSilent);
  setenv("TERM", "dumb", 1);
  EXPECT_EQ(progress_style(false), ProgressStyle::kPlain);
  setenv("TERM", "xterm", 1);
  setenv("NO_COLOR", "1", 1);
  EXPECT_EQ(progress_style(false), ProgressStyle::kPlain);
  unsetenv("NO_COLOR");
}

}  // namespace
}  // namespace sae

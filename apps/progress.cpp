#include "progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <string_view>
#include <utility>
#include <vector>

#include "sae/base/text.h"

namespace sae {
namespace {

constexpr double kLiveSeconds = 0.2;
constexpr double kPlainSeconds = 5;
constexpr std::size_t kColumns = 79;  // of 80: a full line would make some terminals wrap

std::string duration(double seconds) {
  const auto total = static_cast<std::int64_t>(std::llround(std::min(seconds, 1e12)));
  const auto two = [](std::int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  if (total >= 86400) {
    return std::to_string(total / 86400) + "d" + two(total / 3600 % 24) + "h";
  }
  const std::string tail = ":" + two(total % 60);
  if (total < 3600) return std::to_string(total / 60) + tail;
  return std::to_string(total / 3600) + ":" + two(total / 60 % 60) + tail;
}

/// Two or three digits: 999, 1.5k, 51k, 2.5M.
std::string with_unit(double value) {
  for (const char* unit : {"", "k", "M"}) {
    if (value < 999.5) return fixed(value, value < 9.95 && *unit != '\0' ? 1 : 0) + unit;
    value /= 1000;
  }
  return fixed(value, value < 9.95 ? 1 : 0) + "G";
}

std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return kColumns;
  return std::min<std::size_t>(kColumns, size.ws_col - 1);
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string format_progress(const Progress& progress, std::size_t columns) {
  struct Part {
    std::string text;
    int importance;
  };
  std::vector<Part> parts;
  if (!progress.label.empty()) parts.push_back({progress.label, 6});
  parts.push_back({std::to_string(progress.step) +
                       (progress.total > 0 ? "/" + std::to_string(progress.total) : ""),
                   9});
  const auto add = [&](std::string text, double value, int importance) {
    if (std::isfinite(value)) parts.push_back({std::move(text), importance});
  };
  add("loss " + brief(progress.loss), progress.loss, 3);
  add("L0 " + brief(progress.l0), progress.l0, 5);
  add("EV " + fixed(progress.explained_variance, 3), progress.explained_variance, 4);
  add("dead " + fixed(100 * progress.dead, 1) + "%", progress.dead, 1);
  add(with_unit(progress.tokens_per_s) + " tok/s", progress.tokens_per_s, 2);
  add("ETA " + duration(progress.seconds_left), progress.seconds_left, 7);

  const auto joined = [&] {
    std::string line;
    for (const Part& part : parts) line += (line.empty() ? "" : "  ") + part.text;
    return line;
  };
  std::string line = joined();
  while (line.size() > columns && parts.size() > 1) {
    parts.erase(std::min_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
      return a.importance < b.importance;
    }));
    line = joined();
  }
  return line.substr(0, columns);
}

ProgressStyle progress_style(bool quiet) {
  if (quiet) return ProgressStyle::kSilent;
  const char* term = std::getenv("TERM");
  const bool can_redraw = term != nullptr && std::string_view(term) != "dumb";
  return can_redraw && ::isatty(STDERR_FILENO) == 1 ? ProgressStyle::kLive : ProgressStyle::kPlain;
}

ProgressLine::ProgressLine(ProgressStyle style) : ProgressLine(style, std::cerr, steady_seconds) {}

ProgressLine::ProgressLine(ProgressStyle style, std::ostream& out, std::function<double()> now)
    : style_(style), out_(out), now_(std::move(now)) {}

ProgressLine::~ProgressLine() { clear(); }

bool ProgressLine::due() const {
  if (style_ == ProgressStyle::kSilent) return false;
  return now_() - last_ >= (style_ == ProgressStyle::kLive ? kLiveSeconds : kPlainSeconds);
}

void ProgressLine::update(Progress progress) {
  if (style_ == ProgressStyle::kSilent) return;
  const double now = now_();
  if (start_step_ < 0 || progress.label != label_ || progress.step < start_step_) {
    label_ = progress.label;
    start_ = now;
    start_step_ = progress.step;
  }
  if (!due()) return;
  if (std::isnan(progress.seconds_left) && progress.step > start_step_ && progress.total > 0) {
    progress.seconds_left = (now - start_) / static_cast<double>(progress.step - start_step_) *
                            static_cast<double>(progress.total - progress.step);
  }
  last_ = now;
  if (style_ == ProgressStyle::kLive) {
    out_ << '\r' << format_progress(progress, terminal_columns()) << "\x1b[K" << std::flush;
    drawn_ = true;
  } else {
    out_ << format_progress(progress) << '\n' << std::flush;
  }
}

void ProgressLine::clear() {
  if (drawn_) out_ << "\r\x1b[K" << std::flush;
  drawn_ = false;
}

}  // namespace sae

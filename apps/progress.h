// The progress of training on stderr: one line redrawn in place on a terminal, a plain line every
// few seconds elsewhere, nothing when quiet.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <limits>
#include <string>

namespace sae {

/// What there is to tell. NaN: not known, left out of the line.
struct Progress {
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

  std::string label{};     ///< which run, when there are several; may be empty
  std::int64_t step = 0;   ///< steps done
  std::int64_t total = 0;  ///< 0: not known
  double loss = kUnknown;
  double l0 = kUnknown;
  double explained_variance = kUnknown;
  double dead = kUnknown;  ///< share of latents, 0 to 1
  double tokens_per_s = kUnknown;
  double seconds_left = kUnknown;  ///< ProgressLine estimates it when not given
};

/// "topk  1200/3000 40%  loss 0.213  L0 31.9  EV .842  dead 1.2%  51k tok/s  ETA 0:41", never
/// longer than `columns`: the least important parts go first.
std::string format_progress(const Progress& progress, std::size_t columns = 79);

enum class ProgressStyle { kLive, kPlain, kSilent };

/// Live if stderr is a terminal that can redraw (TERM is set and not "dumb"). The line has no
/// colours, so that NO_COLOR changes nothing.
ProgressStyle progress_style(bool quiet);

/// Draws `Progress` values as they come, at most 5 a second live and one in 5 seconds plain.
class ProgressLine {
 public:
  explicit ProgressLine(ProgressStyle style);
  /// For tests: any stream, and a clock in seconds.
  ProgressLine(ProgressStyle style, std::ostream& out, std::function<double()> now);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// True when `update` would draw: lets a caller skip work that only the line needs (a device
  /// sync).
  bool due() const;
  void update(Progress progress);
  /// Erases a live line so that something else can be printed; the next update draws it anew.
  void clear();

 private:
  ProgressStyle style_;
  std::ostream& out_;
  std::function<double()> now_;
  bool drawn_ = false;
  double last_ = -std::numeric_limits<double>::infinity();
  std::string label_;             // of the run being timed
  double start_ = 0;              // when its first update came,
  std::int64_t start_step_ = -1;  // and at which step
};

}  // namespace sae

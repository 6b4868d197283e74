// The parts that charts are drawn from: text, axes with readable ticks, markers.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sae::report {

/// Text for HTML and SVG, in content and in attributes; control characters are dropped.
std::string escaped(std::string_view text);

/// <text> with its baseline at y; `anchor`: start (or ""), middle or end; `css`: its classes.
std::string text_at(double x, double y, const std::string& anchor, const std::string& css,
                    const std::string& text);
std::string line_between(double x1, double y1, double x2, double y2, const std::string& css);

/// A coordinate: one decimal is finer than a screen shows.
std::string px(double value);

struct Tick {
  double value;
  std::string label;
};

/// Maps [low, high] to pixels, linearly or by logarithm, and knows where to put ticks.
class Axis {
 public:
  /// Linear ends grow to the next tick when `to_ticks`, else by a small margin. A range without
  /// extent, or a logarithmic one that reaches 0, is widened to something drawable.
  Axis(double low, double high, bool log, bool to_ticks, double pixel_low, double pixel_high);

  double at(double value) const;  ///< values outside are drawn at the edge
  const std::vector<Tick>& ticks() const { return ticks_; }
  double low() const { return low_; }
  double high() const { return high_; }
  void mark(std::vector<Tick> ticks) { ticks_ = std::move(ticks); }  ///< these in place of its own

 private:
  void linear_ticks(bool to_ticks);
  void log_ticks();

  double low_, high_;
  bool log_;
  double pixel_low_, pixel_high_;
  std::vector<Tick> ticks_;
};

/// One of eight shapes around (x, y), filled with the current colour.
std::string marker(int shape, double x, double y, double size = 4);

/// Moves labels apart so that neighbours are at least `gap` apart and all lie in [low, high];
/// `wanted` in any order, the result in the same order.
std::vector<double> spread_labels(const std::vector<double>& wanted, double gap, double low,
                                  double high);

/// At most `most` characters, cut with an ellipsis.
std::string shortened(const std::string& text, std::size_t most);

}  // namespace sae::report

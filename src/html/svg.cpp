#include "html/svg.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sae/base/text.h"

namespace sae::report {
namespace {

/// 1, 2, 2.5 or 5 times a power of ten, for about `count` steps over `extent`.
double nice_step(double extent, int count) {
  const double raw = extent / count;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (raw <= factor * power * 1.001) return factor * power;
  }
  return 10 * power;
}

std::string with_superscript(int exponent) {
  static const char* const digits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = exponent < 0 ? "10⁻" : "10";
  for (const char digit : std::to_string(std::abs(exponent))) text += digits[digit - '0'];
  return text;
}

std::string tick_label(double value, int decimals) {
  if (value != 0 && (std::abs(value) >= 1e5 || std::abs(value) < 1e-4)) {
    const int exponent = static_cast<int>(std::floor(std::log10(std::abs(value)) + 1e-9));
    const std::string factor = trimmed(value / std::pow(10.0, exponent), 2);
    return (factor == "1" ? "" : factor + "·") + with_superscript(exponent);
  }
  return fixed(value, decimals);
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
    }
  }
  return out;
}

std::string text_at(double x, double y, const std::string& anchor, const std::string& css,
                    const std::string& text) {
  return "<text class=\"" + css + "\" x=\"" + px(x) + "\" y=\"" + px(y) + "\"" +
         (anchor.empty() ? "" : " text-anchor=\"" + anchor + "\"") + ">" + escaped(text) +
         "</text>\n";
}

std::string line_between(double x1, double y1, double x2, double y2, const std::string& css) {
  return "<path class=\"" + css + "\" d=\"M" + px(x1) + " " + px(y1) + "L" + px(x2) + " " + px(y2) +
         "\"/>\n";
}

std::string px(double value) { return trimmed(value, 1); }

Axis::Axis(double low, double high, bool log, bool to_ticks, double pixel_low, double pixel_high)
    : low_(low),
      high_(high),
      log_(log && high > 0),
      pixel_low_(pixel_low),
      pixel_high_(pixel_high) {
  if (log_) {
    low_ = std::max(low_, high_ * 1e-7);
    const double margin = high_ > low_ * 1.001 ? std::pow(high_ / low_, 0.05) : 1.5;
    low_ /= margin;
    high_ *= margin;
    log_ticks();
  } else {
    if (!(high_ - low_ > 1e-12 * std::max(std::abs(low_), std::abs(high_)))) {
      const double half = low_ == 0 ? 0.5 : 0.05 * std::abs(low_);
      low_ -= half;
      high_ += half;
    }
    linear_ticks(to_ticks);
  }
}

double Axis::at(double value) const {
  value = std::clamp(value, low_, high_);
  const double share =
      log_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
  return pixel_low_ + share * (pixel_high_ - pixel_low_);
}

void Axis::linear_ticks(bool to_ticks) {
  const double step = nice_step(high_ - low_, 5);
  if (to_ticks) {
    low_ = std::floor(low_ / step + 1e-6) * step;
    high_ = std::ceil(high_ / step - 1e-6) * step;
  } else {
    const double margin = 0.05 * (high_ - low_);
    low_ -= margin;
    high_ += margin;
  }
  int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  if (std::abs(step * std::pow(10.0, decimals) - std::round(step * std::pow(10.0, decimals))) >
      1e-6) {
    ++decimals;  // a step of 0.25
  }
  for (double i = std::ceil(low_ / step - 1e-6); i <= std::floor(high_ / step + 1e-6); ++i) {
    ticks_.push_back({i * step, tick_label(i * step, decimals)});
  }
}

void Axis::log_ticks() {
  const int from = static_cast<int>(std::floor(std::log10(low_)));
  const int to = static_cast<int>(std::ceil(std::log10(high_)));
  const auto fill = [&](const std::vector<double>& factors, int every) {
    ticks_.clear();
    for (int exponent = from; exponent <= to; exponent += every) {
      for (const double factor : factors) {
        const double value = factor * std::pow(10.0, exponent);
        if (value < low_ || value > high_) continue;
        const int decimals = value >= 1 ? (value < 10 && factor != std::round(factor) ? 1 : 0)
                                        : -exponent + (factor == std::round(factor) ? 0 : 1);
        ticks_.push_back(
            {value, to - from > 4 ? with_superscript(exponent) : tick_label(value, decimals)});
      }
    }
  };
  const double decades = std::log10(high_ / low_);
  if (decades > 4) {
    fill({1}, std::max(1, static_cast<int>(std::ceil(decades / 5))));
  } else if (decades > 2) {
    fill({1}, 1);
  } else if (decades > 0.8) {
    fill({1, 2, 5}, 1);
  } else {
    fill({1, 1.5, 2, 3, 4, 5, 6, 8}, 1);
  }
}

std::string marker(int shape, double x, double y, double size) {
  const auto path = [&](std::initializer_list<std::pair<double, double>> corners) {
    std::string d;
    for (const auto& [dx, dy] : corners) {
      d += (d.empty() ? "M" : "L") + px(x + dx * size) + " " + px(y + dy * size);
    }
    return "<path class=\"m\" d=\"" + d + "Z\"/>";
  };
  switch (shape % 8) {
    case 0:
      return "<circle class=\"m\" cx=\"" + px(x) + "\" cy=\"" + px(y) + "\" r=\"" + px(size) +
             "\"/>";
    case 1:
      return path({{-.9, -.9}, {.9, -.9}, {.9, .9}, {-.9, .9}});
    case 2:
      return path({{0, -1.2}, {1.1, .8}, {-1.1, .8}});
    case 3:
      return path({{0, -1.3}, {1.3, 0}, {0, 1.3}, {-1.3, 0}});
    case 4:
      return path({{0, 1.2}, {1.1, -.8}, {-1.1, -.8}});
    case 5:
      return path({{-.4, -1.2},
                   {.4, -1.2},
                   {.4, -.4},
                   {1.2, -.4},
                   {1.2, .4},
                   {.4, .4},
                   {.4, 1.2},
                   {-.4, 1.2},
                   {-.4, .4},
                   {-1.2, .4},
                   {-1.2, -.4},
                   {-.4, -.4}});
    case 6:
      return path({{0, -1.4},
                   {.35, -.45},
                   {1.3, -.45},
                   {.55, .15},
                   {.85, 1.1},
                   {0, .55},
                   {-.85, 1.1},
                   {-.55, .15},
                   {-1.3, -.45},
                   {-.35, -.45}});
    default:
      return path({{-.55, -1.1}, {.55, -1.1}, {1.1, 0}, {.55, 1.1}, {-.55, 1.1}, {-1.1, 0}});
  }
}

std::vector<double> spread_labels(const std::vector<double>& wanted, double gap, double low,
                                  double high) {
  std::vector<std::size_t> order(wanted.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return wanted[a] < wanted[b]; });
  // Labels that touch form a block around the mean of what they want; blocks that touch merge.
  struct Block {
    double sum;  // of wanted minus place in the block
    double size;
    double top(double gap, double low, double high) const {
      return std::max(low, std::min(sum / size, high - (size - 1) * gap));
    }
  };
  std::vector<Block> blocks;
  for (const std::size_t i : order) {
    blocks.push_back({wanted[i], 1});
    while (blocks.size() > 1) {
      const Block last = blocks.back();
      Block& before = blocks[blocks.size() - 2];
      if (before.top(gap, low, high) + before.size * gap <= last.top(gap, low, high)) break;
      before.sum += last.sum - last.size * before.size * gap;
      before.size += last.size;
      blocks.pop_back();
    }
  }
  std::vector<double> placed(wanted.size());
  std::size_t next = 0;
  for (const Block& block : blocks) {
    for (double k = 0; k < block.size; ++k) {
      placed[order[next++]] = block.top(gap, low, high) + k * gap;
    }
  }
  return placed;
}

std::string shortened(const std::string& text, std::size_t most) {
  std::string kept;
  std::size_t shown = 0;
  for (const char byte : text) {
    if ((byte & 0xc0) != 0x80 && ++shown > most) {
      while (!kept.empty() && (kept.back() & 0xc0) == 0x80) kept.pop_back();
      if (!kept.empty()) kept.pop_back();
      return kept + "…";
    }
    kept += byte;
  }
  return kept;
}

}  // namespace sae::report

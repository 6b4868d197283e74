#include "html/heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "html/svg.h"

namespace sae::report {
namespace {

constexpr double kHeatWidth = 340;
constexpr double kHeatTop = 26, kHeatFoot = 42;
constexpr double kRowHeight = 30;
constexpr double kLeastColumn = 38;   // holds ".184*"
constexpr double kLabelLetter = 6.8;  // mean width at the label size, 12 px
constexpr std::size_t kLongestLabel = 14;

// Viridis (Nathaniel Smith, Stefan van der Walt; CC0) at tenths.
constexpr std::array<std::array<int, 3>, 11> kViridis = {{{68, 1, 84},
                                                          {72, 36, 117},
                                                          {65, 68, 135},
                                                          {53, 95, 141},
                                                          {42, 120, 142},
                                                          {33, 145, 140},
                                                          {34, 168, 132},
                                                          {68, 191, 112},
                                                          {122, 209, 81},
                                                          {189, 223, 38},
                                                          {253, 231, 37}}};

/// Relative luminance as WCAG 2 defines it, of "#rrggbb".
double luminance(const std::string& colour) {
  constexpr double kWeights[] = {0.2126, 0.7152, 0.0722};
  double sum = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const double part = std::stoi(colour.substr(1 + 2 * i, 2), nullptr, 16) / 255.0;
    sum += kWeights[i] * (part <= 0.04045 ? part / 12.92 : std::pow((part + 0.055) / 1.055, 2.4));
  }
  return sum;
}

std::size_t longest(const std::vector<std::string>& labels) {
  std::size_t most = 0;
  for (const std::string& label : labels) most = std::max(most, label.size());
  return std::min(most, kLongestLabel);
}

/// Smallest and greatest value of the map.
struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  double share(double value) const { return high > low ? (value - low) / (high - low) : 0.5; }
};

Range range_of(const HeatMap& map) {
  Range range;
  for (const auto& row : map.cells) {
    for (const auto& cell : row) {
      if (!cell) continue;
      range.low = std::min(range.low, cell->value);
      range.high = std::max(range.high, cell->value);
    }
  }
  return range;
}

std::string draw_cell(const std::optional<HeatCell>& cell, const Range& range, double x, double y,
                      double width) {
  const std::string place = "<rect x=\"" + px(x + .5) + "\" y=\"" + px(y + .5) + "\" width=\"" +
                            px(width - 1) + "\" height=\"" + px(kRowHeight - 1) + "\" ";
  const double middle = x + width / 2, base = y + kRowHeight / 2 + 4;
  if (!cell) {
    return place + "class=\"empty\"/>" + text_at(middle, base, "middle", "tick", "–");
  }
  const std::string colour = heat_colour(range.share(cell->value));
  return "<g>" + (cell->title.empty() ? "" : "<title>" + escaped(cell->title) + "</title>") +
         place + "style=\"fill:" + colour + "\"/><text class=\"cell\" x=\"" + px(middle) +
         "\" y=\"" + px(base) + "\" text-anchor=\"middle\" style=\"fill:" + ink_on(colour) + "\">" +
         escaped(cell->text) + "</text></g>\n";
}

}  // namespace

std::string heat_colour(double share) {
  const double at = std::clamp(share, 0.0, 1.0) * static_cast<double>(kViridis.size() - 1);
  const auto low = std::min(static_cast<std::size_t>(at), kViridis.size() - 2);
  const double part = at - static_cast<double>(low);
  std::string colour = "#";
  for (std::size_t i = 0; i < 3; ++i) {
    const auto level = static_cast<std::size_t>(
        std::lround((1 - part) * kViridis[low][i] + part * kViridis[low + 1][i]));
    colour += "0123456789abcdef"[level / 16];
    colour += "0123456789abcdef"[level % 16];
  }
  return colour;
}

std::string ink_on(const std::string& colour) {
  const double light = luminance(colour);
  return (light + 0.05) / 0.05 > 1.05 / (light + 0.05) ? "#000000" : "#ffffff";
}

Drawing drawing(const HeatMap& map) {
  const auto columns = static_cast<double>(map.x_labels.size());
  const double left = 14 + kLabelLetter * static_cast<double>(longest(map.y_labels));
  const double label_room = kLabelLetter * static_cast<double>(longest(map.x_labels)) + 6;
  const double column =
      std::max({kLeastColumn, label_room, (kHeatWidth - left - 18) / std::max(columns, 1.0)});
  const double bottom = kHeatTop + kRowHeight * static_cast<double>(map.y_labels.size());
  Drawing out{map.title, map.description, left + column * columns + 18, bottom + kHeatFoot, "",
              true};
  const Range range = range_of(map);
  for (std::size_t row = 0; row < map.y_labels.size(); ++row) {
    const double y = bottom - kRowHeight * static_cast<double>(row + 1);
    out.body += text_at(left - 7, y + kRowHeight / 2 + 4, "end", "tick",
                        shortened(map.y_labels[row], kLongestLabel));
    for (std::size_t i = 0; i < map.x_labels.size(); ++i) {
      out.body +=
          draw_cell(map.cells[row][i], range, left + column * static_cast<double>(i), y, column);
    }
  }
  for (std::size_t i = 0; i < map.x_labels.size(); ++i) {
    out.body += text_at(left + column * (static_cast<double>(i) + .5), bottom + 18, "middle",
                        "tick", shortened(map.x_labels[i], kLongestLabel));
  }
  out.body += text_at(left + column * columns / 2, out.height - 6, "middle", "name", map.x_title);
  out.body += text_at(4, 13, "", "name", map.y_title);
  return out;
}

}  // namespace sae::report

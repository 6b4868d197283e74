// Heat maps: a value in every cell of a grid, as a colour and in figures.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "html/drawing.h"

namespace sae::report {

struct HeatCell {
  double value = 0;
  std::string text;   ///< shown in the cell
  std::string title;  ///< shown when pointed at
};

struct HeatMap {
  std::string title, description, x_title, y_title;
  std::vector<std::string> x_labels, y_labels;  ///< left to right, bottom up
  /// [y_labels][x_labels]; none: nothing was measured there.
  std::vector<std::vector<std::optional<HeatCell>>> cells;
};

/// Colours run from the least to the greatest value of this map. Texts contrast with their cell by
/// 4.5 to 1 and more.
Drawing drawing(const HeatMap& map);

/// "#21918c": viridis, whose lightness grows evenly, also in print and for colour-blind eyes;
/// `share` in [0, 1].
std::string heat_colour(double share);

/// Black or white, whichever stands out more from a colour such as "#21918c".
std::string ink_on(const std::string& colour);

}  // namespace sae::report

// Several drawings as one SVG file that needs nothing else, for a README.
#pragma once

#include <string>
#include <vector>

#include "html/chart.h"
#include "html/drawing.h"

namespace sae::report {

struct LegendEntry {
  Look look;
  std::string label;
};

struct Sheet {
  std::string title;
  std::string note;  ///< under the title, broken into lines
  std::vector<LegendEntry> legend;
  std::vector<Drawing> drawings;
};

/// An SVG document with its own style and background, light or dark as the reader's.
std::string svg_file(const Sheet& sheet);

}  // namespace sae::report

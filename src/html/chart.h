// Charts as inline SVG: lines with whiskers, bands, bars. All share one frame and one style sheet.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "html/drawing.h"
#include "html/svg.h"

namespace sae::report {

/// How a member looks in every chart: its colour (CSS class s0 to s8) and marker.
struct Look {
  int colour = 0;
  int shape = 0;
  bool strong = false;  ///< a thicker line: what the comparison is about
};

struct Point {
  double x = 0;
  double y = 0;
  double sd = 0;      ///< half the whisker's length; 0: none
  std::string title;  ///< shown when pointed at
};

struct Series {
  std::string label;  ///< empty: none is drawn
  Look look;
  std::vector<Point> points;
  bool markers = true;
  bool dashed = false;
};

struct Band {
  int colour = 0;
  std::vector<double> x, low, high;
};

struct Chart {
  std::string title;        ///< caption
  std::string description;  ///< for who cannot see it
  std::string x_title, y_title;
  bool log_x = false, log_y = false;
  std::optional<double> y_low, y_high;  ///< fixed ends
  std::vector<Tick> x_ticks;            ///< empty: round numbers
  bool names = false;  ///< x is no scale but places of names, the ticks: no lines, each labelled
  std::vector<Series> series;
  std::vector<Band> bands;
  bool small = false;    ///< one of several side by side
  bool scatter = false;  ///< points are no curve: no lines, labels stand beside the points
};

struct Bars {
  std::string title, description, x_title, y_title;
  Look look;
  std::vector<double> edges, heights;  ///< log10 edges, one more than heights
  std::vector<std::string> titles;     ///< one a bar
  double y_high = 1;
  std::string note;  ///< in the plot's upper corner
};

Drawing drawing(const Chart& chart);
Drawing drawing(const Bars& bars);

/// As a figure of a page (drawing.h).
std::string draw(const Chart& chart, const std::string& id);
std::string draw(const Bars& bars, const std::string& id);

/// The member's line and marker alone, for a legend: an element of a page, and SVG of 30 by 14.
std::string swatch(const Look& look);
std::string key_of(const Look& look);

}  // namespace sae::report

#include "html/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "html/svg.h"
#include "sae/base/text.h"

namespace sae::report {
namespace {

constexpr double kCharacter = 6.8;  // mean width of one at the label size, 12 px
constexpr double kStrongCharacter = 7.6;
constexpr double kLabelGap = 13.5;
constexpr std::size_t kLabelCharacters = 17;

/// The plot area of one SVG and its two axes.
struct Frame {
  double width, height;
  double left, right, top, bottom;  // the plot area's edges in pixels
};

Frame make_frame(double width, double height, double label_room) {
  Frame frame{width, height, 46, 0, 26, 0};
  frame.right = frame.width - (label_room > 0 ? label_room + 20 : 18);
  frame.bottom = frame.height - 42;
  return frame;
}

std::string colour_class(int colour) { return "s" + std::to_string(colour); }

/// Whether the ticks' labels, all of them, fit side by side.
bool fit(const Axis& x) {
  double free_from = -HUGE_VAL;
  for (const Tick& tick : x.ticks()) {
    const double half = 0.5 * kCharacter * static_cast<double>(tick.label.size());
    if (x.at(tick.value) - half < free_from) return false;
    free_from = x.at(tick.value) + half + 4;
  }
  return true;
}

/// Names in one row, or in two that alternate: none may be left out.
std::string draw_names(const Frame& frame, const Axis& x) {
  const bool one_row = fit(x);
  std::string svg;
  bool low = false;
  for (const Tick& tick : x.ticks()) {
    const double at = x.at(tick.value);
    svg += line_between(at, frame.bottom, at, frame.bottom + (low ? 19 : 5), "axis");
    svg += text_at(at, frame.bottom + (low ? 31 : 18), "middle", "tick", tick.label);
    low = !one_row && !low;
  }
  return svg;
}

std::string draw_numbers(const Frame& frame, const Axis& x) {
  std::string svg;
  double free_from = -1;  // a label that would touch the one before it is left out
  for (const Tick& tick : x.ticks()) {
    const double at = x.at(tick.value);
    svg += line_between(at, frame.bottom, at, frame.bottom + 5, "axis");
    const double half =
        0.5 * kCharacter * static_cast<double>(std::min<std::size_t>(tick.label.size(), 6));
    if (at - half < free_from) continue;
    free_from = at + half + 4;
    svg += text_at(at, frame.bottom + 18, "middle", "tick", tick.label);
  }
  return svg;
}

std::string draw_axes(const Frame& frame, const Axis& x, const Axis& y, const std::string& x_title,
                      const std::string& y_title, bool names = false) {
  std::string svg;
  for (const Tick& tick : y.ticks()) {
    svg += line_between(frame.left, y.at(tick.value), frame.right, y.at(tick.value), "grid");
    svg += text_at(frame.left - 7, y.at(tick.value) + 4, "end", "tick", tick.label);
  }
  svg += line_between(frame.left, frame.bottom, frame.right, frame.bottom, "axis");
  svg += names ? draw_names(frame, x) : draw_numbers(frame, x);
  svg += text_at(0.5 * (frame.left + frame.right), frame.height - 6, "middle", "name", x_title);
  svg += text_at(4, 13, "", "name", y_title);
  return svg;
}

std::string draw_band(const Band& band, const Axis& x, const Axis& y) {
  std::string d;
  for (std::size_t i = 0; i < band.x.size(); ++i) {
    d += (i == 0 ? "M" : "L") + px(x.at(band.x[i])) + " " + px(y.at(band.high[i]));
  }
  for (std::size_t i = band.x.size(); i-- > 0;) {
    d += "L" + px(x.at(band.x[i])) + " " + px(y.at(band.low[i]));
  }
  return "<path class=\"band " + colour_class(band.colour) + "\" d=\"" + d + "Z\"/>\n";
}

std::string draw_series(const Series& series, const Axis& x, const Axis& y, bool line) {
  std::string svg = "<g class=\"" + colour_class(series.look.colour) +
                    (series.look.strong ? " strong" : "") + (series.dashed ? " dashed" : "") +
                    "\">\n";
  if (line && series.points.size() > 1) {
    std::string d;
    for (const Point& point : series.points) {
      d += (d.empty() ? "M" : "L") + px(x.at(point.x)) + " " + px(y.at(point.y));
    }
    svg += "<path class=\"line\" d=\"" + d + "\"/>\n";
  }
  for (const Point& point : series.points) {
    if (!series.markers && series.points.size() > 1) break;
    const double at = x.at(point.x);
    svg += "<g>" + (point.title.empty() ? "" : "<title>" + escaped(point.title) + "</title>");
    if (point.sd > 0) {
      const double high = y.at(point.y + point.sd), low = y.at(point.y - point.sd);
      svg += "<path class=\"whisker\" d=\"M" + px(at) + " " + px(high) + "V" + px(low) + "M" +
             px(at - 3) + " " + px(high) + "h6M" + px(at - 3) + " " + px(low) + "h6\"/>";
    }
    svg += marker(series.look.shape, at, y.at(point.y)) + "</g>\n";
  }
  return svg + "</g>\n";
}

/// Labels in the right margin, each joined to its line's last point.
std::string draw_end_labels(const Chart& chart, const Frame& frame, const Axis& x, const Axis& y) {
  std::vector<const Series*> labelled;
  std::vector<double> wanted;
  for (const Series& series : chart.series) {
    if (series.label.empty() || series.points.empty()) continue;
    labelled.push_back(&series);
    wanted.push_back(y.at(series.points.back().y));
  }
  const double room = frame.bottom - frame.top;
  if (kLabelGap * static_cast<double>(labelled.size()) > room) return "";  // the legend has them
  const auto places = spread_labels(wanted, kLabelGap, frame.top + 2, frame.bottom - 2);
  std::string svg;
  for (std::size_t i = 0; i < labelled.size(); ++i) {
    const Series& series = *labelled[i];
    const double end = x.at(series.points.back().x);
    svg += "<path class=\"leader\" d=\"M" + px(end + 6) + " " + px(wanted[i]) + "L" +
           px(std::max(end + 6, frame.right + 2)) + " " + px(wanted[i]) + "L" +
           px(frame.right + 12) + " " + px(places[i]) + "\"/>\n";
    svg +=
        text_at(frame.right + 15, places[i] + 4, "",
                "label " + colour_class(series.look.colour) + (series.look.strong ? " strong" : ""),
                shortened(series.label, kLabelCharacters));
  }
  return svg;
}

double label_width(const Series& series) {
  return (series.look.strong ? kStrongCharacter : kCharacter) *
         static_cast<double>(std::min(series.label.size(), kLabelCharacters));
}

struct Box {
  double x1, y1, x2, y2;
  bool touches(const Box& o) const { return x1 < o.x2 && o.x1 < x2 && y1 < o.y2 && o.y1 < y2; }
};

/// Labels beside scattered points, each at the first of six places where it covers nothing.
std::string draw_point_labels(const Chart& chart, const Frame& frame, const Axis& x,
                              const Axis& y) {
  std::vector<Box> taken;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      const double at = x.at(point.x);
      taken.push_back({at - 5, y.at(point.y) - 5, at + 5, y.at(point.y) + 5});
    }
  }
  std::vector<const Series*> order;  // the strong ones choose first
  for (const Series& series : chart.series) order.push_back(&series);
  std::stable_sort(order.begin(), order.end(), [](const Series* one, const Series* other) {
    return one->look.strong > other->look.strong;
  });
  std::string svg;
  for (const Series* each : order) {
    const Series& series = *each;
    if (series.label.empty() || series.points.empty()) continue;
    const std::string label = shortened(series.label, kLabelCharacters);
    const double width = label_width(series);
    const double at = x.at(series.points.back().x), level = y.at(series.points.back().y);
    const double half = width / 2;
    const struct {
      double x, base, left;
      const char* anchor;
    } places[] = {
        {at + 9, level + 4, at + 9, "start"}, {at - 9, level + 4, at - 9 - width, "end"},
        {at, level - 9, at - half, "middle"}, {at, level + 18, at - half, "middle"},
        {at + 6, level - 9, at + 6, "start"}, {at - 6, level + 18, at - 6 - width, "end"}};
    for (const auto& place : places) {
      const Box box{place.left, place.base - 10, place.left + width, place.base + 3};
      const bool free = std::none_of(taken.begin(), taken.end(),
                                     [&](const Box& other) { return box.touches(other); });
      if (!free || box.x1 < frame.left || box.x2 > frame.width || box.y1 < frame.top - 8 ||
          box.y2 > frame.bottom) {
        continue;
      }
      taken.push_back(box);
      svg += text_at(
          place.x, place.base, place.anchor,
          "label " + colour_class(series.look.colour) + (series.look.strong ? " strong" : ""),
          label);
      break;
    }
  }
  return svg;
}

struct Extent {
  bool positive = false;  // a logarithmic axis has no place for others
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  void add(double value) {
    if (positive && value <= 0) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

}  // namespace

Drawing drawing(const Chart& chart) {
  Extent xs{.positive = chart.log_x}, ys{.positive = chart.log_y};
  double label_room = 0;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      xs.add(point.x);
      ys.add(point.y);
      ys.add(point.y - point.sd);
      ys.add(point.y + point.sd);
    }
    label_room = chart.scatter ? 45 : std::max(label_room, label_width(series));
  }
  for (const Band& band : chart.bands) {
    for (const double value : band.x) xs.add(value);
    for (const double value : band.low) ys.add(value);
    for (const double value : band.high) ys.add(value);
  }
  if (chart.y_low) ys.low = *chart.y_low;
  if (chart.y_high) ys.high = *chart.y_high;

  Frame frame = chart.small ? make_frame(340, 250, label_room) : make_frame(440, 305, label_room);
  if (chart.names) frame.bottom -= 14;  // for the second row
  Axis y(ys.low, ys.high, chart.log_y, true, frame.bottom, frame.top);
  std::size_t widest = 0;
  for (const Tick& tick : y.ticks()) widest = std::max(widest, tick.label.size());
  frame.left = 14 + kCharacter * static_cast<double>(std::min<std::size_t>(widest, 7));
  if (chart.names) {  // room for half a name at either end
    xs.low -= 0.4;
    xs.high += 0.4;
  }
  Axis x(xs.low, xs.high, chart.log_x, false, frame.left, frame.right);
  if (!chart.x_ticks.empty()) x.mark(chart.x_ticks);

  std::string svg = draw_axes(frame, x, y, chart.x_title, chart.y_title, chart.names);
  for (const Band& band : chart.bands) svg += draw_band(band, x, y);
  for (const bool strong : {false, true}) {  // the strong ones on top
    for (const Series& series : chart.series) {
      if (series.look.strong == strong)
        svg += draw_series(series, x, y, !chart.scatter && (!chart.names || series.dashed));
    }
  }
  svg +=
      chart.scatter ? draw_point_labels(chart, frame, x, y) : draw_end_labels(chart, frame, x, y);
  return {chart.title, chart.description, frame.width, frame.height, svg, chart.small};
}

Drawing drawing(const Bars& bars) {
  Frame frame = make_frame(270, 200, 0);
  const Axis y(0, bars.y_high, false, true, frame.bottom, frame.top);
  const Axis x(std::pow(10.0, bars.edges.front()), std::pow(10.0, bars.edges.back()), true, false,
               frame.left, frame.right);
  std::string svg = draw_axes(frame, x, y, bars.x_title, bars.y_title);
  svg += "<g class=\"" + colour_class(bars.look.colour) + "\">\n";
  for (std::size_t i = 0; i < bars.heights.size(); ++i) {
    if (bars.heights[i] <= 0) continue;
    const double left = x.at(std::pow(10.0, bars.edges[i]));
    const double right = x.at(std::pow(10.0, bars.edges[i + 1]));
    const double top = y.at(bars.heights[i]);
    svg += "<path class=\"bar\" d=\"M" + px(left + .5) + " " + px(frame.bottom) + "V" + px(top) +
           "H" + px(right - .5) + "V" + px(frame.bottom) + "Z\"><title>" + escaped(bars.titles[i]) +
           "</title></path>\n";
  }
  svg += "</g>\n";
  if (!bars.note.empty()) {
    svg += text_at(frame.right - 2, frame.top + 10, "end", "tick", bars.note);
  }
  return {bars.title, bars.description, frame.width, frame.height, svg, true};
}

std::string draw(const Chart& chart, const std::string& id) { return figure(drawing(chart), id); }
std::string draw(const Bars& bars, const std::string& id) { return figure(drawing(bars), id); }

std::string key_of(const Look& look) {
  return "<g class=\"" + colour_class(look.colour) + (look.strong ? " strong" : "") +
         "\"><path class=\"line\" d=\"M1 7L29 7\"/>" + marker(look.shape, 15, 7) + "</g>";
}

std::string swatch(const Look& look) {
  return "<svg class=\"swatch\" viewBox=\"0 0 30 14\" aria-hidden=\"true\">" + key_of(look) +
         "</svg>";
}

}  // namespace sae::report

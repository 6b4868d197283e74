#include "html/sheet.h"

#include <algorithm>

#include "html/assets.h"
#include "html/svg.h"
#include "sae/base/text.h"

namespace sae::report {
namespace {

constexpr double kMargin = 20, kGap = 26;
constexpr double kCaption = 24;     // above each drawing
constexpr double kLineHeight = 18;  // of notes and the legend
constexpr double kLetter = 6.6;     // mean width at 12 px
constexpr std::size_t kColumns = 3;

std::string placed(const std::string& body, double x, double y) {
  return "<g transform=\"translate(" + px(x) + " " + px(y) + ")\">\n" + body + "</g>\n";
}

/// Entries side by side, in as many lines as they need from `y` on, which is moved below them.
std::string draw_legend(const std::vector<LegendEntry>& legend, double width, double& y) {
  std::string svg;
  double x = kMargin;
  for (const LegendEntry& entry : legend) {
    const double room = 56 + kLetter * static_cast<double>(entry.label.size());
    if (x > kMargin && x + room > width - kMargin) {
      x = kMargin;
      y += kLineHeight;
    }
    svg += placed(key_of(entry.look), x, y - 11) + text_at(x + 36, y, "", "label-ink", entry.label);
    x += room;
  }
  if (!legend.empty()) y += kLineHeight;
  return svg;
}

}  // namespace

std::string svg_file(const Sheet& sheet) {
  double cell = 0;
  for (const Drawing& one : sheet.drawings) cell = std::max(cell, one.width);
  const std::size_t columns = std::clamp<std::size_t>(sheet.drawings.size(), 1, kColumns);
  const double width = std::max(340.0, 2 * kMargin + cell * static_cast<double>(columns) +
                                           kGap * static_cast<double>(columns - 1));
  double y = 30;
  std::string body = text_at(kMargin, y, "", "title", sheet.title);
  y += 8;
  const auto line = static_cast<std::size_t>((width - 2 * kMargin) / kLetter);
  for (const std::string& text : wrapped(sheet.note, line)) {
    y += kLineHeight;
    body += text_at(kMargin, y - 4, "", "name", text);
  }
  y += kLineHeight + 2;
  body += draw_legend(sheet.legend, width, y);
  for (std::size_t i = 0; i < sheet.drawings.size(); i += columns) {
    double tallest = 0;
    for (std::size_t k = i; k < std::min(i + columns, sheet.drawings.size()); ++k) {
      const Drawing& one = sheet.drawings[k];
      const double x = kMargin + (cell + kGap) * static_cast<double>(k - i);
      body += text_at(x, y + 12, "", "caption", one.title);
      body += placed(one.body, x, y + kCaption);
      tallest = std::max(tallest, one.height);
    }
    y += kCaption + tallest + kGap;
  }
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"" + px(width) +
         "\" height=\"" + px(y) + "\" viewBox=\"0 0 " + px(width) + " " + px(y) + "\">\n<title>" +
         escaped(sheet.title) + "</title>\n<style>\n" + assets::chart_css +
         "</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n" + body + "</svg>\n";
}

}  // namespace sae::report

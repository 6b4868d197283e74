#include "report/sections.h"

#include <algorithm>
#include <cmath>

#include "html/svg.h"

namespace sae::report {

std::string section(const std::string& title, const std::string& note, const std::string& body) {
  return "<section>\n<h2>" + escaped(title) + "</h2>\n" +
         (note.empty() ? "" : "<p class=\"note\">" + escaped(note) + "</p>\n") + body +
         "</section>\n";
}

std::string grid(const std::string& figures, const char* css) {
  return std::string("<div class=\"") + css + "\">\n" + figures + "</div>\n";
}

std::string details(const std::string& summary, const std::string& body) {
  return "<details>\n<summary>" + escaped(summary) + "</summary>\n" + body + "</details>\n";
}

std::string scrolling(const std::string& name, const std::string& table, const std::string& css) {
  std::string html = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"";
  html += escaped(name) + "\">\n<table";
  if (!css.empty()) html += " class=\"" + css + "\"";
  return html + ">\n" + table + "</table>\n</div>\n";
}

std::string in_panels(const ComparisonResult& result, const PanelFigures& figures_of,
                      const char* css) {
  const std::vector<Panel> panels = panels_of(result);
  std::string html;
  for (std::size_t i = 0; i < panels.size(); ++i) {
    const std::string figures =
        figures_of(panels[i], panels.size() == 1 ? "" : "-" + std::to_string(i));
    if (figures.empty()) continue;
    if (!panels[i].title.empty()) html += "<h3>" + escaped(panels[i].title) + "</h3>\n";
    html += grid(figures, css);
  }
  return html;
}

std::string legend_of(const std::vector<std::pair<Look, std::string>>& entries) {
  std::string html = "<ul class=\"legend\">\n";
  for (const auto& [look, label] : entries) {
    html += "<li>" + swatch(look) + escaped(label) + "</li>\n";
  }
  return html + "</ul>\n";
}

std::string capital(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
  return text;
}

bool wide(const std::vector<Series>& series, double Point::*of) {
  double low = HUGE_VAL, high = 0;
  for (const Series& one : series) {
    for (const Point& point : one.points) {
      low = std::min(low, point.*of);
      high = std::max(high, point.*of);
    }
  }
  return low > 0 && high > 4 * low;
}

std::string members_of(const std::vector<Series>& series) {
  std::string text;
  for (const Series& one : series) text += (text.empty() ? "" : ", ") + one.label;
  return text;
}

}  // namespace sae::report

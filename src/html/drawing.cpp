#include "html/drawing.h"

#include "html/svg.h"

namespace sae::report {

std::string figure(const Drawing& drawing, const std::string& id) {
  return std::string("<figure") + (drawing.small ? " class=\"small\"" : "") + ">\n<figcaption>" +
         escaped(drawing.title) + "</figcaption>\n<svg role=\"img\" viewBox=\"0 0 " +
         px(drawing.width) + " " + px(drawing.height) + "\" aria-labelledby=\"" + id + "-t " + id +
         "-d\">\n<title id=\"" + id + "-t\">" + escaped(drawing.title) + "</title>\n<desc id=\"" +
         id + "-d\">" + escaped(drawing.description) + "</desc>\n" + drawing.body +
         "</svg>\n</figure>\n";
}

}  // namespace sae::report

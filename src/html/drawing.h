// A drawing in SVG with what a reader is told of it, as a figure of a page.
#pragma once

#include <string>

namespace sae::report {

struct Drawing {
  std::string title;        ///< caption
  std::string description;  ///< for who cannot see it
  double width = 0, height = 0;
  std::string body;    ///< SVG elements within (0, 0) to (width, height)
  bool small = false;  ///< one of several side by side
};

/// <figure> with caption and SVG; `id` makes its title and description referable.
std::string figure(const Drawing& drawing, const std::string& id);

}  // namespace sae::report

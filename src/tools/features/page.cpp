#include "tools/features/page.h"

#include "html/assets.h"
#include "html/svg.h"

namespace sae {

// In assets/features.css --shade at --a times --most lies under text of colour --ink: contrast
// stays above 4.5 to 1. The scripts only ever set text from the data as text, never as markup;
// views.js uses the names of list.js.
std::string features_page(const std::string& title) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>" +
         report::escaped(title) + "</title>\n<style>\n" + assets::features_css +
         "</style>\n</head>\n<body>\n" + assets::features_html + "<script>\n" + assets::list_js +
         "\n" + assets::views_js +
         "</script>\n<script src=\"data/index.js\" onerror=\"saeMissing('data/index.js')\">"
         "</script>\n</body>\n</html>\n";
}

}  // namespace sae

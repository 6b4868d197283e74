#include "tools/blind/page.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "html/assets.h"
#include "sae/base/sha256.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

const std::string kItems = "<script type=\"application/json\" id=\"items\">";
const std::string kEnd = "</script>\n";

/// JSON for inside of a script element, which no text in it can end.
std::string embedded(const Json& json) {
  std::string text;
  for (const char c : json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace)) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace

std::string items_json(const std::vector<ShownItem>& items) {
  std::string text = "[";
  const char* separator = "\n";
  for (const ShownItem& item : items) {
    text += std::exchange(separator, ",\n") + embedded({{"id", item.id}, {"texts", item.texts}});
  }
  return text + "\n]";
}

// The policy in its head forbids the page any request. The script sets texts of the store as text,
// never as markup.
std::string blind_page(const std::string& items_json, const std::vector<PracticeItem>& practice) {
  Json practised = Json::array();
  for (const PracticeItem& item : practice) {
    practised.push_back({{"texts", item.texts}, {"answer", item.answer}, {"shared", item.shared}});
  }
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
         "style-src 'unsafe-inline'; script-src 'unsafe-inline'\"/>\n"
         "<title>Which text does not belong?</title>\n<style>\n" +
         assets::blind_css + "</style>\n</head>\n<body data-sha256=\"" + sha256_hex(items_json) +
         "\">\n" + assets::blind_html + kItems + items_json + kEnd +
         "<script type=\"application/json\" id=\"practice\">" + embedded(practised) + kEnd +
         "<script>\n" + assets::blind_js + "</script>\n</body>\n</html>\n";
}

std::string items_of_page(const std::string& page) {
  const std::size_t begin = page.find(kItems);
  if (begin == std::string::npos) return "";
  const std::size_t end = page.find(kEnd, begin);
  if (end == std::string::npos) return "";
  return page.substr(begin + kItems.size(), end - begin - kItems.size());
}

}  // namespace sae

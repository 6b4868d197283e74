// page.html of `sae blind`: items and practice as JSON, markup, style and script (assets/).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/blind/windows.h"

namespace sae {

/// An item as people see it.
struct ShownItem {
  std::string id;
  std::vector<MarkedText> texts;
};

struct PracticeItem {
  std::vector<MarkedText> texts;
  std::int64_t answer = 1;  ///< which intrudes, from 1
  std::string shared;       ///< the token that the others have
};

/// [{"id": "5f0c...", "texts": [["not marked", "marked", ...], ...]}, ...] as the page has it,
/// which its hash is of.
std::string items_json(const std::vector<ShownItem>& items);

std::string blind_page(const std::string& items_json, const std::vector<PracticeItem>& practice);

/// The items of a page, as `items_json` made them; empty if it is none.
std::string items_of_page(const std::string& page);

}  // namespace sae

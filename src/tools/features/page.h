// The page of latents itself: markup, style and script (assets/) in one file.
#pragma once

#include <string>

namespace sae {

/// index.html, which loads data/index.js.
std::string features_page(const std::string& title);

}  // namespace sae

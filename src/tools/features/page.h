// The page of latents itself: markup, style and script in one file.
#pragma once

#include <string>

namespace sae {

extern const char* const kFeaturesStyle;
extern const char* const kFeaturesScript;
extern const char* const kFeaturesViews;

/// index.html, which loads data/index.js.
std::string features_page(const std::string& title);

}  // namespace sae

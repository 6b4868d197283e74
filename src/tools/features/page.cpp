#include "tools/features/page.h"

#include "html/svg.h"

namespace sae {
namespace {

const char* const kBody = R"html(
<header>
<h1 id="title"></h1>
<p id="about" class="soft"></p>
<p id="missing" class="soft" hidden></p>
</header>
<div class="panes">
<nav id="list" aria-label="List of latents">
<div class="controls" role="search">
<label for="search">Search</label>
<input id="search" type="search" autocomplete="off" spellcheck="false" placeholder="number, token or class"/>
<label for="order">Sort by</label>
<select id="order">
<option value="number">number</option>
<option value="dense">density, highest first</option>
<option value="rare">density, lowest first</option>
<option value="max">largest activation</option>
<option value="mean">mean activation</option>
<option value="nearest">closest neighbour</option>
</select>
<label class="check"><input id="silent" type="checkbox"/> Show silent latents</label>
</div>
<p id="found" class="soft" role="status"></p>
<div class="columns soft" aria-hidden="true"><span>latent</span><span>density</span><span>largest</span><span>fires on</span></div>
<div id="rows" role="listbox" tabindex="0" aria-label="Latents"><div id="spacer" role="presentation"></div></div>
</nav>
<main id="detail" tabindex="-1"></main>
</div>
<noscript>This page shows its data with JavaScript, which is switched off here.</noscript>
)html";

}  // namespace

std::string features_page(const std::string& title) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>" +
         report::escaped(title) + "</title>\n<style>" + kFeaturesStyle +
         "</style>\n</head>\n<body>" + kBody + "<script>" + kFeaturesScript + kFeaturesViews +
         "</script>\n<script src=\"data/index.js\" onerror=\"saeMissing('data/index.js')\">"
         "</script>\n</body>\n</html>\n";
}

}  // namespace sae

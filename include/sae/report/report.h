// The comparison as one self-contained HTML page, and what it found in words.
//
// The page needs no network and no script: charts are inline SVG, the style is inline CSS for
// screens wide and narrow, light and dark, and for paper. A section without data is left out.
#pragma once

#include <map>
#include <string>

#include "sae/results/results.h"

namespace sae {

/// One paragraph of plain text made from the numbers at the middle matched L0: who absorbs least
/// and at what cost, where each masked member stands against its base and against Matryoshka. A
/// difference within the spread over seeds is called one; with one seed no spread is claimed.
/// Without ground truth it speaks of explained variance and dead latents.
std::string findings(const ComparisonResult& result);

/// Metrics over the axes of a comparison at its middle matched L0, the report's charts as SVG files
/// of their own: "axes-rate.svg" -> its text, one an axis and one a pair of axes. Without axes
/// none.
std::map<std::string, std::string> axes_files(const ComparisonResult& result);

/// report.html. The same result gives the same bytes.
std::string render_report(const ComparisonResult& result);

}  // namespace sae

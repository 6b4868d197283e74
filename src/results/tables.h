// What the tables of a comparison share: which metrics, and how a share is written.
#pragma once

#include <string>
#include <vector>

#include "sae/results/results.h"

namespace sae {

/// The measured metrics that tables show, the most telling first.
std::vector<MetricInfo> telling_metrics(const ComparisonResult& result);

/// ".031": a table of shares reads better without the zeros.
std::string short_fixed(double value, int decimals = 3);

}  // namespace sae

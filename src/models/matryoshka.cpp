#include "sae/models/matryoshka.h"

#include <torch/types.h>

#include <algorithm>
#include <functional>
#include <string>

#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/config/findings.h"

namespace sae {

namespace {

/// What is wrong with widths that are not empty, or an empty string.
std::string wrong_widths(const std::vector<std::int64_t>& widths, std::int64_t d_sae) {
  const bool ascending = std::is_sorted(widths.begin(), widths.end(), std::less_equal<>());
  if (ascending && widths.front() >= 1 && widths.back() == d_sae) return "";
  std::vector<std::string> got;
  for (const std::int64_t width : widths) got.push_back(std::to_string(width));
  return "got [" + joined(got) +
         "], expected ascending sizes that end with d_sae = " + std::to_string(d_sae);
}

}  // namespace

void MatryoshkaOptions::check(Findings& findings) const {
  batch_topk.check(findings);
  if (widths.empty()) return;
  const std::string wrong = wrong_widths(widths, batch_topk.base.d_sae);
  if (!wrong.empty()) findings.error("widths", wrong);
}

void MatryoshkaOptions::check(Findings& findings, const RunLength& run) const {
  batch_topk.check(findings, run);
}

std::vector<std::int64_t> matryoshka_widths(std::vector<std::int64_t> widths, std::int64_t d_sae) {
  if (widths.empty()) {
    for (const std::int64_t part : {32, 8, 2, 1}) {
      const std::int64_t width = d_sae / part;
      if (width > 0 && (widths.empty() || width > widths.back())) widths.push_back(width);
    }
  }
  const std::string wrong = wrong_widths(widths, d_sae);
  if (!wrong.empty()) throw ConfigError("model.widths: " + wrong);
  return widths;
}

namespace {

BatchTopKOptions cut_at_widths(const MatryoshkaOptions& options) {
  BatchTopKOptions cut = options.batch_topk;
  cut.base.placement.cuts = matryoshka_widths(options.widths, cut.base.d_sae);
  return cut;
}

}  // namespace

Matryoshka::Matryoshka(MatryoshkaOptions options)
    : BatchTopK(cut_at_widths(options)),
      widths_(matryoshka_widths(options.widths, options.batch_topk.base.d_sae)) {}

}  // namespace sae

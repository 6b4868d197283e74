#include "sae/models/matryoshka.h"

#include <torch/types.h>

#include <algorithm>
#include <functional>
#include <string>

#include "sae/base/error.h"
#include "sae/sparse/decode.h"

namespace sae {

std::vector<std::int64_t> matryoshka_widths(std::vector<std::int64_t> widths, std::int64_t d_sae) {
  if (widths.empty()) {
    for (const std::int64_t part : {32, 8, 2, 1}) {
      const std::int64_t width = d_sae / part;
      if (width > 0 && (widths.empty() || width > widths.back())) widths.push_back(width);
    }
  }
  const bool ascending = std::is_sorted(widths.begin(), widths.end(), std::less_equal<>());
  if (!ascending || widths.front() < 1 || widths.back() != d_sae) {
    std::string got;
    for (const std::int64_t width : widths)
      got += (got.empty() ? "" : ", ") + std::to_string(width);
    throw ConfigError("model.widths: got [" + got +
                      "], expected ascending sizes that end with d_sae = " + std::to_string(d_sae));
  }
  return widths;
}

Matryoshka::Matryoshka(MatryoshkaOptions options)
    : BatchTopK(options.batch_topk),
      widths_(matryoshka_widths(options.widths, options.batch_topk.base.d_sae)) {}

std::vector<at::Tensor> Matryoshka::reconstruct(const Codes& codes) const {
  return decode_prefixes(codes, widths_, W_dec, b_dec);
}

}  // namespace sae

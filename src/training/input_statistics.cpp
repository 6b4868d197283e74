#include "sae/training/input_statistics.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sae {
namespace {

at::Tensor squared_norms(const at::Tensor& x) { return x.square().sum(1, false, at::kDouble); }

/// [N] bool. The lower median, so that of two rows neither hides the other.
at::Tensor is_large(const at::Tensor& squares) {
  return squares > kLargeNorm * kLargeNorm * squares.median();
}

}  // namespace

at::Tensor usual_rows(const at::Tensor& x) {
  const at::NoGradGuard no_grad;
  const at::Tensor large = is_large(squared_norms(x));
  if (!large.any().item<bool>()) return x;
  return x.index_select(0, at::nonzero(large.logical_not()).squeeze(1));
}

InputStatistics input_statistics(const at::Tensor& x) {
  const at::NoGradGuard no_grad;
  constexpr double kLeast = 1e-300;  // of rows that are all 0 every share is 0
  const at::Tensor squares = squared_norms(x);
  const at::Tensor large = is_large(squares);
  const double total = squares.sum().item<double>();
  const double in_large = squares.masked_select(large).sum().item<double>();
  const at::Tensor usual = usual_rows(x);
  const double mean_square = (total - in_large) / static_cast<double>(usual.size(0));
  const double of_mean = usual.mean(0, false, at::kDouble).square().sum().item<double>();
  return {.tokens = x.size(0),
          .large = large.sum().item<std::int64_t>(),
          .large_share = in_large / std::max(total, kLeast),
          .mean_share = of_mean / std::max(mean_square, kLeast)};
}

nlohmann::ordered_json to_json(const InputStatistics& statistics) {
  return {{"tokens", statistics.tokens},
          {"large", statistics.large},
          {"large_share", statistics.large_share},
          {"mean_share", statistics.mean_share}};
}

InputStatistics input_statistics_from_json(const nlohmann::ordered_json& object) {
  return {.tokens = object.at("tokens").get<std::int64_t>(),
          .large = object.at("large").get<std::int64_t>(),
          .large_share = object.at("large_share").get<double>(),
          .mean_share = object.at("mean_share").get<double>()};
}

}  // namespace sae

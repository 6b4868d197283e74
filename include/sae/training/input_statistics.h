// InputStatistics: what about a run's activations decides whether its numbers mean anything.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

namespace sae {

/// A row is large if its norm is above this many times the median norm: an attention sink (the
/// first positions of a context in most decoders) or a special token, of which a handful can hold
/// more energy than all others together.
constexpr double kLargeNorm = 10;
/// Shares of the squared norm from which on large rows and the mean vector decide what explained
/// variance, and what cosine, NMSE, penalties and thresholds, come to.
constexpr double kMuchInLarge = 0.1;
constexpr double kMuchInMean = 0.5;

/// Of the activations that a run was calibrated on.
struct InputStatistics {
  std::int64_t tokens = 0;
  std::int64_t large = 0;  ///< rows
  double large_share = 0;  ///< of the summed squared norm
  double mean_share = 0;   ///< ||mean x||^2 / mean ||x||^2 over the rows that are not large
};

InputStatistics input_statistics(const at::Tensor& x);  // [N, D]

/// The rows of x [N, D] that are not large, in their order; x itself if none is.
at::Tensor usual_rows(const at::Tensor& x);

nlohmann::ordered_json to_json(const InputStatistics& statistics);
/// nlohmann's exceptions for anything else.
InputStatistics input_statistics_from_json(const nlohmann::ordered_json& object);

}  // namespace sae

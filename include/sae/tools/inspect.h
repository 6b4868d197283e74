// What the activations of a store are like: norms, outlier dimensions, damage, a few contexts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sae/base/shared_json.h"
#include "sae/training/input_statistics.h"

namespace sae {

struct InspectOptions {
  std::int64_t contexts = 3;  ///< how many to show
  std::int64_t seed = 0;      ///< chooses which
  bool verify = true;         ///< compare the shards' checksums
};

/// Statistics are of the N finite rows x_1 ... x_N; a row with a NaN or infinity is only counted.
struct Inspection {
  /// Of ||x||. Large norms are those of attention sinks, or of special tokens that were kept.
  struct Norms {
    double mean = 0, deviation = 0;
    double least = 0, percent_1 = 0, median = 0, percent_99 = 0, greatest = 0;
    std::int64_t large = 0;  ///< rows above kLargeNorm times the median
  };
  /// A dimension whose root mean square is above kOutlier times the median one.
  struct Outlier {
    std::int64_t dimension = 0;
    double ratio = 0;  ///< to the median
    double mean = 0, deviation = 0;
  };
  struct Context {
    std::int64_t first_row = 0;
    std::optional<std::int64_t> id;  ///< none in a store without contexts
    std::int64_t tokens = 0;
    std::string text;  ///< the ids in a store without vocabulary
  };
  static constexpr double kLargeNorm = sae::kLargeNorm;
  static constexpr double kOutlier = 3;

  std::string path;
  std::string dtype;  ///< f32, f16, bf16 or f64
  std::int64_t d_in = 0;
  std::int64_t tokens = 0;
  std::int64_t shards = 0;
  std::optional<std::int64_t> contexts;
  std::optional<double> stated_mean_norm;  ///< the manifest's
  SharedJson source;                       ///< what the manifest says that it was made from

  std::int64_t not_finite = 0;                 ///< rows
  std::vector<std::string> not_finite_places;  ///< the first few of them: shard and row
  Norms norms;
  double mean_share = 0;  ///< ||mean x||^2 / mean ||x||^2
  std::int64_t constant_dimensions = 0;
  std::vector<Outlier> outliers;  ///< the largest first
  std::vector<Context> sample;
};

/// Reads the whole store once. `go_on(done, total)` is asked now and then; false stops, and what
/// was not yet read is then missing from the statistics. Throws DataError as ActivationStore does.
Inspection inspect_store(const std::filesystem::path& path, const InspectOptions& options = {},
                         const std::function<bool(std::int64_t, std::int64_t)>& go_on = {});

nlohmann::ordered_json to_json(const Inspection& inspection);

/// For people, safe to print on a terminal.
std::string to_text(const Inspection& inspection);

}  // namespace sae

// A latent's activations by their size, as SAEDashboard shows them: a histogram from the smallest
// to the largest, and examples out of equal intervals of [0, largest] (sae-dashboard 0.8.0,
// utils_fns.py HistogramData, sequence_data_generator.py).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "sae/tools/features.h"
#include "tools/features/batch.h"
#include "tools/features/codes_on_disk.h"

namespace sae {

/// So many bars of equal width from the smallest to the largest of some numbers.
inline constexpr std::int64_t kBars = 50;

/// The bar of `value` in [least, most]; the middle one if all numbers are the same.
std::int64_t bar_of(double value, double least, double most);

/// The middle of each bar.
std::vector<double> bar_centres(double least, double most);

/// Activations in (i, i + 1] width, i from 0.
struct ActivationInterval {
  std::int64_t firings = 0;
  std::vector<FeatureExample> examples;  ///< a uniform sample of them, strongest first
};

struct LatentIntervals {
  std::vector<std::int64_t> heights;          ///< [kBars] firings a bar; empty without firings
  std::vector<ActivationInterval> intervals;  ///< weakest first; empty without firings
};

/// Of batches of the codes that `ranges` is about, which must outlive this.
class IntervalCollector {
 public:
  /// `options.quantiles` intervals with at most `kExamples` each; options.window and options.seed.
  IntervalCollector(const std::vector<LatentRange>& ranges, const FeaturesOptions& options);

  void add(const FeatureBatch& batch);
  std::vector<LatentIntervals> finish();  ///< leaves nothing behind

 private:
  static constexpr std::size_t kExamples = 5;
  struct Sample {
    std::uint64_t rank;  ///< its random place
    FeatureExample example;
  };
  struct Interval {
    std::int64_t firings = 0;
    std::vector<Sample> samples;  ///< a heap, the largest rank first
  };
  struct State {
    std::vector<std::int64_t> heights;
    std::vector<Interval> intervals;
  };

  void keep(Interval& interval, const FeatureBatch& batch, std::int64_t latent, std::int64_t row,
            float value) const;

  const std::vector<LatentRange>& ranges_;
  FeaturesOptions options_;
  std::vector<State> states_;
};

}  // namespace sae

// Statistics and examples of every latent, gathered while codes stream by.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "sae/tools/features.h"
#include "tools/features/batch.h"

namespace sae {

/// Counts in equal bins over [0, range), range a power of two that doubles when a value is beyond
/// it. Doubling merges neighbours, so the result does not depend on the order of the values.
class GrowingHistogram {
 public:
  void add(float value);  ///< > 0
  double bin_width() const { return width_; }
  std::vector<std::int64_t> counts() const;  ///< up to the last bin that is not empty

 private:
  static constexpr std::size_t kBins = 64;
  double width_ = 0;
  std::vector<std::int64_t> counts_;
};

/// Space-Saving: every token whose true count is above (all counts) / capacity is among the
/// counters, and its count is between count - excess and count.
class TokenCounter {
 public:
  void add(std::int32_t token);
  std::vector<FeatureToken> most(std::int64_t count) const;

 private:
  static constexpr std::size_t kCapacity = 256;
  std::vector<std::int32_t> tokens_;
  std::vector<std::int64_t> counts_, excess_;
};

/// ConfigError for a number below 0.
void check_options(const FeaturesOptions& options);

/// What is shown around a row of the batch that a latent fires on: up to `window` rows before and
/// after it, none of another context and none that the batch lacks.
FeatureExample example_around(const FeatureBatch& batch, std::int64_t latent, std::int64_t row,
                              float activation, std::int64_t window);

/// By activation, and among equals the earlier one.
bool stronger(const FeatureExample& a, const FeatureExample& b);

/// Where (latent, row of the store) stands in a random order: a function of these and the seed
/// alone.
std::uint64_t random_rank(std::int64_t seed, std::int64_t latent, std::int64_t row);

class FeatureCollector {
 public:
  FeatureCollector(std::int64_t d_sae, const FeaturesOptions& options);

  void add(const FeatureBatch& batch);
  std::vector<LatentFeature> finish() const;  ///< without what only weights say

 private:
  struct Kept {
    FeatureExample example;
    std::uint64_t rank;  ///< the example's context, or its random place in the sample
  };
  struct State {
    std::int64_t firings = 0;
    double sum = 0;
    float max = 0;
    GrowingHistogram histogram;
    TokenCounter tokens;
    std::vector<Kept> top;     ///< unordered
    std::vector<Kept> sample;  ///< a heap, the largest rank first
  };

  void keep_if_strong(State& state, const FeatureBatch& batch, std::int64_t latent,
                      std::int64_t row, float value) const;
  void keep_if_drawn(State& state, const FeatureBatch& batch, std::int64_t latent, std::int64_t row,
                     float value) const;

  FeaturesOptions options_;
  std::vector<State> states_;  // [F]
};

}  // namespace sae

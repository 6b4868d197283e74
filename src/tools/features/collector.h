// Statistics and examples of every latent, gathered while codes stream by.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "sae/sparse/sparse_rows.h"
#include "sae/tools/features.h"

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

/// Rows [first_row, first_row + codes.rows()) of a store, of which [begin, end), counted from
/// first_row, are new; the others are there to be shown around them.
struct FeatureBatch {
  SparseView codes;
  std::int64_t first_row = 0;
  std::int64_t begin = 0, end = 0;
  std::span<const std::int32_t> context;  ///< one a row, or empty
  std::span<const std::int32_t> tokens;   ///< one a row, or empty
};

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
  FeatureExample example(const FeatureBatch& batch, std::int64_t latent, std::int64_t row,
                         float value) const;

  FeaturesOptions options_;
  std::vector<State> states_;  // [F]
};

}  // namespace sae

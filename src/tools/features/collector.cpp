#include "tools/features/collector.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sae/base/rng.h"

namespace sae {
namespace {

constexpr std::int64_t kSamplesPerQuantile = 4;

bool weaker(const FeatureExample& a, const FeatureExample& b) { return stronger(b, a); }

/// The middle one of each quantile, or all if there are fewer than quantiles.
std::vector<FeatureExample> one_of_each(std::vector<FeatureExample> sorted,
                                        std::int64_t quantiles) {
  const auto size = static_cast<std::int64_t>(sorted.size());
  if (size <= quantiles) return sorted;
  std::vector<FeatureExample> out;
  for (std::int64_t q = 0; q < quantiles; ++q) {
    out.push_back(
        std::move(sorted[static_cast<std::size_t>((2 * q + 1) * size / (2 * quantiles))]));
  }
  return out;
}

}  // namespace

bool stronger(const FeatureExample& a, const FeatureExample& b) {
  return a.activation != b.activation ? a.activation > b.activation : a.row < b.row;
}

std::uint64_t random_rank(std::int64_t seed, std::int64_t latent, std::int64_t row) {
  const auto index = static_cast<std::uint64_t>(row);
  const auto key = static_cast<std::uint64_t>(seed);
  const auto block =
      philox({static_cast<std::uint32_t>(latent), static_cast<std::uint32_t>(Stream::kEvaluation),
              static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32)},
             {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
  return std::uint64_t{block[0]} << 32 | block[1];
}

FeatureExample example_around(const FeatureBatch& batch, std::int64_t latent, std::int64_t row,
                              float value, std::int64_t window) {
  const auto within = [&](std::int64_t other) {
    return other >= 0 && other < batch.codes.rows() && std::abs(other - row) <= window &&
           (batch.context.empty() || batch.context[static_cast<std::size_t>(other)] ==
                                         batch.context[static_cast<std::size_t>(row)]);
  };
  std::int64_t first = row, end = row + 1;
  while (within(first - 1)) --first;
  while (within(end)) ++end;
  FeatureExample out{.activation = value,
                     .row = batch.first_row + row,
                     .first_row = batch.first_row + first,
                     .rows = end - first,
                     .marks = {}};
  for (std::int64_t other = first; other < end; ++other) {
    const auto begin = batch.codes.indices.begin() + batch.codes.begin(other);
    const auto stop = batch.codes.indices.begin() + batch.codes.end(other);
    const auto found = std::lower_bound(begin, stop, latent);
    if (found == stop || *found != latent) continue;
    const float activation =
        batch.codes.values[static_cast<std::size_t>(found - batch.codes.indices.begin())];
    if (activation > 0) out.marks.push_back({static_cast<std::int32_t>(other - first), activation});
  }
  return out;
}

void GrowingHistogram::add(float value) {
  if (counts_.empty()) {
    int exponent = 0;
    std::frexp(value, &exponent);  // value < 2^exponent
    width_ = std::ldexp(1.0, exponent) / kBins;
    counts_.resize(kBins);
  }
  while (value >= width_ * kBins) {
    for (std::size_t i = 0; i < kBins / 2; ++i) counts_[i] = counts_[2 * i] + counts_[2 * i + 1];
    std::fill(counts_.begin() + kBins / 2, counts_.end(), 0);
    width_ *= 2;
  }
  ++counts_[static_cast<std::size_t>(value / width_)];
}

std::vector<std::int64_t> GrowingHistogram::counts() const {
  const auto last = std::find_if(counts_.rbegin(), counts_.rend(), [](auto n) { return n != 0; });
  return {counts_.begin(), last.base()};
}

void TokenCounter::add(std::int32_t token) {
  const auto found = std::find(tokens_.begin(), tokens_.end(), token);
  if (found != tokens_.end()) {
    ++counts_[static_cast<std::size_t>(found - tokens_.begin())];
  } else if (tokens_.size() < kCapacity) {
    tokens_.push_back(token);
    counts_.push_back(1);
    excess_.push_back(0);
  } else {
    const auto least = static_cast<std::size_t>(std::min_element(counts_.begin(), counts_.end()) -
                                                counts_.begin());
    tokens_[least] = token;
    excess_[least] = counts_[least]++;
  }
}

std::vector<FeatureToken> TokenCounter::most(std::int64_t count) const {
  std::vector<FeatureToken> all;
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    all.push_back({tokens_[i], counts_[i] - excess_[i], excess_[i] == 0});
  }
  std::sort(all.begin(), all.end(), [](const FeatureToken& a, const FeatureToken& b) {
    return a.firings != b.firings ? a.firings > b.firings : a.token < b.token;
  });
  all.resize(std::min(all.size(), static_cast<std::size_t>(count)));
  return all;
}

FeatureCollector::FeatureCollector(std::int64_t d_sae, const FeaturesOptions& options)
    : options_(options), states_(static_cast<std::size_t>(d_sae)) {}

void FeatureCollector::add(const FeatureBatch& batch) {
  for (std::int64_t row = batch.begin; row < batch.end; ++row) {
    for (std::int64_t entry = batch.codes.begin(row); entry < batch.codes.end(row); ++entry) {
      const float value = batch.codes.values[static_cast<std::size_t>(entry)];
      if (!(value > 0)) continue;
      const std::int64_t latent = batch.codes.indices[static_cast<std::size_t>(entry)];
      State& state = states_[static_cast<std::size_t>(latent)];
      ++state.firings;
      state.sum += value;
      state.max = std::max(state.max, value);
      state.histogram.add(value);
      if (!batch.tokens.empty()) state.tokens.add(batch.tokens[static_cast<std::size_t>(row)]);
      keep_if_strong(state, batch, latent, row, value);
      keep_if_drawn(state, batch, latent, row, value);
    }
  }
}

void FeatureCollector::keep_if_strong(State& state, const FeatureBatch& batch, std::int64_t latent,
                                      std::int64_t row, float value) const {
  if (options_.contexts == 0) return;
  const auto less = [](const Kept& a, const Kept& b) { return weaker(a.example, b.example); };
  const bool full = static_cast<std::int64_t>(state.top.size()) == options_.contexts;
  const auto least = std::min_element(state.top.begin(), state.top.end(), less);
  if (full && value <= least->example.activation) return;
  // Where contexts are unknown, what is shown around a token stands for one.
  const auto own =
      batch.context.empty()
          ? static_cast<std::uint64_t>((batch.first_row + row) / (2 * options_.window + 1))
          : static_cast<std::uint64_t>(batch.context[static_cast<std::size_t>(row)]);
  const auto same = std::find_if(state.top.begin(), state.top.end(),
                                 [&](const Kept& kept) { return kept.rank == own; });
  if (same != state.top.end()) {
    if (value > same->example.activation)
      same->example = example_around(batch, latent, row, value, options_.window);
  } else if (full) {
    *least = {example_around(batch, latent, row, value, options_.window), own};
  } else {
    state.top.push_back({example_around(batch, latent, row, value, options_.window), own});
  }
}

void FeatureCollector::keep_if_drawn(State& state, const FeatureBatch& batch, std::int64_t latent,
                                     std::int64_t row, float value) const {
  const auto wanted = static_cast<std::size_t>(options_.quantiles * kSamplesPerQuantile);
  const std::uint64_t rank = random_rank(options_.seed, latent, batch.first_row + row);
  const auto lower = [](const Kept& a, const Kept& b) { return a.rank < b.rank; };
  if (wanted == 0 || (state.sample.size() == wanted && rank >= state.sample.front().rank)) return;
  if (state.sample.size() == wanted) {
    std::pop_heap(state.sample.begin(), state.sample.end(), lower);
    state.sample.pop_back();
  }
  state.sample.push_back({example_around(batch, latent, row, value, options_.window), rank});
  std::push_heap(state.sample.begin(), state.sample.end(), lower);
}

std::vector<LatentFeature> FeatureCollector::finish() const {
  std::vector<LatentFeature> out;
  const auto sorted = [](const std::vector<Kept>& kept) {
    std::vector<FeatureExample> examples;
    for (const Kept& one : kept) examples.push_back(one.example);
    std::sort(examples.begin(), examples.end(), weaker);
    return examples;
  };
  for (const State& state : states_) {
    LatentFeature latent;
    latent.firings = state.firings;
    latent.sum = state.sum;
    latent.max = state.max;
    latent.bin_width = state.histogram.bin_width();
    latent.histogram = state.histogram.counts();
    latent.tokens = state.tokens.most(options_.tokens);
    latent.top = sorted(state.top);
    std::reverse(latent.top.begin(), latent.top.end());
    latent.samples = one_of_each(sorted(state.sample), options_.quantiles);
    out.push_back(std::move(latent));
  }
  return out;
}

}  // namespace sae

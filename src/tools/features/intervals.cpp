#include "tools/features/intervals.h"

#include <algorithm>

#include "tools/features/collector.h"

namespace sae {

std::int64_t bar_of(double value, double least, double most) {
  if (!(most > least)) return kBars / 2;
  const auto bar = static_cast<std::int64_t>((value - least) / (most - least) * kBars);
  return std::clamp<std::int64_t>(bar, 0, kBars - 1);
}

std::vector<double> bar_centres(double least, double most) {
  std::vector<double> centres;
  for (std::int64_t i = 0; i < kBars; ++i) {
    centres.push_back(least + (most - least) * (static_cast<double>(i) + 0.5) / kBars);
  }
  return centres;
}

IntervalCollector::IntervalCollector(const std::vector<LatentRange>& ranges,
                                     const FeaturesOptions& options)
    : ranges_(ranges), options_(options), states_(ranges.size()) {
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    if (ranges[i].firings == 0) continue;
    states_[i].heights.resize(static_cast<std::size_t>(kBars));
    states_[i].intervals.resize(static_cast<std::size_t>(options.quantiles));
  }
}

void IntervalCollector::add(const FeatureBatch& batch) {
  for (std::int64_t row = batch.begin; row < batch.end; ++row) {
    for (std::int64_t entry = batch.codes.begin(row); entry < batch.codes.end(row); ++entry) {
      const float value = batch.codes.values[static_cast<std::size_t>(entry)];
      const std::int64_t latent = batch.codes.indices[static_cast<std::size_t>(entry)];
      const LatentRange& range = ranges_[static_cast<std::size_t>(latent)];
      State& state = states_[static_cast<std::size_t>(latent)];
      ++state.heights[static_cast<std::size_t>(bar_of(value, range.least, range.most))];
      if (options_.quantiles == 0) continue;
      const auto interval =
          static_cast<std::int64_t>(static_cast<double>(options_.quantiles) * value / range.most);
      keep(state.intervals[static_cast<std::size_t>(std::min(interval, options_.quantiles - 1))],
           batch, latent, row, value);
    }
  }
}

void IntervalCollector::keep(Interval& interval, const FeatureBatch& batch, std::int64_t latent,
                             std::int64_t row, float value) const {
  ++interval.firings;
  auto& samples = interval.samples;
  const std::uint64_t rank = random_rank(options_.seed, latent, batch.first_row + row);
  const auto lower = [](const Sample& a, const Sample& b) { return a.rank < b.rank; };
  if (samples.size() == kExamples) {
    if (rank >= samples.front().rank) return;
    std::pop_heap(samples.begin(), samples.end(), lower);
    samples.pop_back();
  }
  samples.push_back({rank, example_around(batch, latent, row, value, options_.window)});
  std::push_heap(samples.begin(), samples.end(), lower);
}

std::vector<LatentIntervals> IntervalCollector::finish() {
  std::vector<LatentIntervals> out;
  for (State& state : states_) {
    LatentIntervals latent{.heights = std::move(state.heights), .intervals = {}};
    for (Interval& interval : state.intervals) {
      ActivationInterval& to = latent.intervals.emplace_back();
      to.firings = interval.firings;
      for (Sample& sample : interval.samples) to.examples.push_back(std::move(sample.example));
      std::sort(to.examples.begin(), to.examples.end(), stronger);
    }
    out.push_back(std::move(latent));
  }
  states_.clear();
  return out;
}

}  // namespace sae

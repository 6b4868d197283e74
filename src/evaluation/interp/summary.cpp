#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <numeric>

#include "evaluation/interp/draws.h"
#include "sae/evaluation/interp.h"
#include "sae/metrics/statistics.h"

namespace sae {
namespace {

constexpr double kClear = 0.8;

using Members = std::vector<const LatentScores*>;

double mean_of_known(std::span<const double> values) {
  double sum = 0, count = 0;
  for (const double value : values) {
    if (std::isnan(value)) continue;
    sum += value;
    ++count;
  }
  return count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
}

/// Standard deviation of the mean over latents drawn again, as often as there are, with
/// replacement. All metrics look at the same draws.
std::array<double, kInterpMetrics> bootstrap_errors(const Members& members, std::int64_t bin,
                                                    const InterpOptions& options) {
  std::array<std::vector<double>, kInterpMetrics> means;
  for (std::int64_t draw = 0; draw < options.draws; ++draw) {
    Rng rng(static_cast<std::uint64_t>(options.seed), Stream::kEvaluation,
            interp_draw::kBootstrap | static_cast<std::uint64_t>(draw) << 8 |
                static_cast<std::uint64_t>(bin));
    std::array<double, kInterpMetrics> sum{}, count{};
    for (std::size_t i = 0; i < members.size(); ++i) {
      const LatentScores& one = *members[rng.below(members.size())];
      for (std::size_t m = 0; m < kInterpMetrics; ++m) {
        if (std::isnan(one.values[m])) continue;
        sum[m] += one.values[m];
        ++count[m];
      }
    }
    for (std::size_t m = 0; m < kInterpMetrics; ++m) {
      if (count[m] > 0) means[m].push_back(sum[m] / count[m]);
    }
  }
  std::array<double, kInterpMetrics> errors;
  for (std::size_t m = 0; m < kInterpMetrics; ++m) {
    errors[m] =
        means[m].size() > 1 ? over_seeds(means[m]).sd : std::numeric_limits<double>::quiet_NaN();
  }
  return errors;
}

InterpBin summarised_bin(std::int64_t bin, const Members& members, const InterpOptions& options) {
  InterpBin out;
  out.bin = bin;
  out.latents = std::ssize(members);
  out.error = bootstrap_errors(members, bin, options);
  for (std::size_t m = 0; m < kInterpMetrics; ++m) {
    std::vector<double> values;
    for (const LatentScores* one : members) values.push_back(one->values[m]);
    out.mean[m] = mean_of_known(values);
  }
  return out;
}

}  // namespace

InterpSummary summarise(std::span<const LatentScores> latents, const InterpOptions& options) {
  InterpSummary out;
  std::map<std::int64_t, Members> bins;
  for (const LatentScores& one : latents) {
    bins[std::bit_width(static_cast<std::uint64_t>(one.rows)) - 1].push_back(&one);
  }
  for (const auto& [bin, members] : bins) {
    out.bins.push_back(summarised_bin(bin, members, options));
  }
  for (std::size_t m = 0; m < kInterpMetrics; ++m) {
    // The mean over all, and of the errors of bins that are drawn apart: sqrt(sum (w_b e_b)^2).
    double known = 0, square = 0;
    std::vector<double> values;
    for (const LatentScores& one : latents) {
      values.push_back(one.values[m]);
      known += std::isnan(one.values[m]) ? 0 : 1;
    }
    for (const auto& bin : out.bins) {
      const Members& members = bins.at(bin.bin);
      const auto own =
          static_cast<double>(std::count_if(members.begin(), members.end(), [&](const auto* one) {
            return !std::isnan(one->values[m]);
          }));
      if (own > 0) square += std::pow(own * bin.error[m] / known, 2);
    }
    out.mean[m] = mean_of_known(values);
    out.error[m] = known > 0 ? std::sqrt(square) : std::numeric_limits<double>::quiet_NaN();
  }
  const auto groups = latents.empty() ? std::size_t{0} : latents.front().by_quantile.size();
  for (std::size_t g = 0; g < groups; ++g) {
    std::array<double, kByQuantile> means;
    for (std::size_t m = 0; m < kByQuantile; ++m) {
      std::vector<double> values;
      for (const LatentScores& one : latents) values.push_back(one.by_quantile[g][m]);
      means[m] = mean_of_known(values);
    }
    out.by_quantile.push_back(means);
  }
  std::vector<double> clear;
  for (const LatentScores& one : latents) {
    const double accuracy = one[InterpMetric::kIntruder];
    clear.push_back(std::isnan(accuracy) ? accuracy : accuracy >= kClear ? 1 : 0);
  }
  out.intruder_share_80 = mean_of_known(clear);
  return out;
}

}  // namespace sae

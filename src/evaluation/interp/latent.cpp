#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "base/parallel.h"
#include "base/permutation.h"
#include "evaluation/interp/draws.h"
#include "sae/base/interrupt.h"
#include "sae/evaluation/interp.h"

namespace sae {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kLeastItems = 10;
/// Sums of the judge that differ by less are equal: rounding, where texts are.
constexpr double kTie = 1e-12;
/// Below this, of 1, any two rows are alike to the judge: what rounding to float32 leaves.
constexpr double kAllAlike = 1e-6;

/// Positions of `rows` sorted by context; within one as they came.
std::vector<std::size_t> by_context(const InterpSample& sample,
                                    std::span<const std::int32_t> rows) {
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return sample.context(rows[a]) < sample.context(rows[b]);
  });
  return order;
}

std::vector<float> values_of(const Firings& firings, const std::vector<std::int32_t>& rows) {
  std::vector<float> values;
  for (const std::int32_t row : rows) {
    const auto found = std::lower_bound(firings.rows.begin(), firings.rows.end(), row);
    values.push_back(firings.values[static_cast<std::size_t>(found - firings.rows.begin())]);
  }
  return values;
}

double mean_of(const std::vector<double>& values) {
  if (values.empty()) return kNone;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// P(s > one of `sorted`) + P(equal) / 2.
double share_below(double s, const std::vector<double>& sorted) {
  const auto [low, high] = std::equal_range(sorted.begin(), sorted.end(), s);
  return (static_cast<double>(low - sorted.begin()) + static_cast<double>(high - low) / 2) /
         static_cast<double>(sorted.size());
}

}  // namespace

ItemVerdict judge_item(const JudgeVectors& vectors, const IntruderItem& item) {
  std::array<double, 5> sums{};
  for (std::size_t i = 0; i < 5; ++i) {
    for (std::size_t k = 0; k < 5; ++k) {
      if (k != i) sums[i] += vectors.dot(item.rows[i], item.rows[k]);
    }
  }
  const double smallest = *std::min_element(sums.begin(), sums.begin() + 4);
  ItemVerdict out{0, smallest - sums[4]};
  if (out.margin < -kTie) return out;
  const double low = std::min(smallest, sums[4]) + kTie;
  out.score = 1.0 / static_cast<double>(std::count_if(sums.begin(), sums.end(),
                                                      [&](double s) { return s <= low; }));
  return out;
}

double auroc_of(std::span<const double> positive, std::span<const double> negative) {
  if (positive.empty() || negative.empty()) return kNone;
  std::vector<double> sorted(negative.begin(), negative.end());
  std::sort(sorted.begin(), sorted.end());
  double sum = 0;
  for (const double s : positive) sum += share_below(s, sorted);
  return sum / static_cast<double>(positive.size());
}

double r_precision_of(std::span<const double> positive, std::span<const double> negative) {
  if (positive.empty()) return kNone;
  std::vector<double> all(positive.begin(), positive.end());
  all.insert(all.end(), negative.begin(), negative.end());
  const auto kth = all.begin() + static_cast<std::ptrdiff_t>(positive.size()) - 1;
  std::nth_element(all.begin(), kth, all.end(), std::greater<>());
  const double last = *kth;
  double above = 0, own_above = 0, equal = 0, own_equal = 0;
  for (std::size_t i = 0; i < positive.size() + negative.size(); ++i) {
    const bool own = i < positive.size();
    const double s = own ? positive[i] : negative[i - positive.size()];
    above += s > last ? 1 : 0;
    equal += s == last ? 1 : 0;
    own_above += own && s > last ? 1 : 0;
    own_equal += own && s == last ? 1 : 0;
  }
  const auto k = static_cast<double>(positive.size());
  return (own_above + (k - above) * own_equal / equal) / k;
}

double pair_similarity(const InterpSample& sample, const JudgeVectors& vectors,
                       std::span<const std::int32_t> rows, std::span<const float> weights) {
  const auto order = by_context(sample, rows);
  std::vector<double> sum(static_cast<std::size_t>(vectors.width()));
  std::vector<double> of_context(sum.size());
  std::vector<std::int32_t> own;
  double total = 0, squares = 0, weight_squares = 0, weight = 0;
  const auto close = [&] {
    squares += vectors.take_square(own, of_context);
    weight_squares += weight * weight;
    weight = 0;
    own.clear();
  };
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::int32_t row = rows[order[i]];
    if (!own.empty() && sample.context(own.front()) != sample.context(row)) close();
    const double a = double{weights[order[i]]};
    own.push_back(row);
    vectors.add(row, a, sum);
    vectors.add(row, a, of_context);
    weight += a;
    total += a;
  }
  const bool one_context = own.size() == order.size();
  close();
  if (one_context) return kNone;
  return (vectors.take_square(rows, sum) - squares) / (total * total - weight_squares);
}

JudgedSample::JudgedSample(const InterpSample& sample, std::shared_ptr<const JudgeVectors> whole,
                           std::shared_ptr<const JudgeVectors> blind, const InterpOptions& options)
    : sample_(&sample),
      whole_(std::move(whole)),
      blind_(std::move(blind)),
      options_(options),
      reference_sum_(static_cast<std::size_t>(whole_->width())) {
  if (whole_->size() != sample.size() || (blind_ && blind_->size() != sample.size())) {
    throw std::invalid_argument("JudgedSample: expected a vector for each row of the sample");
  }
  std::vector<std::int32_t> rows(static_cast<std::size_t>(sample.size()));
  std::iota(rows.begin(), rows.end(), 0);
  any_pair_ = pair_similarity(sample, *whole_, rows, std::vector<float>(rows.size(), 1.0F));
  for (const std::int32_t row : rows) {
    is_reference_.push_back(is_reference(sample.context(row), options.seed));
    if (!is_reference_.back()) continue;
    ++reference_rows_;
    whole_->add(row, 1, reference_sum_);
  }
}

double JudgedSample::coherence(std::span<const std::int32_t> rows,
                               std::span<const float> weights) const {
  const double most = 1 - any_pair_;
  if (!(most > kAllAlike)) return kNone;
  return (pair_similarity(*sample_, *whole_, rows, weights) - any_pair_) / most;
}

void JudgedSample::coherences(const Firings& firings,
                              const std::vector<std::vector<std::int32_t>>& groups,
                              LatentScores& out) const {
  out[InterpMetric::kCoherence] = coherence(firings.rows, firings.values);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    out.by_quantile[g][static_cast<std::size_t>(InterpMetric::kCoherence)] =
        coherence(groups[g], values_of(firings, groups[g]));
  }
}

void JudgedSample::intruders(const Firings& firings, Intruder kind, const JudgeVectors& vectors,
                             LatentScores& out) const {
  const auto metric = static_cast<std::size_t>(
      kind == Intruder::kUniform ? InterpMetric::kIntruder : InterpMetric::kIntruderMatched);
  std::vector<double> all;
  std::vector<std::vector<double>> of_group(out.by_quantile.size());
  for (const IntruderItem& item : intruder_items(*sample_, firings, out.latent, kind, options_)) {
    const double score = judge_item(vectors, item).score;
    all.push_back(score);
    of_group[static_cast<std::size_t>(item.group)].push_back(score);
  }
  if (std::ssize(all) < kLeastItems) return;
  out.values[metric] = mean_of(all);
  for (std::size_t g = 0; g < of_group.size(); ++g) {
    out.by_quantile[g][metric] = mean_of(of_group[g]);
  }
}

void JudgedSample::detection(const Firings& firings,
                             const std::vector<std::vector<std::int32_t>>& groups,
                             LatentScores& out) const {
  std::vector<double> own(reference_sum_.size());
  std::int64_t fired = 0;
  for (const std::int32_t row : firings.rows) {
    if (!is_reference_[static_cast<std::size_t>(row)]) continue;
    ++fired;
    whole_->add(row, 1, own);
  }
  if (fired == 0 || fired == reference_rows_) return;
  std::vector<double> direction(own.size());  // p - n
  for (std::size_t k = 0; k < own.size(); ++k) {
    direction[k] = own[k] / static_cast<double>(fired) -
                   (reference_sum_[k] - own[k]) / static_cast<double>(reference_rows_ - fired);
  }
  std::vector<double> negative;
  auto next = firings.rows.begin();
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(sample_->size()); ++row) {
    const bool fires = next != firings.rows.end() && *next == row;
    if (fires) ++next;
    if (!fires && !is_reference_[static_cast<std::size_t>(row)]) {
      negative.push_back(whole_->dot(row, direction));
    }
  }
  std::sort(negative.begin(), negative.end());
  std::vector<double> positive, shares;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    std::vector<double> of_group;
    for (const std::int32_t row : groups[g]) {
      if (is_reference_[static_cast<std::size_t>(row)] || negative.empty()) continue;
      positive.push_back(whole_->dot(row, direction));
      of_group.push_back(share_below(positive.back(), negative));
    }
    out.by_quantile[g][static_cast<std::size_t>(InterpMetric::kAuroc)] = mean_of(of_group);
    shares.insert(shares.end(), of_group.begin(), of_group.end());
  }
  out[InterpMetric::kAuroc] = mean_of(shares);
  if (!negative.empty()) out[InterpMetric::kRPrecision] = r_precision_of(positive, negative);
}

LatentScores JudgedSample::scores(const Firings& firings, std::int64_t latent) const {
  LatentScores out;
  out.latent = latent;
  out.rows = firings.size();
  std::array<double, kByQuantile> none{};
  none.fill(kNone);
  out.by_quantile.assign(static_cast<std::size_t>(options_.quantiles), none);
  const auto groups = quantile_groups(firings, options_.quantiles);
  intruders(firings, Intruder::kUniform, *whole_, out);
  if (blind_) intruders(firings, Intruder::kMatched, *blind_, out);
  coherences(firings, groups, out);
  detection(firings, groups, out);
  return out;
}

Firings shuffled(const Firings& firings, std::int64_t sample_rows, std::int64_t latent,
                 std::int64_t seed) {
  const Permutation moved(static_cast<std::uint64_t>(sample_rows), static_cast<std::uint64_t>(seed),
                          Stream::kEvaluation,
                          interp_draw::kShuffle | static_cast<std::uint64_t>(latent));
  std::vector<std::pair<std::int32_t, float>> pairs;
  for (std::size_t i = 0; i < firings.rows.size(); ++i) {
    const auto row = moved(static_cast<std::uint64_t>(firings.rows[i]));
    pairs.emplace_back(static_cast<std::int32_t>(row), firings.values[i]);
  }
  std::sort(pairs.begin(), pairs.end());
  Firings out;
  for (const auto& [row, value] : pairs) {
    out.rows.push_back(row);
    out.values.push_back(value);
  }
  return out;
}

std::vector<LatentScores> judge_latents(const JudgedSample& judged,
                                        const std::vector<Firings>& firings,
                                        const std::vector<std::int64_t>& eligible) {
  std::vector<LatentScores> out(eligible.size());
  run_jobs(eligible.size(), static_cast<std::size_t>(at::get_num_threads()), [&](std::size_t i) {
    check_interrupt();
    out[i] = judged.scores(firings[static_cast<std::size_t>(eligible[i])], eligible[i]);
  });
  return out;
}

}  // namespace sae

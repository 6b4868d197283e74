#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <stdexcept>

#include "data/world/sampler.h"
#include "kernels/normal.h"
#include "sae/base/error.h"
#include "sae/base/rng.h"
#include "sae/data/world.h"

namespace sae {
namespace {

using Entry = Sampler::Entry;
using Draw = std::function<void(std::uint64_t, std::vector<Entry>&)>;

// Every statistical check has a fixed seed and allows 5 standard errors for each of its up to some
// thousand comparisons: correct code passes once and for all, a wrong distribution does not.
constexpr double kSigmas = 5;

std::size_t idx(std::int64_t i) { return static_cast<std::size_t>(i); }

WorldOptions preset(const std::string& name) {
  WorldOptions options;
  options.preset = name;
  return options;
}

WorldOptions without_spread(WorldOptions options) {
  options.spread_mean = 0;
  options.spread_sd = 0;
  return options;
}

WorldOptions without_correlation(WorldOptions options) {
  options.correlation_rank = 0;
  return options;
}

WorldOptions custom(std::int64_t features, std::int64_t d_in) {
  WorldOptions options = preset("custom");
  options.features = features;
  options.d_in = d_in;
  return options;
}

Draw lazy(const WorldTables& tables, std::uint64_t data_seed) {
  auto sampler = std::make_shared<const Sampler>(tables, data_seed, SampleSet::kTrain);
  return [sampler](std::uint64_t i, std::vector<Entry>& entries) { sampler->sample(i, entries); };
}

/// The definition of a world taken literally: all N proposals and magnitudes, then level by level
/// gating, scaling and exclusion. Shares nothing with the lazy sampler but the tables.
Draw literal(const WorldTables& tables, std::uint64_t data_seed) {
  std::vector<double> threshold;
  for (const double q : tables.proposal) threshold.push_back(normal_quantile(1 - q));
  return [&tables, data_seed, threshold](std::uint64_t sample, std::vector<Entry>& entries) {
    Rng rng(data_seed, Stream::kTest, sample);
    const std::size_t n = tables.parent.size();
    const std::size_t rank = idx(tables.rank);
    std::vector<double> factor(rank);
    for (double& e : factor) e = rng.normal();
    std::vector<double> a(n);
    for (std::size_t i = 0; i < n; ++i) {
      bool proposed;
      if (tables.rule == Rule::kChoose && tables.parent[i] >= 0) {
        proposed = false;  // drawn below, group by group
      } else if (rank > 0) {
        double y = 0;
        double own = 1;
        for (std::size_t k = 0; k < rank; ++k) {
          const double f = tables.loadings[i * rank + k];
          y += f * factor[k];
          own -= f * f;
        }
        proposed = y + std::sqrt(own) * rng.normal() > threshold[i];
      } else {
        proposed = rng.uniform() < tables.proposal[i];
      }
      if (proposed) a[i] = std::max(0.0, tables.mu[i] + tables.sigma[i] * rng.normal());
    }
    for (std::size_t p = 0; p < n; ++p) {  // breadth first: a parent is final before its children
      const std::size_t first = idx(tables.first_child[p]);
      const std::size_t count = idx(tables.child_count[p]);
      if (tables.rule == Rule::kChoose && count > 0) {
        double u = rng.uniform();
        for (std::size_t c = first; c < first + count; ++c) {
          if (u < tables.proposal[c] && u >= 0) {
            a[c] = std::max(0.0, tables.mu[c] + tables.sigma[c] * rng.normal());
          }
          u -= tables.proposal[c];
        }
      }
      std::vector<std::size_t> active;
      for (std::size_t c = first; c < first + count; ++c) {
        if (a[p] <= 0) a[c] = 0;
        if (tables.scale_children) a[c] *= a[p] / tables.mu[p];
        if (a[c] > 0) active.push_back(c);
      }
      if (tables.rule != Rule::kCompete || active.size() < 2) continue;
      const std::size_t winner = active[rng.below(active.size())];
      for (const std::size_t c : active) a[c] = c == winner ? a[c] : 0;
    }
    entries.clear();
    for (std::size_t i = 0; i < n; ++i) {
      if (a[i] > 0) entries.push_back({static_cast<std::int64_t>(i), static_cast<float>(a[i])});
    }
  };
}

std::vector<std::int64_t> depths(const WorldTables& tables) {
  std::vector<std::int64_t> depth(tables.parent.size());
  for (std::size_t i = 0; i < depth.size(); ++i) {
    if (tables.parent[i] >= 0) depth[i] = depth[idx(tables.parent[i])] + 1;
  }
  return depth;
}

/// Sums over samples.
struct Totals {
  explicit Totals(std::size_t n) : count(n), sum(n), square(n), alone(n) {}

  std::int64_t samples = 0;
  std::vector<double> count;   // [N] a > 0
  std::vector<double> sum;     // [N] of a
  std::vector<double> square;  // [N] of a^2
  std::vector<double> alone;   // [N] on without a child
  double l0 = 0;
  double l0_square = 0;

  double mean_l0() const { return l0 / static_cast<double>(samples); }
  double var_l0() const { return l0_square / static_cast<double>(samples) - mean_l0() * mean_l0(); }
};

Totals collect(const WorldTables& tables, const Draw& draw, std::int64_t samples) {
  Totals totals(tables.parent.size());
  totals.samples = samples;
  std::vector<Entry> entries;
  for (std::int64_t s = 0; s < samples; ++s) {
    draw(static_cast<std::uint64_t>(s), entries);
    for (const auto& [feature, activation] : entries) {
      const std::size_t i = idx(feature);
      totals.count[i] += 1;
      totals.sum[i] += activation;
      totals.square[i] += double{activation} * activation;
      totals.alone[i] += 1;
      if (tables.parent[i] >= 0) {
        // Only the rules with one active child at most: it takes its parent's "alone" away.
        totals.alone[idx(tables.parent[i])] -= 1;
      }
    }
    const auto l0 = static_cast<double>(entries.size());
    totals.l0 += l0;
    totals.l0_square += l0 * l0;
  }
  return totals;
}

void expect_rates(const WorldTables& tables, const Totals& totals) {
  const std::vector<double> rates = true_rates(tables);
  const auto samples = static_cast<double>(totals.samples);
  for (std::size_t i = 0; i < rates.size(); ++i) {
    const double error = std::sqrt(samples * rates[i] * (1 - rates[i]));
    EXPECT_NEAR(totals.count[i], samples * rates[i], kSigmas * error + 1e-9) << "feature " << i;
  }
  const double l0 = l0_of_top(rates, tables.features());
  EXPECT_NEAR(totals.mean_l0(), l0, kSigmas * std::sqrt(totals.var_l0() / samples));
}

double sum_at_depth(const WorldTables& tables, const std::vector<double>& values,
                    std::int64_t depth) {
  const std::vector<std::int64_t> depth_of = depths(tables);
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool free = tables.parent[i] < 0 && tables.child_count[i] == 0;
    if (!free && depth_of[i] == depth) sum += values[i];
  }
  return sum;
}

// ---------------------------------------------------------------------------------------- options

TEST(WorldOptions, OverrideAPresetFieldByField) {
  WorldOptions options = preset("small-zipf");
  options.features = 700;
  options.correlation_rank = 0;
  const WorldOptions resolved = resolve(options);
  EXPECT_EQ(resolved.features, 700);
  EXPECT_EQ(resolved.correlation_rank, 0);
  EXPECT_EQ(resolved.d_in, 128);
  EXPECT_EQ(resolved.rule, Rule::kCompete);
  EXPECT_EQ(resolved.rate_min, 0.002);
  EXPECT_FALSE(resolved.child_rate.has_value());
  EXPECT_EQ(resolve(resolved).features, 700);  // resolving twice changes nothing
}

TEST(WorldOptions, AreRefusedWhereNoWorldFits) {
  EXPECT_THROW(resolve(preset("medium")), ConfigError);
  EXPECT_THROW(resolve(preset("custom")), ConfigError);
  WorldOptions options = custom(10, 4);
  EXPECT_NO_THROW(resolve(options));
  options.roots = 11;
  EXPECT_THROW(resolve(options), ConfigError);
  options.roots = 2;
  options.rate_min = 0.5;  // above rate_max, 0.4
  EXPECT_THROW(resolve(options), ConfigError);
  options.rate_min = 0.1;
  options.children = 4;
  options.depth = 1;
  options.rule = Rule::kChoose;
  options.child_rate = 0.3;  // four of them: 1.2
  EXPECT_THROW(resolve(options), ConfigError);
  options.child_rate = 0.25;
  EXPECT_NO_THROW(make_tables(options));
  options.child_rate.reset();  // Zipf children, divided by their parents' rates: above 1
  options.compensate = true;
  EXPECT_THROW(make_tables(options), ConfigError);
}

// ----------------------------------------------------------------------------------------- tables

TEST(WorldTables, LayTreesOutBreadthFirst) {
  const WorldTables tables = make_tables(preset("synth16k"));
  ASSERT_EQ(tables.features(), 16384);
  std::vector<std::int64_t> count(4);
  const std::vector<std::int64_t> depth = depths(tables);
  for (std::size_t i = 0; i < 10880; ++i) {
    ++count[idx(depth[i])];
    ASSERT_GE(depth[i], i > 0 ? depth[i - 1] : 0);
  }
  EXPECT_EQ(count, (std::vector<std::int64_t>{128, 512, 2048, 8192}));
  EXPECT_EQ(tables.parent[128], 0);
  EXPECT_EQ(tables.parent[131], 0);
  EXPECT_EQ(tables.parent[132], 1);
  EXPECT_EQ(tables.first_child[1], 132);
  for (std::size_t i = 10880; i < 16384; ++i) {
    ASSERT_EQ(tables.parent[i], -1);
    ASSERT_EQ(tables.child_count[i], 0);
  }
}

TEST(WorldTables, StopATreeWhereFeaturesRunOut) {
  WorldOptions options = custom(9, 4);
  options.roots = 2;
  options.children = 3;
  options.depth = 5;
  const WorldTables tables = make_tables(options);
  EXPECT_EQ(tables.parent, (std::vector<std::int64_t>{-1, -1, 0, 0, 0, 1, 1, 1, 2}));
  EXPECT_EQ(tables.child_count, (std::vector<std::int64_t>{3, 3, 1, 0, 0, 0, 0, 0, 0}));
}

TEST(WorldTables, HaveThePublishedProposalsAndRatesOfTheLargeWorld) {
  const WorldTables tables = make_tables(without_spread(preset("synth16k")));
  const std::vector<double> rates = true_rates(tables);
  EXPECT_NEAR(std::accumulate(tables.rate.begin(), tables.rate.end(), 0.0), 59.144, 5e-4);
  const auto check = [&](std::size_t i, double proposal, double rate) {
    EXPECT_NEAR(tables.proposal[i], proposal, 6e-5) << i;
    EXPECT_NEAR(rates[i], rate, 6e-6) << i;
  };
  check(0, 0.4, 0.4);
  check(128, 0.1020, 0.03502);
  check(639, 0.8905, 0.00822);
  check(2687, 0.8328, 0.00205);
  check(4095, 0.7477, 0.00124);
  check(10879, 0.4060, 0.00045);
  check(10880, 0.00121, 0.00121);
  EXPECT_NEAR(*std::max_element(tables.proposal.begin(), tables.proposal.end()), 0.915, 5e-4);
  const double by_depth[] = {8.202, 7.324, 7.323, 7.129};
  const double nominal[] = {8.202, 9.897, 15.956, 20.571};
  for (std::int64_t depth = 0; depth < 4; ++depth) {
    EXPECT_NEAR(sum_at_depth(tables, rates, depth), by_depth[depth], 6e-4);
    EXPECT_NEAR(sum_at_depth(tables, tables.rate, depth), nominal[depth], 6e-4);
  }
  EXPECT_NEAR(l0_of_top(rates, 16384), 34.495, 6e-4);
  EXPECT_NEAR(std::accumulate(rates.begin(), rates.begin() + 4096, 0.0), 25.168, 6e-4);
  EXPECT_NEAR(l0_of_top(rates, 4096), 25.168, 6e-4);
}

TEST(WorldTables, HaveTheTrueL0OfEveryPreset) {
  const auto rates_of = [](const char* name) {
    return true_rates(make_tables(without_spread(preset(name))));
  };
  const auto first = [](const std::vector<double>& rates, std::ptrdiff_t m) {
    return std::accumulate(rates.begin(), rates.begin() + m, 0.0);
  };
  EXPECT_NEAR(l0_of_top(rates_of("pair"), 4), 0.40, 1e-12);
  const std::vector<double> tiny = rates_of("tiny");
  EXPECT_NEAR(l0_of_top(tiny, 20), 1.12, 1e-12);
  EXPECT_NEAR(tiny[0], 0.15, 1e-12);
  EXPECT_NEAR(tiny[3], 0.03, 1e-12);
  EXPECT_NEAR(tiny[19], 0.05, 1e-12);
  const std::vector<double> small = rates_of("small");
  EXPECT_NEAR(l0_of_top(small, 512), 7.406, 6e-4);
  EXPECT_NEAR(l0_of_top(small, 128), 4.894, 6e-4);
  EXPECT_NEAR(first(small, 128), 4.620, 6e-4);
  EXPECT_NEAR(first(small, 16), 2.532, 6e-4);
  EXPECT_NEAR(first(small, 64) - first(small, 16), 1.519, 6e-4);
  EXPECT_NEAR(first(small, 208) - first(small, 64), 0.912, 6e-4);
  EXPECT_NEAR(first(small, 512) - first(small, 208), 2.444, 6e-4);
  const std::vector<double> zipf = rates_of("small-zipf");
  EXPECT_NEAR(l0_of_top(zipf, 1024), 7.867, 6e-4);
  EXPECT_NEAR(first(zipf, 256), 5.580, 6e-4);
}

TEST(WorldTables, CountOnlyMagnitudesAboveZeroAsFiring) {
  WorldOptions options = custom(1, 1);
  options.rate_max = 0.5;
  options.spread_mean = 1;  // mu 1, sigma 1: Phi(1) = .8413 of the magnitudes are above 0
  const WorldTables tables = make_tables(options);
  EXPECT_NEAR(true_rates(tables)[0], 0.5 * 0.841344746, 1e-9);
  expect_rates(tables, collect(tables, lazy(tables, 1), 100'000));
}

TEST(WorldTables, LetNoChildOfMagnitudeZeroCompete) {
  WorldOptions options = custom(5, 1);
  options.roots = 1;
  options.children = 4;
  options.depth = 1;
  options.rule = Rule::kCompete;
  options.root_rate = 1;
  options.child_rate = 0.9;
  options.spread_mean = 1;
  const WorldTables tables = make_tables(options);
  const Totals totals = collect(tables, lazy(tables, 1), 100'000);
  EXPECT_GT(*std::min_element(totals.sum.begin(), totals.sum.end()), 0);
  expect_rates(tables, totals);
}

TEST(WorldTables, SpreadMagnitudesLikeAFoldedNormal) {
  const WorldTables tables = make_tables(preset("synth16k"));
  double sum = 0;
  double square = 0;
  for (const double sigma : tables.sigma) {
    sum += sigma;
    square += sigma * sigma;
  }
  const double n = 16384;  // sd of sigma: sqrt(.5 - .583^2) = .4; of sigma^2: below .65
  EXPECT_NEAR(sum / n, 0.5832, kSigmas * 0.4 / std::sqrt(n));
  EXPECT_NEAR(square / n, 0.5, kSigmas * 0.65 / std::sqrt(n));
  EXPECT_EQ(tables.mu.front(), 5);
  EXPECT_EQ(tables.mu.back(), 4);
  EXPECT_NEAR(tables.mu[8192], 5 - 8192.0 / 16383, 1e-12);
}

// ---------------------------------------------------------------------------------------- sampler

TEST(Sampler, FiresEveryFeatureAtItsClosedFormRate) {
  for (const char* name : {"pair", "tiny", "small", "small-zipf"}) {
    SCOPED_TRACE(name);
    const WorldTables tables = make_tables(without_correlation(preset(name)));
    expect_rates(tables, collect(tables, lazy(tables, 1), 200'000));
  }
}

TEST(Sampler, FiresIndependentChildrenAtTheirOwnRates) {
  WorldOptions options = custom(40, 8);
  options.roots = 3;
  options.children = 3;
  options.depth = 2;
  options.rate_min = 0.1;
  const WorldTables tables = make_tables(options);
  const std::vector<double> rates = true_rates(tables);
  EXPECT_NEAR(rates[3], tables.rate[0] * tables.rate[3], 1e-12);
  EXPECT_NEAR(rates[12], rates[3] * tables.rate[12], 1e-12);
  expect_rates(tables, collect(tables, lazy(tables, 1), 100'000));
}

TEST(Sampler, LeavesParentsAloneAsOftenAsTheRuleSays) {
  const WorldTables small = make_tables(without_spread(preset("small")));
  const Totals totals = collect(small, lazy(small, 3), 100'000);
  for (std::size_t p = 0; p < 16; ++p) {  // P(a child | root) = .6 exactly
    EXPECT_NEAR(totals.alone[p], 0.4 * totals.count[p],
                kSigmas * std::sqrt(0.24 * totals.count[p]));
  }
  const WorldTables zipf = make_tables(without_correlation(without_spread(preset("small-zipf"))));
  const Totals crowded = collect(zipf, lazy(zipf, 3), 100'000);
  const double any_child[] = {0.989, 0.9999, 0.972};
  for (std::int64_t depth = 0; depth < 3; ++depth) {
    const double on = sum_at_depth(zipf, crowded.count, depth);
    const double alone = sum_at_depth(zipf, crowded.alone, depth);
    const double p = any_child[depth];
    EXPECT_NEAR(1 - alone / on, p, 6e-4 + kSigmas * std::sqrt(p * (1 - p) / on)) << depth;
  }
}

TEST(Sampler, KeepsToTheHierarchyInEverySample) {
  for (const char* name : {"tiny", "small", "small-zipf", "synth16k"}) {
    SCOPED_TRACE(name);
    const WorldTables tables = make_tables(preset(name));
    const Sampler sampler(tables, 5, SampleSet::kTrain);
    std::vector<Entry> entries;
    for (std::uint64_t s = 0; s < 3000; ++s) {
      sampler.sample(s, entries);
      std::vector<char> on(tables.parent.size());
      std::vector<int> children(tables.parent.size());
      for (const auto& [feature, activation] : entries) {
        ASSERT_GT(activation, 0);
        ASSERT_EQ(on[idx(feature)], 0);
        on[idx(feature)] = 1;
      }
      for (const auto& [feature, activation] : entries) {
        const std::int64_t parent = tables.parent[idx(feature)];
        if (parent < 0) continue;
        ASSERT_EQ(on[idx(parent)], 1) << "feature " << feature << " without its parent";
        ASSERT_EQ(++children[idx(parent)], 1) << "two children of " << parent;
      }
      ASSERT_TRUE(
          std::is_sorted(entries.begin(), entries.end(),
                         [](const Entry& a, const Entry& b) { return a.feature < b.feature; }));
    }
  }
}

TEST(Sampler, PicksTheWinnerOfACompetitionUniformly) {
  WorldOptions options = custom(6, 8);
  options.roots = 1;
  options.children = 5;
  options.depth = 1;
  options.rule = Rule::kCompete;
  options.root_rate = 1;
  options.child_rate = 0.7;
  const WorldTables tables = make_tables(options);
  constexpr double kSamples = 100'000;
  const Totals totals = collect(tables, lazy(tables, 2), static_cast<std::int64_t>(kSamples));
  const double expected = kSamples * (1 - std::pow(0.3, 5)) / 5;
  double chi2 = 0;
  for (std::size_t c = 1; c <= 5; ++c) {
    chi2 += (totals.count[c] - expected) * (totals.count[c] - expected) / expected;
  }
  EXPECT_LT(chi2, 4 + kSigmas * std::sqrt(2.0 * 4) + 6);  // far in the tail of chi^2 with 4 to 5
  EXPECT_EQ(totals.count[0], kSamples);
}

/// P(y_i > s, y_j > t) of a standard bivariate normal: the integral of its density over rho.
double joint_tail(double s, double t, double rho) {
  constexpr int kSteps = 2000;
  double sum = 0;
  for (int k = 0; k < kSteps; ++k) {
    const double r = rho * (k + 0.5) / kSteps;
    const double rest = 1 - r * r;
    sum += std::exp(-(s * s - 2 * r * s * t + t * t) / (2 * rest)) / std::sqrt(rest);
  }
  return normal_cdf(-s) * normal_cdf(-t) + sum * rho / kSteps / (2 * std::numbers::pi);
}

TEST(Sampler, CorrelatesFeaturesByTheGaussianCopula) {
  WorldOptions options = custom(30, 8);
  options.correlation_rank = 4;
  options.correlation_scale = 0.4;
  options.rate_min = 0.03;
  const WorldTables tables = make_tables(options);
  constexpr std::int64_t kSamples = 200'000;
  std::vector<double> joint(30 * 30);
  const Draw draw = lazy(tables, 4);
  std::vector<Entry> entries;
  for (std::uint64_t s = 0; s < kSamples; ++s) {
    draw(s, entries);
    for (const Entry& a : entries) {
      for (const Entry& b : entries) joint[idx(a.feature * 30 + b.feature)] += 1.0 / kSamples;
    }
  }
  double strongest = 0;
  for (std::size_t i = 0; i < 30; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double rho = 0;
      for (std::size_t k = 0; k < 4; ++k) {
        rho += double{tables.loadings[i * 4 + k]} * tables.loadings[j * 4 + k];
      }
      const double p = i == j ? tables.proposal[i]
                              : joint_tail(normal_quantile(1 - tables.proposal[i]),
                                           normal_quantile(1 - tables.proposal[j]), rho);
      EXPECT_NEAR(joint[i * 30 + j], p, kSigmas * std::sqrt(p / kSamples)) << i << ", " << j;
      if (i != j) strongest = std::max(strongest, std::abs(rho));
    }
  }
  EXPECT_GT(strongest, 0.5);  // or nothing was tested
}

TEST(Sampler, WidensL0ByCorrelation) {
  const auto sd = [](const WorldOptions& options) {
    const WorldTables tables = make_tables(options);
    const Totals totals = collect(tables, lazy(tables, 6), 10'000);
    EXPECT_NEAR(totals.mean_l0(), 34.53, 0.08 + kSigmas * 11.5 / 100);
    return std::sqrt(totals.var_l0());
  };
  const double error = kSigmas * 11.5 / std::sqrt(2.0 * 10'000);
  EXPECT_NEAR(sd(preset("synth16k")), 11.5, error);
  EXPECT_NEAR(sd(without_correlation(preset("synth16k"))), 10.7, error);
}

TEST(Sampler, DrawsMagnitudesWithTheTablesMomentsAndTheParentsScale) {
  for (const bool scale : {true, false}) {
    WorldOptions options = custom(13, 8);
    options.roots = 1;
    options.children = 3;
    options.depth = 2;
    options.rule = Rule::kChoose;
    options.root_rate = 0.9;
    options.child_rate = 0.3;
    options.magnitude_first = 5;
    options.magnitude_last = 4;
    options.spread_mean = 0.5;
    options.scale_children = scale;
    const WorldTables tables = make_tables(options);
    const Totals totals = collect(tables, lazy(tables, 8), 200'000);
    std::vector<double> relative(13);  // E[a^2 | on] / mu^2
    for (std::size_t i = 0; i < 13; ++i) {
      const double mu = tables.mu[i];
      const double own = 1 + tables.sigma[i] * tables.sigma[i] / (mu * mu);
      const std::int64_t parent = tables.parent[i];
      relative[i] = own * (scale && parent >= 0 ? relative[idx(parent)] : 1);
      const double sd = mu * std::sqrt(relative[i] - 1);
      const double root = std::sqrt(totals.count[i]);
      const double measured = totals.sum[i] / totals.count[i];
      EXPECT_NEAR(measured, mu, kSigmas * sd / root) << "feature " << i;
      const double var = totals.square[i] / totals.count[i] - measured * measured;
      EXPECT_NEAR(std::sqrt(var), sd, kSigmas * sd * 2 / root) << "feature " << i;
    }
  }
}

TEST(Sampler, AgreesWithTheLiteralDefinition) {
  WorldOptions independent = custom(60, 8);
  independent.roots = 4;
  independent.children = 3;
  independent.depth = 2;
  independent.rate_min = 0.05;
  independent.spread_mean = 0.6;
  independent.scale_children = true;
  independent.correlation_rank = 5;
  independent.correlation_scale = 0.2;
  WorldOptions choose = preset("small");
  choose.correlation_rank = 25;
  constexpr std::int64_t kSamples = 10'000;
  for (const WorldOptions& options : {preset("small-zipf"), choose, independent}) {
    SCOPED_TRACE(name_of(*resolve(options).rule));
    const WorldTables tables = make_tables(options);
    const Totals fast = collect(tables, lazy(tables, 9), kSamples);
    const Totals slow = collect(tables, literal(tables, 10), kSamples);
    for (std::size_t i = 0; i < tables.parent.size(); ++i) {
      const double pooled = fast.count[i] + slow.count[i];
      EXPECT_NEAR(fast.count[i], slow.count[i], kSigmas * std::sqrt(pooled + 1)) << "feature " << i;
    }
    EXPECT_NEAR(fast.mean_l0(), slow.mean_l0(),
                kSigmas * std::sqrt((fast.var_l0() + slow.var_l0()) / kSamples));
    EXPECT_NEAR(std::sqrt(fast.var_l0() / slow.var_l0()), 1, kSigmas / std::sqrt(kSamples));
    for (std::int64_t depth = 0; depth < 4; ++depth) {
      const double on = sum_at_depth(tables, fast.count, depth);
      if (on == 0) continue;
      const double one = sum_at_depth(tables, fast.square, depth) / on;
      const double other =
          sum_at_depth(tables, slow.square, depth) / sum_at_depth(tables, slow.count, depth);
      EXPECT_NEAR(one / other, 1, kSigmas * 0.8 * std::sqrt(2 / on)) << "depth " << depth;
    }
  }
}

// ------------------------------------------------------------------------------------- dictionary

double rms_cosine(const at::Tensor& dictionary) {
  at::Tensor cosines = dictionary.mm(dictionary.t());
  cosines.fill_diagonal_(0);
  const auto n = static_cast<double>(dictionary.size(0));
  return std::sqrt(cosines.square().sum().item<double>() / n / (n - 1));
}

TEST(World, HasOrthonormalFeaturesWhereTheyFit) {
  for (const char* name : {"pair", "tiny"}) {
    const World world(preset(name));
    const at::Tensor gram = world.dictionary().mm(world.dictionary().t());
    EXPECT_TRUE(at::allclose(gram, at::eye(world.features()), 0, 1e-6));
    EXPECT_EQ(world.bias().abs().max().item<float>(), 0);
  }
}

TEST(World, SpreadsFeaturesThatDoNotFitTowardsATightFrame) {
  for (const char* name : {"small", "small-zipf"}) {
    SCOPED_TRACE(name);
    const World world(preset(name));
    const auto n = static_cast<double>(world.features());
    const auto d = static_cast<double>(world.d_in());
    const at::Tensor norms = world.dictionary().square().sum(1);
    EXPECT_TRUE(at::allclose(norms, at::ones_like(norms), 0, 1e-5));
    const double welch = std::sqrt((n - d) / (d * (n - 1)));
    EXPECT_GT(rms_cosine(world.dictionary()), welch);
    EXPECT_LT(rms_cosine(world.dictionary()), 0.2 * welch + 0.8 / std::sqrt(d));
    at::Tensor sizes = world.dictionary().mm(world.dictionary().t()).abs();
    sizes.fill_diagonal_(0);
    const double nearest = sizes.amax(1).mean().item<double>();
    EXPECT_GT(nearest, 0.275);
    EXPECT_LT(nearest, 0.305);
    EXPECT_NEAR(world.bias().norm().item<double>(), 0.5, 1e-6);
  }
}

TEST(World, ReachesTheWelchBoundWithEnoughSteps) {
  WorldOptions options = custom(12, 6);
  options.orthogonal_steps = 2000;
  options.orthogonal_rate = 0.01;
  const double welch = std::sqrt(6.0 / (6 * 11));
  EXPECT_NEAR(rms_cosine(make_dictionary(options)), welch, 1e-3);
  options.orthogonal_steps = 0;
  EXPECT_GT(rms_cosine(make_dictionary(options)), welch + 0.05);
}

TEST(World, FollowsFromItsSeedUnderAnyNumberOfThreads) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const World one(preset("small"));
  at::set_num_threads(2);
  const World two(preset("small"));
  EXPECT_EQ(at::get_num_threads(), 2);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one.dictionary(), two.dictionary()));
  EXPECT_TRUE(at::equal(one.bias(), two.bias()));
  EXPECT_EQ(one.tables().sigma, two.tables().sigma);
  WorldOptions options = preset("small");
  options.seed = 43;
  const World other(options);
  EXPECT_FALSE(at::equal(one.dictionary(), other.dictionary()));
  EXPECT_FALSE(at::equal(one.bias(), other.bias()));
  EXPECT_NE(one.tables().sigma, other.tables().sigma);
}

// ----------------------------------------------------------------------------------------- source

std::shared_ptr<const World> shared_world(const char* name) {
  return std::make_shared<const World>(preset(name));
}

TEST(WorldSource, DecodesItsTruth) {
  const auto world = shared_world("small");
  WorldSource source(world, 1);
  const LabelledBatch batch = source.next_with_truth(300);
  ASSERT_EQ(batch.x.sizes(), (std::vector<std::int64_t>{300, 96}));
  ASSERT_EQ(SparseView(batch.truth).rows(), 300);
  at::Tensor a = torch::zeros({300, 512});
  for (std::int64_t row = 0; row < 300; ++row) {
    for (std::int64_t e = batch.truth.offsets[idx(row)]; e < batch.truth.offsets[idx(row + 1)];
         ++e) {
      a[row][batch.truth.indices[idx(e)]] = batch.truth.values[idx(e)];
    }
  }
  EXPECT_GT(std::ssize(batch.truth.values), 300 * 6);
  EXPECT_TRUE(at::allclose(batch.x, a.mm(world->dictionary()) + world->bias(), 1e-5, 1e-4));
}

TEST(WorldSource, GivesTheSameSamplesInAnyPortionsOnAnyThreads) {
  for (const char* name : {"small", "small-zipf"}) {
    const auto world = shared_world(name);
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    const at::Tensor all = WorldSource(world, 7).next(500);
    at::set_num_threads(2);
    WorldSource source(world, 7);
    const at::Tensor parts = at::cat({source.next(1), source.next(130), source.next(0),
                                      source.next_with_truth(200).x, source.next(169)});
    at::set_num_threads(threads);
    EXPECT_TRUE(at::equal(all, parts));
    EXPECT_EQ(source.position(), 500);
    source.seek(131);
    EXPECT_TRUE(at::equal(source.next(10), all.slice(0, 131, 141)));
    EXPECT_EQ(source.position(), 141);
  }
}

TEST(WorldSource, HasOtherSamplesForAnotherDataSeedWorldSeedOrSet) {
  const auto world = shared_world("small");
  WorldOptions options = preset("small");
  options.seed = 43;
  const WorldTables other_world = make_tables(options);
  const auto first = [](const Sampler& sampler) {
    std::vector<Entry> entries;
    std::vector<std::int64_t> features;
    for (std::uint64_t s = 0; s < 20; ++s) {
      sampler.sample(s, entries);
      for (const Entry& entry : entries) features.push_back(entry.feature);
    }
    return features;
  };
  const auto base = first(Sampler(world->tables(), 1, SampleSet::kTrain));
  EXPECT_EQ(base, first(Sampler(world->tables(), 1, SampleSet::kTrain)));
  EXPECT_NE(base, first(Sampler(world->tables(), 2, SampleSet::kTrain)));
  EXPECT_NE(base, first(Sampler(world->tables(), 1ULL + (1ULL << 32), SampleSet::kTrain)));
  EXPECT_NE(base, first(Sampler(world->tables(), 1, SampleSet::kHeldOut)));
  EXPECT_NE(base, first(Sampler(other_world, 1, SampleSet::kTrain)));
}

TEST(WorldSource, RefusesNegativeCountsAndPositions) {
  WorldSource source(shared_world("pair"), 1);
  EXPECT_THROW(source.next(-1), std::invalid_argument);
  EXPECT_THROW(source.seek(-1), std::invalid_argument);
  EXPECT_EQ(source.next(0).sizes(), (std::vector<std::int64_t>{0, 50}));
}

}  // namespace
}  // namespace sae

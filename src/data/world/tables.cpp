// From options to the sampler's tables, and the closed form of the rates.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "data/world/parts.h"
#include "kernels/normal.h"
#include "sae/base/rng.h"
#include "sae/base/text.h"
#include "sae/data/world.h"

namespace sae {
namespace {

Rng part_stream(const WorldTables& tables, WorldPart part) {
  return {tables.seed, Stream::kWorld, static_cast<std::uint64_t>(part)};
}

/// Breadth-first until the levels are full or the features run out.
void lay_out_trees(const WorldOptions& options, WorldTables& tables) {
  const std::int64_t n = *options.features;
  tables.parent.assign(static_cast<std::size_t>(n), -1);
  tables.first_child.assign(static_cast<std::size_t>(n), 0);
  tables.child_count.assign(static_cast<std::size_t>(n), 0);
  std::int64_t level_begin = 0;
  std::int64_t level_end = *options.roots;
  for (std::int64_t level = 0; level < *options.depth; ++level) {
    std::int64_t next = level_end;
    for (std::int64_t p = level_begin; p < level_end; ++p) {
      const std::int64_t count = std::min(*options.children, n - next);
      tables.first_child[static_cast<std::size_t>(p)] = next;
      tables.child_count[static_cast<std::size_t>(p)] = count;
      for (std::int64_t c = next; c < next + count; ++c) {
        tables.parent[static_cast<std::size_t>(c)] = p;
      }
      next += count;
    }
    level_begin = level_end;
    level_end = next;
  }
}

/// p_r = p_min + (p_max - p_min) (z_r - z_N) / (z_1 - z_N), z_r = r^-alpha.
std::vector<double> zipf_rates(const WorldOptions& options) {
  const std::int64_t n = *options.features;
  const auto weight = [&](std::int64_t rank) {
    return std::pow(static_cast<double>(rank), -*options.zipf_exponent);
  };
  const double last = weight(n);
  const double span = 1 - last;  // z_1 = 1
  std::vector<double> rates(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    const double share = span > 0 ? (weight(i + 1) - last) / span : 1;  // a flat law: rate_max
    rates[static_cast<std::size_t>(i)] =
        *options.rate_min + (*options.rate_max - *options.rate_min) * share;
  }
  return rates;
}

void set_children(const WorldOptions& options, std::size_t p, WorldTables& tables) {
  const auto first = static_cast<std::size_t>(tables.first_child[p]);
  const auto end = first + static_cast<std::size_t>(tables.child_count[p]);
  if (options.child_rate) {
    for (std::size_t c = first; c < end; ++c) {
      tables.proposal[c] = *options.child_rate;
      tables.rate[c] = tables.rate[p] * *options.child_rate;
    }
    return;
  }
  double sum = 0;
  for (std::size_t c = first; c < end; ++c) sum += tables.rate[c];
  for (std::size_t c = first; c < end; ++c) {
    double factor = 1;
    if (*options.compensate && tables.rate[p] > 0) {
      factor = 1 / tables.rate[p];
      if (tables.rule == Rule::kCompete && end - first >= 2) {
        factor *= 1 + (sum - tables.rate[c]) / tables.rate[p];
      }
    }
    tables.proposal[c] = std::min(1.0, tables.rate[c] * factor);
  }
}

void set_rates(const WorldOptions& options, WorldTables& tables) {
  tables.rate = zipf_rates(options);
  const std::size_t n = tables.rate.size();
  for (std::size_t i = 0; i < n; ++i) {
    if (tables.parent[i] >= 0) continue;
    const bool root = static_cast<std::int64_t>(i) < *options.roots;
    const auto& fixed = root ? options.root_rate : options.free_rate;
    if (fixed) tables.rate[i] = *fixed;
  }
  tables.proposal = tables.rate;
  for (std::size_t p = 0; p < n; ++p) set_children(options, p, tables);
}

void set_magnitudes(const WorldOptions& options, WorldTables& tables) {
  Rng rng = part_stream(tables, WorldPart::kSpread);
  const std::size_t n = tables.parent.size();
  tables.mu.resize(n);
  tables.sigma.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double share = n > 1 ? static_cast<double>(i) / static_cast<double>(n - 1) : 0;
    tables.mu[i] =
        *options.magnitude_first + (*options.magnitude_last - *options.magnitude_first) * share;
    tables.sigma[i] = std::abs(*options.spread_mean + *options.spread_sd * rng.normal());
  }
}

/// F_ij ~ N(0, kappa^2); a row whose own variance 1 - |F_i|^2 falls below 0.01 is shrunk to leave
/// it.
void set_loadings(const WorldOptions& options, WorldTables& tables) {
  tables.rank = *options.correlation_scale > 0 ? *options.correlation_rank : 0;
  const auto rank = static_cast<std::size_t>(tables.rank);
  Rng rng = part_stream(tables, WorldPart::kLoadings);
  tables.loadings.resize(tables.parent.size() * rank);
  for (std::size_t i = 0; i < tables.parent.size() && rank > 0; ++i) {
    float* row = tables.loadings.data() + i * rank;
    double square = 0;
    for (std::size_t k = 0; k < rank; ++k) {
      row[k] = static_cast<float>(*options.correlation_scale * rng.normal());
      square += double{row[k]} * row[k];
    }
    if (1 - square < 0.01) {
      const auto shrink = static_cast<float>(std::sqrt(0.99 / square));
      for (std::size_t k = 0; k < rank; ++k) row[k] *= shrink;
    }
  }
}

/// E[1 / (1 + K)] for K = the number of the other children proposed, each with its own `chance`.
double win_share(std::span<const double> chance, std::size_t self) {
  std::vector<double> count = {1};  // count[k] = P(K = k)
  for (std::size_t j = 0; j < chance.size(); ++j) {
    if (j == self) continue;
    count.push_back(0);
    for (std::size_t k = count.size() - 1; k > 0; --k) {
      count[k] = count[k] * (1 - chance[j]) + count[k - 1] * chance[j];
    }
    count[0] *= 1 - chance[j];
  }
  double share = 0;
  for (std::size_t k = 0; k < count.size(); ++k) share += count[k] / static_cast<double>(k + 1);
  return share;
}

}  // namespace

WorldTables make_rates(const WorldOptions& options) {
  WorldTables tables;
  tables.seed = static_cast<std::uint64_t>(options.seed);
  tables.rule = *options.rule;
  tables.scale_children = *options.scale_children;
  lay_out_trees(options, tables);
  set_rates(options, tables);
  return tables;
}

std::string overfull_children(const WorldTables& tables) {
  if (tables.rule != Rule::kChoose) return "";
  for (std::size_t p = 0; p < tables.rate.size(); ++p) {
    const auto first = tables.proposal.begin() + tables.first_child[p];
    const double sum = std::accumulate(first, first + tables.child_count[p], 0.0);
    if (sum > 1 + 1e-9) {
      return "the children of feature " + std::to_string(p) +
             " would be chosen with a total probability of " + shortest(sum) +
             "; set child_rate, fewer children, or rule compete";
    }
  }
  return "";
}

WorldTables make_tables(const WorldOptions& given) {
  const WorldOptions options = resolve(given);
  WorldTables tables = make_rates(options);
  set_magnitudes(options, tables);
  set_loadings(options, tables);
  return tables;
}

std::vector<double> true_rates(const WorldTables& tables) {
  const std::size_t n = tables.parent.size();
  std::vector<double> visible(n);  // proposed with a magnitude above 0
  for (std::size_t i = 0; i < n; ++i) {
    visible[i] = tables.proposal[i];
    if (tables.sigma[i] > 0) visible[i] *= normal_cdf(tables.mu[i] / tables.sigma[i]);
  }
  std::vector<double> rates = visible;
  for (std::size_t p = 0; p < n; ++p) {
    const auto first = static_cast<std::size_t>(tables.first_child[p]);
    const auto count = static_cast<std::size_t>(tables.child_count[p]);
    const std::span<const double> siblings(visible.data() + first, count);
    for (std::size_t k = 0; k < count; ++k) {
      const double share = tables.rule == Rule::kCompete ? win_share(siblings, k) : 1;
      rates[first + k] = rates[p] * visible[first + k] * share;
    }
  }
  return rates;
}

double l0_of_top(std::vector<double> rates, std::int64_t m) {
  const auto count = static_cast<std::ptrdiff_t>(std::clamp<std::int64_t>(m, 0, std::ssize(rates)));
  std::partial_sort(rates.begin(), rates.begin() + count, rates.end(), std::greater<>());
  return std::accumulate(rates.begin(), rates.begin() + count, 0.0);
}

}  // namespace sae

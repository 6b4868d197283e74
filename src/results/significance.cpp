#include "sae/results/significance.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

namespace sae {
namespace {

struct MeanSquares {
  double seeds = 0, classes = 0, rest = 0;
};

/// Of a two-way table without replication, [S][C].
MeanSquares mean_squares(const std::vector<std::vector<double>>& d, double mean) {
  const std::size_t S = d.size(), C = d[0].size();
  std::vector<double> of_seed(S, 0), of_class(C, 0);
  for (std::size_t s = 0; s < S; ++s) {
    for (std::size_t c = 0; c < C; ++c) {
      of_seed[s] += d[s][c] / static_cast<double>(C);
      of_class[c] += d[s][c] / static_cast<double>(S);
    }
  }
  MeanSquares out;
  const auto rows = static_cast<double>(S), columns = static_cast<double>(C);
  for (const double value : of_seed) out.seeds += columns * std::pow(value - mean, 2);
  for (const double value : of_class) out.classes += rows * std::pow(value - mean, 2);
  for (std::size_t s = 0; s < S; ++s) {
    for (std::size_t c = 0; c < C; ++c) {
      out.rest += std::pow(d[s][c] - of_seed[s] - of_class[c] + mean, 2);
    }
  }
  if (S > 1) out.seeds /= rows - 1;
  if (C > 1) out.classes /= columns - 1;
  if (S > 1 && C > 1) out.rest /= (rows - 1) * (columns - 1);
  return out;
}

/// S C se^2 and its degrees of freedom.
std::pair<double, double> variance_of_mean(const MeanSquares& ms, double S, double C) {
  const double both = ms.seeds + ms.classes - ms.rest;
  if (S < 2) return {ms.classes, C - 1};
  if (C < 2) return {ms.seeds, S - 1};
  if (both < std::max(ms.seeds, ms.classes)) {  // the smaller effect is lost in the rest
    return ms.seeds > ms.classes ? std::pair{ms.seeds, S - 1} : std::pair{ms.classes, C - 1};
  }
  const double spread = ms.seeds * ms.seeds / (S - 1) + ms.classes * ms.classes / (C - 1) +
                        ms.rest * ms.rest / ((S - 1) * (C - 1));
  const double least = std::min(S, C) - 1;
  return {both, spread > 0 ? std::max(both * both / spread, least) : least};
}

using ValuesOfSeed = std::map<std::int64_t, MetricValues>;  // seed -> class -> value

/// A member's values at one L0 of all classes that every one of its seeds has.
ValuesOfSeed values_at(const ComparisonResult& result, const std::string& member,
                       const std::string& metric, double l0, const std::string& axis) {
  std::set<std::string> names;
  for (const RunResult& run : result.runs) {
    const auto classes = run.by_class.find(metric);
    if (run.member != member || classes == run.by_class.end()) continue;
    for (const auto& [name, value] : classes->second) names.insert(name);
  }
  ValuesOfSeed out;
  for (const std::string& name : names) {
    for (const auto& [seed, value] : class_at(result, member, metric, name, l0, axis)) {
      out[seed][name] = value;
    }
  }
  return out;
}

std::optional<PairedDifference> difference(const ValuesOfSeed& a, const ValuesOfSeed& b) {
  std::vector<std::pair<const MetricValues*, const MetricValues*>> seeds;
  for (const auto& [seed, values] : a) {
    if (const auto other = b.find(seed); other != b.end()) {
      seeds.emplace_back(&values, &other->second);
    }
  }
  if (seeds.empty()) return std::nullopt;
  std::vector<std::vector<double>> d(seeds.size());
  for (const auto& [name, value] : *seeds[0].first) {
    const bool shared = std::all_of(seeds.begin(), seeds.end(), [&, &key = name](const auto& pair) {
      return pair.first->contains(key) && pair.second->contains(key);
    });
    if (!shared) continue;
    for (std::size_t s = 0; s < seeds.size(); ++s) {
      d[s].push_back(seeds[s].first->at(name) - seeds[s].second->at(name));
    }
  }
  if (d[0].empty()) return std::nullopt;
  return paired_difference(d);
}

}  // namespace

PairedDifference paired_difference(const std::vector<std::vector<double>>& d) {
  const auto S = static_cast<double>(d.size()), C = static_cast<double>(d[0].size());
  PairedDifference out;
  out.seeds = static_cast<int>(d.size());
  out.classes = static_cast<int>(d[0].size());
  for (const std::vector<double>& row : d) {
    for (const double value : row) out.mean += value / (S * C);
  }
  const auto [variance, df] = variance_of_mean(mean_squares(d, out.mean), S, C);
  out.df = df;
  if (df < 1) {
    out.se = out.low = out.high = std::numeric_limits<double>::quiet_NaN();
    return out;
  }
  out.se = std::sqrt(variance / (S * C));
  const double half = student_t(0.05, df) * out.se;
  out.low = out.mean - half;
  out.high = out.mean + half;
  out.p = out.se > 0 ? student_p(out.mean / out.se, df) : out.mean == 0 ? 1 : 0;
  return out;
}

void holm(std::vector<PairedDifference*> family) {
  std::stable_sort(
      family.begin(), family.end(),
      [](const PairedDifference* a, const PairedDifference* b) { return a->p < b->p; });
  for (std::size_t i = 0; i < family.size(); ++i) {
    if (family[i]->p > 0.05 / static_cast<double>(family.size() - i)) return;
    family[i]->told_apart = family[i]->seeds > 1;
  }
}

std::size_t DifferenceTable::told_apart() const {
  std::size_t count = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) count += pairs[i][j] && pairs[i][j]->told_apart ? 1 : 0;
  }
  return count;
}

std::size_t DifferenceTable::compared() const {
  std::size_t count = 0;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) count += pairs[i][j] ? 1 : 0;
  }
  return count;
}

DifferenceTable differences_at(const ComparisonResult& result, const std::string& metric, double l0,
                               const std::string& axis) {
  DifferenceTable table;
  std::vector<ValuesOfSeed> values;
  for (const Member& member : result.members) {
    ValuesOfSeed own = values_at(result, member.label, metric, l0, axis);
    if (own.empty()) continue;
    table.members.push_back(member.label);
    values.push_back(std::move(own));
  }
  const std::size_t count = values.size();
  table.pairs.assign(count, std::vector<std::optional<PairedDifference>>(count));
  std::vector<PairedDifference*> family;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      table.pairs[i][j] = difference(values[i], values[j]);
      if (table.pairs[i][j]) family.push_back(&*table.pairs[i][j]);
    }
  }
  holm(family);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      table.pairs[j][i] = table.pairs[i][j];
      if (!table.pairs[j][i]) continue;
      PairedDifference& other = *table.pairs[j][i];
      other.mean = -other.mean;
      std::swap(other.low, other.high);
      other.low = -other.low;
      other.high = -other.high;
    }
  }
  return table;
}

}  // namespace sae

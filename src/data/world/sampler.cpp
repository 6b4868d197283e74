#include "data/world/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/add_scaled.h"
#include "kernels/normal.h"

namespace sae {
namespace {

constexpr std::size_t kTile = 256;         // features whose z are computed together
constexpr std::uint32_t kQuantiles = 256;  // resolution of the first look at a uniform number

std::uint64_t key_of(std::uint64_t world_seed, std::uint64_t data_seed, SampleSet set) {
  const auto low = [](std::uint64_t word) { return static_cast<std::uint32_t>(word); };
  const auto high = [](std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32); };
  const auto block = philox({low(world_seed), high(world_seed), static_cast<std::uint32_t>(set),
                             static_cast<std::uint32_t>(Stream::kSample)},
                            {low(data_seed), high(data_seed)});
  return (std::uint64_t{block[1]} << 32) | block[0];
}

}  // namespace

Sampler::Sampler(const WorldTables& tables, std::uint64_t data_seed, SampleSet set)
    : tables_(tables), key_(key_of(tables.seed, data_seed, set)) {
  for (std::int64_t i = 0; i < tables_.features(); ++i) {
    if (tables_.parent[static_cast<std::size_t>(i)] < 0) top_.push_back(i);
  }
  if (correlated()) {
    arrange_copula();
  } else {
    arrange_blocks();
  }
}

/// Blocks of features whose probabilities differ by less than a factor of 2, so that skipping with
/// the block's bound wastes less than half of its candidates.
void Sampler::arrange_blocks() {
  const auto chance = [&](std::int64_t i) { return tables_.proposal[static_cast<std::size_t>(i)]; };
  std::stable_sort(top_.begin(), top_.end(),
                   [&](std::int64_t a, std::int64_t b) { return chance(a) > chance(b); });
  for (std::size_t begin = 0; begin < top_.size();) {
    const double bound = chance(top_[begin]);
    if (bound <= 0) break;
    std::size_t end = begin + 1;
    while (end < top_.size() && chance(top_[end]) > bound / 2) ++end;
    blocks_.push_back({std::log1p(-bound), bound, begin, end});
    begin = end;
  }
}

void Sampler::arrange_copula() {
  const auto n = static_cast<std::size_t>(tables_.features());
  const auto rank = static_cast<std::size_t>(tables_.rank);
  cut_.resize(n);
  slope_.resize(n * rank);
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = tables_.loadings.data() + i * rank;
    double square = 0;
    for (std::size_t k = 0; k < rank; ++k) square += double{row[k]} * row[k];
    const double own = std::sqrt(1 - square);
    cut_[i] = static_cast<float>(-normal_quantile(tables_.proposal[i]) / own);
    for (std::size_t k = 0; k < rank; ++k) {
      slope_[i * rank + k] = static_cast<float>(row[k] / own);
    }
  }
  top_cut_.resize(top_.size());
  top_slope_.resize(rank * top_.size());
  for (std::size_t t = 0; t < top_.size(); ++t) {
    const auto i = static_cast<std::size_t>(top_[t]);
    top_cut_[t] = cut_[i];
    for (std::size_t k = 0; k < rank; ++k) top_slope_[k * top_.size() + t] = slope_[i * rank + k];
  }
  for (std::uint32_t k = 0; k <= kQuantiles; ++k) {
    quantile_.push_back(static_cast<float>(normal_quantile(k / double{kQuantiles})));
  }
}

void Sampler::sample(std::uint64_t index, std::vector<Entry>& entries) const {
  Rng rng(key_, Stream::kSample, index);
  entries.clear();
  std::vector<float> factors(static_cast<std::size_t>(tables_.rank));
  if (correlated()) {
    for (float& factor : factors) factor = static_cast<float>(rng.normal());
    propose_top(rng, factors.data(), entries);
  } else {
    propose_top(rng, entries);
  }
  for (std::size_t k = 0; k < entries.size(); ++k) {  // grows while it runs: breadth first
    const Entry parent = entries[k];
    descend(parent, rng, factors.data(), entries);
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.feature < b.feature; });
}

/// Independent features: jump from candidate to candidate by geometric steps at the block's bound,
/// and accept a candidate with what its own probability is of that.
void Sampler::propose_top(Rng& rng, std::vector<Entry>& entries) const {
  for (const Block& block : blocks_) {
    for (std::size_t t = block.begin;; ++t) {
      const double skip = std::floor(std::log(rng.uniform()) / block.log_miss);
      if (skip >= static_cast<double>(block.end - t)) break;
      t += static_cast<std::size_t>(skip);
      const auto i = static_cast<std::size_t>(top_[t]);
      if (rng.uniform() * block.bound < tables_.proposal[i]) {
        const float activation = magnitude(i, 1, rng);
        if (activation > 0) entries.push_back({top_[t], activation});
      }
    }
  }
}

void Sampler::propose_top(Rng& rng, const float* factors, std::vector<Entry>& entries) const {
  const auto rank = static_cast<std::size_t>(tables_.rank);
  std::array<float, kTile> z;
  for (std::size_t begin = 0; begin < top_.size(); begin += kTile) {
    const std::size_t count = std::min(kTile, top_.size() - begin);
    for (std::size_t t = 0; t < count; ++t) z[t] = -top_cut_[begin + t];
    for (std::size_t k = 0; k < rank; ++k) {
      add_scaled(count, factors[k], top_slope_.data() + k * top_.size() + begin, z.data());
    }
    std::uint32_t bits = 0;
    for (std::size_t t = 0; t < count; ++t) {
      bits = t % 4 == 0 ? rng.next() : bits >> 8;
      if (!below_cdf(z[t], bits & 0xFF, rng)) continue;
      const std::int64_t feature = top_[begin + t];
      const float activation = magnitude(static_cast<std::size_t>(feature), 1, rng);
      if (activation > 0) entries.push_back({feature, activation});
    }
  }
}

void Sampler::descend(const Entry& parent, Rng& rng, const float* factors,
                      std::vector<Entry>& entries) const {
  const auto p = static_cast<std::size_t>(parent.feature);
  const auto first = static_cast<std::size_t>(tables_.first_child[p]);
  const auto end = first + static_cast<std::size_t>(tables_.child_count[p]);
  const double scale = tables_.scale_children ? parent.activation / tables_.mu[p] : 1;
  if (tables_.rule == Rule::kChoose) return choose_child(p, scale, rng, entries);
  std::uint64_t rivals = 0;
  for (std::size_t c = first; c < end; ++c) {
    if (!child_proposed(c, rng, factors)) continue;
    const float activation = magnitude(c, scale, rng);
    if (activation <= 0) continue;  // not active, so no rival either
    const Entry child{static_cast<std::int64_t>(c), activation};
    ++rivals;
    if (tables_.rule == Rule::kNone || rivals == 1) {
      entries.push_back(child);
    } else if (rng.below(rivals) == 0) {  // the k-th rival wins with 1 / k: uniform in the end
      entries.back() = child;
    }
  }
}

void Sampler::choose_child(std::size_t parent, double scale, Rng& rng,
                           std::vector<Entry>& entries) const {
  const auto count = static_cast<std::size_t>(tables_.child_count[parent]);
  if (count == 0) return;
  double rest = rng.uniform();
  for (std::size_t k = 0; k < count; ++k) {
    const auto c = static_cast<std::size_t>(tables_.first_child[parent]) + k;
    rest -= tables_.proposal[c];
    if (rest >= 0) continue;
    const float activation = magnitude(c, scale, rng);
    if (activation > 0) entries.push_back({static_cast<std::int64_t>(c), activation});
    return;
  }
}

bool Sampler::child_proposed(std::size_t child, Rng& rng, const float* factors) const {
  if (!correlated()) return rng.uniform() < tables_.proposal[child];
  const auto rank = static_cast<std::size_t>(tables_.rank);
  const float* slope = slope_.data() + child * rank;
  float z = -cut_[child];
  for (std::size_t k = 0; k < rank; ++k) z += factors[k] * slope[k];
  return below_cdf(z, rng.next() & 0xFF, rng);
}

/// u < Phi(z) for a uniform u of which the first byte is given. It mostly decides alone: with
/// k / 256 <= u < (k + 1) / 256 only a z between these quantiles needs more bits and Phi itself.
bool Sampler::below_cdf(float z, std::uint32_t byte, Rng& rng) const {
  if (z < quantile_[byte]) return false;
  if (z >= quantile_[byte + 1]) return true;
  return (byte + rng.uniform()) / kQuantiles < normal_cdf(z);
}

float Sampler::magnitude(std::size_t feature, double scale, Rng& rng) const {
  double value = tables_.mu[feature];
  if (tables_.sigma[feature] > 0) value += tables_.sigma[feature] * rng.normal();
  return static_cast<float>(std::max(value, 0.0) * scale);
}

}  // namespace sae

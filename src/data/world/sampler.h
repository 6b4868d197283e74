// Draws the sparse activations of one sample of a world, by lazy descent.
#pragma once

#include <cstdint>
#include <vector>

#include "sae/base/rng.h"
#include "sae/data/world.h"

namespace sae {

/// Given the copula's common factors e ~ N(0, I_r), proposals are independent:
///     P(s_i = 1 | e) = Phi((F_i . e - t_i) / sqrt(psi_i)),  psi_i = 1 - |F_i|^2,  t_i = Phi^-1(1 -
///     q_i).
/// So a subtree is looked at only when its parent is on, and a sample costs about what fires in it
/// plus, with correlation, one dot product per root and free feature.
class Sampler {
 public:
  struct Entry {
    std::int64_t feature;
    float activation;  // > 0
  };

  Sampler(const WorldTables& tables, std::uint64_t data_seed, SampleSet set);

  /// Replaces `entries` by those of sample `index`, ascending by feature. Thread-safe.
  void sample(std::uint64_t index, std::vector<Entry>& entries) const;

 private:
  /// Features outside the reach of any parent, of like probability: all at most `bound`.
  struct Block {
    double log_miss;  // log(1 - bound)
    double bound;
    std::size_t begin;
    std::size_t end;
  };

  bool correlated() const { return tables_.rank > 0; }
  void arrange_blocks();
  void arrange_copula();
  void propose_top(Rng& rng, std::vector<Entry>& entries) const;
  void propose_top(Rng& rng, const float* factors, std::vector<Entry>& entries) const;
  void descend(const Entry& parent, Rng& rng, const float* factors,
               std::vector<Entry>& entries) const;
  void choose_child(std::size_t parent, double scale, Rng& rng, std::vector<Entry>& entries) const;
  bool child_proposed(std::size_t child, Rng& rng, const float* factors) const;
  bool below_cdf(float z, std::uint32_t byte, Rng& rng) const;
  float magnitude(std::size_t feature, double scale, Rng& rng) const;

  WorldTables tables_;
  std::uint64_t key_;
  std::vector<std::int64_t> top_;  // roots and free features; without correlation, frequent first
  std::vector<Block> blocks_;      // without correlation, over top_
  std::vector<float> cut_;         // [N] t_i / sqrt(psi_i)
  std::vector<float> slope_;       // [N, r] F_i / sqrt(psi_i)
  std::vector<float> top_cut_;     // [top]
  std::vector<float> top_slope_;   // [r, top]
  std::vector<float> quantile_;    // [257] Phi^-1(k / 256)
};

}  // namespace sae

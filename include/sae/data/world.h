// Synthetic worlds: activations whose true features, hierarchy and firing rates are known.
//
// A sample is x = sum_i a_i d_i + b with unit rows d_i and sparse a_i >= 0. Features form a forest:
// a child can fire only while its parent does. Two families of worlds share one table and one
// sampler: children that compete, with Zipf frequencies (Chanin and Garriga-Alonso 2026,
// "SynthSAEBench", arXiv 2602.14687, whose 16k world is `synth16k`), and trees of which one child
// or none is chosen (after the Matryoshka SAE toy of Noa Nabeshima).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sae/data/activations.h"
#include "sae/data/world_options.h"
#include "sae/sparse/sparse_rows.h"

namespace sae {

/// What the sampler needs, without the dictionary. Indices are breadth-first: roots, the children
/// of root 0, of root 1, ..., the next level; features outside trees come last.
struct WorldTables {
  std::uint64_t seed = 0;
  Rule rule = Rule::kNone;
  bool scale_children = false;
  std::vector<double> rate;               ///< [N] nominal p
  std::vector<double> proposal;           ///< [N] q: P(proposed), for a child given its parent
  std::vector<std::int64_t> parent;       ///< [N], -1: none
  std::vector<std::int64_t> first_child;  ///< [N]; children of a parent are contiguous
  std::vector<std::int64_t> child_count;  ///< [N]
  std::vector<double> mu;                 ///< [N] mean magnitude
  std::vector<double> sigma;              ///< [N] its standard deviation before max(., 0)
  std::int64_t rank = 0;                  ///< r
  std::vector<float> loadings;            ///< [N, r] copula factor; kChoose children ignore it

  std::int64_t features() const { return static_cast<std::int64_t>(parent.size()); }
};

WorldTables make_tables(const WorldOptions& options);

/// P(a_i > 0) in closed form, [N]. Exact without correlation:
///     pi_c = pi_P q_c E[1 / (1 + K)], K = siblings proposed (compete; else the factor is 1),
/// with each q multiplied by Phi(mu / sigma), the share of positive magnitudes.
std::vector<double> true_rates(const WorldTables& tables);

/// Sum of the m largest rates: the L0 that a dictionary of m features should have.
double l0_of_top(std::vector<double> rates, std::int64_t m);

/// Unit rows, [N, D] float32: orthonormal where N <= D, else random rows spread by Adam on
///     sum_{i != j} (d_i . d_j)^2 + N sum_i (|d_i|^2 - 1)^2.
at::Tensor make_dictionary(const WorldOptions& options);

/// An immutable world; share it. Everything follows from the options.
class World {
 public:
  explicit World(const WorldOptions& options);

  /// With the dictionary [N, D] and the bias [D] that were stored with samples, which are not made
  /// anew. std::invalid_argument for other shapes.
  World(const WorldOptions& options, const at::Tensor& dictionary, const at::Tensor& bias);

  const WorldOptions& options() const { return options_; }  ///< resolved
  const WorldTables& tables() const { return tables_; }
  std::int64_t features() const { return tables_.features(); }
  std::int64_t d_in() const { return dictionary_.size(1); }
  const at::Tensor& dictionary() const { return dictionary_; }  ///< [N, D]
  const at::Tensor& bias() const { return bias_; }              ///< [D]
  const std::vector<double>& rates() const { return rates_; }   ///< [N], true_rates
  double true_l0() const { return l0_of_top(rates_, features()); }
  double true_l0(std::int64_t m) const { return l0_of_top(rates_, m); }

 private:
  WorldOptions options_;
  WorldTables tables_;
  std::vector<double> rates_;
  at::Tensor dictionary_;
  at::Tensor bias_;
};

/// Which samples: the two sets never share one.
enum class SampleSet : std::uint32_t { kTrain = 0, kHeldOut = 1 };

/// A batch with the features that made it.
struct LabelledBatch {
  at::Tensor x;      ///< [B, D] float32
  SparseRows truth;  ///< a, B rows over N features, indices ascending within a row
};

/// Activations whose features are known.
class TruthSource : public ActivationSource {
 public:
  virtual LabelledBatch next_with_truth(std::int64_t count) = 0;  ///< the x of next(count)
};

class Sampler;

/// Endless samples of a world: sample i is a pure function of (world, data seed, set, i).
class WorldSource : public TruthSource {
 public:
  WorldSource(std::shared_ptr<const World> world, std::uint64_t data_seed,
              SampleSet set = SampleSet::kTrain);
  ~WorldSource() override;

  std::int64_t d_in() const override { return world_->d_in(); }
  at::Tensor next(std::int64_t count) override;
  LabelledBatch next_with_truth(std::int64_t count) override;
  std::int64_t position() const override { return position_; }
  void seek(std::int64_t position) override;
  std::string description() const override;
  const World& world() const { return *world_; }

 private:
  LabelledBatch generate(std::int64_t count, bool with_truth);

  std::shared_ptr<const World> world_;
  std::unique_ptr<const Sampler> sampler_;
  std::uint64_t data_seed_;
  SampleSet set_;
  std::int64_t position_ = 0;
};

}  // namespace sae

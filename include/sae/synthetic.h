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
#include <optional>
#include <string>
#include <vector>

#include "sae/activations.h"
#include "sae/fields.h"
#include "sae/sparse_rows.h"

namespace sae {

/// A preset and what to change in it. An unset field keeps the preset's value.
struct WorldOptions {
  std::string preset = "small";
  std::int64_t seed = 42;
  std::optional<std::int64_t> features;   ///< N
  std::optional<std::int64_t> d_in;       ///< D
  std::optional<std::int64_t> roots;      ///< R
  std::optional<std::int64_t> children;   ///< of every parent
  std::optional<std::int64_t> depth;      ///< levels below the roots
  std::optional<std::string> rule;        ///< none, compete or choose
  std::optional<bool> compensate;         ///< raise child proposals towards their rate
  std::optional<bool> scale_children;     ///< a_child is multiplied by a_parent / mu_parent
  std::optional<double> zipf_exponent;    ///< alpha
  std::optional<double> rate_max;         ///< rate of feature 0
  std::optional<double> rate_min;         ///< rate of feature N - 1
  std::optional<double> root_rate;        ///< of every root; unset: Zipf
  std::optional<double> free_rate;        ///< of every feature outside trees; unset: Zipf
  std::optional<double> child_rate;       ///< P(proposed | parent) of every child; unset: Zipf
  std::optional<double> magnitude_first;  ///< mu of feature 0, linear to ...
  std::optional<double> magnitude_last;   ///< ... mu of feature N - 1
  std::optional<double> spread_mean;      ///< sigma_i = |spread_mean + spread_sd n_i|
  std::optional<double> spread_sd;        ///< 0: the same sigma for all
  std::optional<std::int64_t> correlation_rank;  ///< r; 0: independent proposals
  std::optional<double> correlation_scale;       ///< kappa
  std::optional<double> bias_norm;               ///< |b|
  std::optional<std::int64_t> orthogonal_steps;  ///< Adam steps on the dictionary where N > D
  std::optional<double> orthogonal_rate;         ///< their learning rate

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("preset", self.preset,
          one_of({"pair", "tiny", "small", "small-zipf", "synth16k", "custom"}),
          "world to start from; the fields below override it");
    visit("seed", self.seed, at_least(0), "seed of the world itself, not of its samples");
    visit("features", self.features, at_least(1), "number of true features N");
    visit("d_in", self.d_in, at_least(1), "dimension of the activations D");
    visit("roots", self.roots, at_least(0), "number of trees");
    visit("children", self.children, at_least(0), "children of every parent");
    visit("depth", self.depth, at_least(0), "levels below the roots");
    visit("rule", self.rule, one_of({"none", "compete", "choose"}),
          "siblings: independent, one winner of those proposed, or at most one chosen");
    visit("compensate", self.compensate, any, "divide child rates by the parent's rate");
    visit("scale_children", self.scale_children, any, "child magnitudes follow the parent's");
    visit("zipf_exponent", self.zipf_exponent, at_least(0), "exponent of the rates");
    visit("rate_max", self.rate_max, between(0, 1), "rate of the most frequent feature");
    visit("rate_min", self.rate_min, between(0, 1), "rate of the rarest feature");
    visit("root_rate", self.root_rate, between(0, 1), "one rate for all roots instead of Zipf");
    visit("free_rate", self.free_rate, between(0, 1), "one rate for all features outside trees");
    visit("child_rate", self.child_rate, between(0, 1), "P(child | parent) for every child");
    visit("magnitude_first", self.magnitude_first, above(0), "mean magnitude of the first feature");
    visit("magnitude_last", self.magnitude_last, above(0), "mean magnitude of the last feature");
    visit("spread_mean", self.spread_mean, at_least(0), "centre of the magnitudes' spread");
    visit("spread_sd", self.spread_sd, at_least(0), "how much the spread varies over features");
    visit("correlation_rank", self.correlation_rank, at_least(0), "rank of the copula; 0: none");
    visit("correlation_scale", self.correlation_scale, at_least(0), "scale of its factors");
    visit("bias_norm", self.bias_norm, at_least(0), "norm of the bias");
    visit("orthogonal_steps", self.orthogonal_steps, at_least(0),
          "Adam steps that spread the dictionary where N > D");
    visit("orthogonal_rate", self.orthogonal_rate, at_least(0), "learning rate of these steps");
  }
};

/// The same options with every field but root_rate, free_rate and child_rate set.
/// Throws ConfigError for what cannot be built.
WorldOptions resolve(const WorldOptions& options);

enum class Rule {
  kNone,     ///< siblings fire independently
  kCompete,  ///< of the siblings proposed, one stays, uniformly at random
  kChoose,   ///< one child or none: child c with probability q_c
};

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

class Sampler;

/// Endless samples of a world: sample i is a pure function of (world, data seed, set, i).
class WorldSource : public ActivationSource {
 public:
  WorldSource(std::shared_ptr<const World> world, std::uint64_t data_seed,
              SampleSet set = SampleSet::kTrain);
  ~WorldSource() override;

  std::int64_t d_in() const override { return world_->d_in(); }
  at::Tensor next(std::int64_t count) override;
  LabelledBatch next_with_truth(std::int64_t count);  ///< the same x
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

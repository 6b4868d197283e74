// What a synthetic world is made of: a preset, and every parameter that can replace one of its own.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sae/config/fields.h"

namespace sae {

/// Which of the siblings fire.
enum class Rule {
  kNone,     ///< siblings fire independently
  kCompete,  ///< of the siblings proposed, one stays, uniformly at random
  kChoose,   ///< one child or none: child c with probability q_c
};
constexpr auto names_of(Rule) { return std::array{"none", "compete", "choose"}; }

const std::vector<std::string>& world_presets();

/// A preset and what to change in it. An unset field keeps the preset's value.
struct WorldOptions {
  std::string preset = "small";
  std::int64_t seed = 42;
  std::optional<std::int64_t> features;   ///< N
  std::optional<std::int64_t> d_in;       ///< D
  std::optional<std::int64_t> roots;      ///< R
  std::optional<std::int64_t> children;   ///< of every parent
  std::optional<std::int64_t> depth;      ///< levels below the roots
  std::optional<Rule> rule;               ///< of siblings
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
    visit("preset", self.preset, one_of(world_presets()),
          "world to start from; the fields below override it");
    visit("seed", self.seed, at_least(0), "seed of the world itself, not of its samples");
    visit("features", self.features, at_least(1), "number of true features N");
    visit("d_in", self.d_in, at_least(1), "dimension of the activations D");
    visit("roots", self.roots, at_least(0), "number of trees");
    visit("children", self.children, at_least(0), "children of every parent");
    visit("depth", self.depth, at_least(0), "levels below the roots");
    visit("rule", self.rule, any,
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

  void check(Findings& findings) const;  ///< of the options as they are resolved
};

/// The same options with every field but root_rate, free_rate and child_rate set.
/// Throws ConfigError for what cannot be built.
WorldOptions resolve(const WorldOptions& options);

}  // namespace sae

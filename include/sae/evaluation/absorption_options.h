// Options of the absorption metric (absorption.h), and what a version of them means.
//
// Symbols of the papers: tau_fs, the F1 a further main latent must add; tau_pa, the share of the
// probe's projection that absorbers must carry; tau_ps, their least cosine; A_max, their number.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "sae/config/fields.h"
#include "sae/metrics/catalogue.h"

namespace sae {

/// Whose formula, thresholds and gates.
enum class AbsorptionVersion { kSaeBench06, kSaeBench032, kPaperTable8 };
constexpr auto names_of(AbsorptionVersion) {
  return std::array{"saebench-0.6", "saebench-0.3.2", "paper-table8"};
}

struct AbsorptionOptions {
  AbsorptionVersion version = AbsorptionVersion::kSaeBench06;
  std::int64_t probe_epochs = 50;
  std::int64_t probe_batch_size = 64;
  double probe_weight_decay = 1e-4;
  std::int64_t l1_epochs = 50;
  std::int64_t l1_batch_size = 4096;
  double l1_weight_decay = 1e-6;
  double l1_decay = 0.01;
  double lr = 1e-2;
  double end_lr = 1e-5;
  std::int64_t max_k_value = 10;
  double tau_fs = 0.03;
  std::optional<double> min_GT_probe_f1;
  std::optional<std::int64_t> min_feats_for_eval;
  double activation_eps = 1e-8;
  double full_cos = 0.025;
  std::optional<double> tau_pa;
  std::optional<double> tau_ps;
  std::optional<std::int64_t> a_max;
  std::int64_t truncate_top = 40;
  double max_l0_share = 0.25;
  double min_main_f1 = kLeastMainF1;
  std::int64_t seed = 0;
  std::int64_t batch = 1024;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("version", self.version, any,
          "whose formula, thresholds and gates; numbers of different versions do not compare");
    visit("probe_epochs", self.probe_epochs, at_least(1), "ground-truth probe: epochs");
    visit("probe_batch_size", self.probe_batch_size, at_least(1),
          "ground-truth probe: words a step");
    visit("probe_weight_decay", self.probe_weight_decay, at_least(0), "ground-truth probe: L2");
    visit("l1_epochs", self.l1_epochs, at_least(1), "L1 probe: epochs");
    visit("l1_batch_size", self.l1_batch_size, at_least(1),
          "L1 probe: words a step; with few words smaller ones train it better");
    visit("l1_weight_decay", self.l1_weight_decay, at_least(0), "L1 probe: L2");
    visit("l1_decay", self.l1_decay, at_least(0), "L1 probe: L1 on the weights");
    visit("lr", self.lr, above(0), "both probes: learning rate of the first epoch");
    visit("end_lr", self.end_lr, above(0), "both probes: where it decays to");
    visit("max_k_value", self.max_k_value, at_least(1), "most main latents of a class");
    visit("tau_fs", self.tau_fs, at_least(0), "F1 that one more main latent must add");
    visit("min_GT_probe_f1", self.min_GT_probe_f1, between(0, 1),
          "classes count above this probe F1; null: the version's (0.6, or none in 0.3.2)");
    visit("min_feats_for_eval", self.min_feats_for_eval, at_least(0),
          "least number of such classes; null: the version's (20, or none in 0.3.2)");
    visit("activation_eps", self.activation_eps, at_least(0),
          "full absorption: a main latent below this is silent");
    visit("full_cos", self.full_cos, between(-1, 1),
          "full absorption: least cosine of the absorbing latent with the probe");
    visit("tau_pa", self.tau_pa, between(0, 1),
          "least share of the probe's projection that absorbers carry; null: the version's");
    visit("tau_ps", self.tau_ps, between(-1, 1),
          "fraction: least cosine of an absorber with the probe; null: the version's");
    visit("a_max", self.a_max, at_least(1),
          "fraction: number of absorbers summed; null: the version's");
    visit("truncate_top", self.truncate_top, at_least(1),
          "truncated scores: contributions kept a word");
    visit("max_l0_share", self.max_l0_share, above(0),
          "an autoencoder with L0 above this share of D is not ranked");
    visit("min_main_f1", self.min_main_f1, between(0, 1),
          "scores given a main latent: means over classes whose main latents have this F1 on the "
          "test words; not SAEBench's");
    visit("seed", self.seed, at_least(0), "both probes: initial weights and order of the words");
    visit("batch", self.batch, at_least(1), "words encoded at a time");
  }

  void check(Findings& findings) const;
};

/// What the options and their version come to.
struct AbsorptionRules {
  bool old_fraction = false;
  double min_probe_f1 = 0.6;  ///< -infinity: no gate
  std::int64_t min_classes = 20;
  double activation_eps = 1e-8;
  double full_cos = 0.025;
  double tau_pa = 0.4;
  double tau_ps = 0.1;
  std::int64_t a_max = 3;
};
AbsorptionRules absorption_rules(const AbsorptionOptions& options);

}  // namespace sae

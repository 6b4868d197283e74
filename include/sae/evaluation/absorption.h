// Feature absorption as SAEBench measures it, on labelled activations.
//
// A word of class c is absorbed when the latents that stand for the class (the main latents) are
// silent and others that happen to point along the class's direction carry it instead. The classes
// of the published metric are first letters (Chanin et al. 2024, "A is for Absorption",
// arXiv 2409.14507; Karvonen et al. 2025, "SAEBench", arXiv 2503.09532); any will do.
//
// N train words, M test words, C classes, f codes [., F], W_dec [F, D]. Steps, as in sae-bench:
//     1. one-vs-rest probes on the activations, z = x W^T + b: the ground truth;
//     2. an L1 probe on the codes; its k largest weights of a class, k = 1, 2, ..., are candidates,
//        refitted by balanced logistic regression on their activations alone;
//     3. main latents: the first k whose F1 on the test words the next k does not raise by tau_fs;
//     4. words scored: test words of the class with z_c > 0, in the prompts of score_x;
//     5. means over words, then over classes whose probe has F1 > min_GT_probe_f1.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "sae/data/labelled.h"
#include "sae/evaluation/absorption_options.h"
#include "sae/evaluation/basis.h"
#include "sae/evaluation/probes.h"
#include "sae/metrics/metric_values.h"
#include "sae/models/autoencoder.h"

namespace sae {

struct WordAbsorption {
  double fraction = 0;
  bool full = false;
};

/// Scores one word. `latents` and `activations` are the entries of its code, `cosines` [F] those of
/// decoder rows with the class's probe, `projection` A = a . p of its activation on the unit probe.
/// With q_j = f_j cos_j, Mn the sum of q over the main latents and S that of the a_max largest
/// positive q of other latents with cos >= tau_ps:
///
///     fraction  0 where Mn >= A or S / A < tau_pa; else 1 where Mn <= 0;
///               else V / (V + Mn), V = min(S, A - Mn)
///     (0.3.2)   0 where Mn >= A or Q <= 0; else clip((Q - Mn) / Q, 0, 1), Q = sum_j q_j
///     full      every main latent below eps, and the latent with the largest q has cos >= full_cos
///               and q >= tau_pa A, A > 0
///
/// sae-bench fails where A is 0: here that scores 0. A latent that is silent absorbs nothing, also
/// where tau_pa = 0 lets sae-bench choose one of the silent ones.
WordAbsorption score_word(double projection, std::span<const std::int64_t> latents,
                          std::span<const float> activations, std::span<const float> cosines,
                          std::span<const std::int64_t> main, const AbsorptionRules& rules);

/// Candidates and main latents of the classes (steps 2 and 3 from given L1 weights).
struct KSparseClass {
  std::vector<std::int64_t> latents;  ///< [max_k], by L1 weight, largest first
  std::vector<double> f1;             ///< [max_k] on the test words
  std::int64_t main = 1;              ///< the first so many of `latents` are the main ones
  double recall = 0;  ///< on the test words, of the main latents at the threshold of best train F1
  bool carried = true;  ///< some main latent fires on more test words of the class than of others
};
std::vector<KSparseClass> select_main_latents(const Codes& train, const at::Tensor& train_y,
                                              const Codes& test, const at::Tensor& test_y,
                                              const at::Tensor& l1_weights /*[C, F]*/,
                                              const AbsorptionOptions& options);

/// A latent that carried a class's direction in words that were scored as absorbed, wholly or in
/// part. It is counted for a word if it is among the largest there that make S, or the latent that
/// makes it full, and q_j >= 0.1 A.
struct Absorber {
  std::int64_t latent = 0;
  std::int64_t words = 0;             ///< in how many words
  double share = 0;                   ///< mean over these of q_j / A, at most 1 in each
  std::vector<std::string> examples;  ///< words with the largest shares, at most 5
};

struct ClassAbsorption {
  std::string name;
  double probe_f1 = 0;
  double probe_recall = 0;
  KSparseClass sparse;
  std::int64_t words = 0;  ///< scored: the probe's true positives
  std::int64_t full_count = 0;
  double full = 0;      ///< full_count / words; NaN without words
  double fraction = 0;  ///< mean over words; NaN without words
  /// The same scores with the loopholes of dense codes closed: the fraction with tau_pa = 0 and all
  /// absorbers counted (0 where none carries anything), and both on the code's `truncate_top`
  /// largest contributions |f_j| |W_dec_j| alone.
  double fraction_open = 0;
  double truncated_fraction = 0;
  double truncated_full = 0;
  std::vector<Absorber> absorbers;  ///< by the sum of their shares, at most 10
  bool kept = false;
};

struct AbsorptionResult {
  std::string task;
  AbsorptionOptions options;
  std::vector<ClassAbsorption> classes;
  SampleCount train_words, test_words;
  bool fresh_prompts = false;  ///< words were scored on score_x, as sae-bench does; else on test_x
  double l0 = 0;               ///< over the test words
  double explained_variance = 0;
  std::int64_t d_sae = 0;
  bool ranked = true;
  std::string unranked;  ///< why it is not: too dense (L0 above max_l0_share of D), degenerate
                         ///< (ranking.h), or most classes without main latents that read them

  /// Means and sample standard deviations over the kept classes under sae-bench's names, and l0,
  /// explained_variance, classes_kept, mean_probe_f1, mean_k1_f1, mean_recall_gap (recall of the
  /// probe less that of the main latents at their best threshold), mean_absorption_fraction_open,
  /// mean_truncated_fraction, mean_truncated_full, ranked (0 or 1). Ours too, and of the kept
  /// classes whose main latents together have an F1 of min_main_f1 on the test words, since a class
  /// without a latent of its own looks absorbed whatever happens: mean_full_absorption_score and
  /// mean_absorption_fraction_score with _given_main (NaN if there is none), classes_with_main.
  MetricValues values() const;
  /// In the layout of sae-bench's result files, with the above beside it.
  nlohmann::ordered_json json() const;
  std::string basis() const;  ///< what the means rest on and what was left out, for people
};

/// Everything about an autoencoder that absorption looks at. Codes are those of rows of norm 1.
struct AbsorptionSubject {
  Codes train, test, score;  ///< [N, F], [M, F], [M, F]
  at::Tensor W_dec;          ///< [F, D]
  double l0 = 0;
  double explained_variance = 0;
  std::string degenerate;  ///< why its scores would rank nothing (ranking.h); empty if they do
  SampleCount train_words, test_words;
};
AbsorptionSubject encode_words(const Autoencoder& sae, const LabelledActivations& data,
                               std::int64_t batch);

/// Step 1. It does not depend on the autoencoder: train it once for all that are compared.
LinearProbe train_ground_truth(const LabelledActivations& data, const AbsorptionOptions& options,
                               std::int64_t seed);

/// The classes with F1 and recall of the probe on the test words; everything else is still empty.
std::vector<ClassAbsorption> read_classes(const LabelledActivations& data,
                                          const LinearProbe& probe);

/// Steps 2 to 5. DataError if fewer than min_feats_for_eval classes pass. Codes that are not finite
/// are not scored: no class is kept then.
AbsorptionResult evaluate_absorption(const AbsorptionSubject& subject,
                                     const LabelledActivations& data, const LinearProbe& probe,
                                     const AbsorptionOptions& options, std::int64_t seed);

/// The gate of step 5: DataError if fewer than min_classes have a probe F1 above min_probe_f1. As
/// in sae-bench that counts classes without scored words, which then take no part in the means.
void check_gate(const std::vector<ClassAbsorption>& classes, const AbsorptionRules& rules,
                const std::string& place);
void keep_classes(std::vector<ClassAbsorption>& classes, const AbsorptionRules& rules);

}  // namespace sae

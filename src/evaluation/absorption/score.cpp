#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "sae/base/text.h"
#include "sae/config/findings.h"
#include "sae/evaluation/absorption.h"

namespace sae {
namespace {

constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();

/// Projections q of a word's active latents on its probe, summed up.
struct Projections {
  double main = 0;       // Mn
  double all = 0;        // Q
  double absorbers = 0;  // S
  bool main_silent = true;
  float top = 0;  // the largest q, if it is positive
  float top_cosine = 0;
};

/// Sums are in float32 and comparisons with tau_ps too, as in sae-bench.
Projections project(std::span<const std::int64_t> latents, std::span<const float> activations,
                    std::span<const float> cosines, std::span<const std::int64_t> main,
                    const AbsorptionRules& rules) {
  Projections sums;
  float main_sum = 0;
  std::vector<float> absorbers;
  const auto least = static_cast<float>(rules.tau_ps);
  for (std::size_t e = 0; e < latents.size(); ++e) {
    const float cosine = cosines[static_cast<std::size_t>(latents[e])];
    const float q = activations[e] * cosine;
    sums.all += q;
    if (q > sums.top) {
      sums.top = q;
      sums.top_cosine = cosine;
    }
    if (std::find(main.begin(), main.end(), latents[e]) != main.end()) {
      main_sum += q;
      sums.main_silent =
          sums.main_silent && static_cast<double>(activations[e]) < rules.activation_eps;
    } else if (q > 0 && cosine >= least) {
      absorbers.push_back(q);
    }
  }
  sums.main = main_sum;
  const auto count = static_cast<std::ptrdiff_t>(
      std::min<std::int64_t>(rules.a_max, static_cast<std::int64_t>(absorbers.size())));
  std::partial_sort(absorbers.begin(), absorbers.begin() + count, absorbers.end(),
                    std::greater<>());
  sums.absorbers = std::accumulate(absorbers.begin(), absorbers.begin() + count, 0.0F);
  return sums;
}

double new_fraction(double projection, const Projections& sums, const AbsorptionRules& rules) {
  if (sums.main >= projection || sums.absorbers / projection < rules.tau_pa) return 0;
  if (sums.main <= 0) return 1;
  const double carried = std::min(sums.absorbers, projection - sums.main);
  return std::clamp(carried / (carried + sums.main), 0.0, 1.0);
}

double old_fraction(double projection, const Projections& sums) {
  if (sums.main >= projection || sums.all <= 0) return 0;
  return std::clamp((sums.all - sums.main) / sums.all, 0.0, 1.0);
}

}  // namespace

void AbsorptionOptions::check(Findings& findings) const {
  if (end_lr > lr) {
    findings.warn(
        "end_lr",
        "got " + shortest(end_lr) + ", above lr " + shortest(lr) + ": the learning rate grows",
        {"lr"});
  }
  if (version == AbsorptionVersion::kSaeBench032 && a_max) {
    findings.unused("a_max", "with version '" + name_of(version) + "'");
  }
}

AbsorptionRules absorption_rules(const AbsorptionOptions& options) {
  AbsorptionRules rules;
  if (options.version == AbsorptionVersion::kSaeBench032) {
    rules.old_fraction = true;
    rules.min_probe_f1 = -std::numeric_limits<double>::infinity();
    rules.min_classes = 0;
  } else if (options.version == AbsorptionVersion::kPaperTable8) {
    rules.tau_pa = 0;
    rules.tau_ps = -1;
    rules.a_max = kAll;
  }
  rules.activation_eps = options.activation_eps;
  rules.full_cos = options.full_cos;
  rules.min_probe_f1 = options.min_GT_probe_f1.value_or(rules.min_probe_f1);
  rules.min_classes = options.min_feats_for_eval.value_or(rules.min_classes);
  rules.tau_pa = options.tau_pa.value_or(rules.tau_pa);
  rules.tau_ps = options.tau_ps.value_or(rules.tau_ps);
  rules.a_max = options.a_max.value_or(rules.a_max);
  return rules;
}

AbsorptionRules open_rules(const AbsorptionRules& rules) {
  AbsorptionRules open = rules;
  open.old_fraction = false;
  open.tau_pa = std::numeric_limits<double>::min();  // more than nothing
  open.a_max = kAll;
  return open;
}

WordAbsorption score_word(double projection, std::span<const std::int64_t> latents,
                          std::span<const float> activations, std::span<const float> cosines,
                          std::span<const std::int64_t> main, const AbsorptionRules& rules) {
  if (projection == 0) return {};
  const Projections sums = project(latents, activations, cosines, main, rules);
  WordAbsorption score;
  score.fraction =
      rules.old_fraction ? old_fraction(projection, sums) : new_fraction(projection, sums, rules);
  const double top = static_cast<double>(sums.top) / projection;
  score.full = sums.main_silent && projection > 0 && sums.top > 0 &&
               static_cast<double>(sums.top_cosine) >= rules.full_cos && top >= rules.tau_pa;
  return score;
}

}  // namespace sae

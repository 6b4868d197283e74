#include "sae/evaluation/ranking.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "sae/base/text.h"
#include "sae/metrics/catalogue.h"
#include "sparse/row_norms.h"

namespace sae {
namespace {

constexpr std::int64_t kRows = 256;  // of dense codes looked at together

/// `missing` where it was not measured.
double value_of(const MetricValues& values, const std::string& name, double missing) {
  const auto found = values.find(name);
  return found == values.end() ? missing : found->second;
}

/// "3 of 40"
std::string part_of(std::int64_t part, std::int64_t all) {
  return std::to_string(part) + " of " + std::to_string(all);
}

std::string why_no_reconstruction(const MetricValues& values) {
  const double variance = value_of(values, metric::kExplainedVariance, 1);
  if (std::isnan(variance)) return "the activations do not vary, so there is nothing to explain";
  if (variance > 0) return "";
  return "explained variance " + fixed(variance, 3) + ": no better than the mean activation";
}

std::string why_silent(const MetricValues& values, std::int64_t d_sae) {
  const double l0 = value_of(values, metric::kL0, 1);
  const double true_l0 = value_of(values, metric::kTrueL0, 1);
  const double never = value_of(values, metric::kNeverFired, 0);
  const auto alive = std::llround((1 - never) * static_cast<double>(d_sae));
  if (alive == 0) return "none of its latents ever fires";
  if (l0 < kLeastL0 * std::min(true_l0, 1.0)) {
    return "L0 " + brief(l0) + ": most activations have no active latent";
  }
  const bool few = never >= kMostNeverFired && l0 >= kDenseRest * static_cast<double>(alive);
  if (alive > 1 && !few) return "";
  return "only " + part_of(alive, d_sae) + " latents ever fire, and these on " +
         fixed(100 * l0 / static_cast<double>(alive), 0) + " % of the activations";
}

std::string why_no_features(const MetricValues& values, std::int64_t d_sae) {
  const double distinct = value_of(values, metric::kUniqueness, 1) * static_cast<double>(d_sae);
  if (d_sae > 1 && distinct < 1.5) return "all of its decoder rows are nearest to one feature";
  const double missing = value_of(values, metric::kAbsorptionMissing, 0);
  const double parents = value_of(values, metric::kAbsorptionParents, 0);
  if (missing <= parents) return "";
  return part_of(std::llround(missing), std::llround(missing + parents)) +
         " parent features have no latent that fires with them";
}

/// Codes without any active latent.
std::int64_t silent_codes(const Codes& codes) {
  if (!codes.is_dense()) {
    const Codes active = codes.to_sparse();  // a stored entry may be zero
    return (active.pattern()->offsets.diff() == 0).sum().item<std::int64_t>();
  }
  std::int64_t silent = 0;
  for (const at::Tensor& rows : codes.values().split(kRows)) {
    silent += (rows != 0).any(1).logical_not().sum().item<std::int64_t>();
  }
  return silent;
}

bool all_alike(const Codes& codes) {
  if (codes.is_dense()) {
    const at::Tensor first = codes.values().slice(0, 0, 1);
    for (const at::Tensor& rows : codes.values().split(kRows)) {
      if (!(rows == first).all().item<bool>()) return false;
    }
    return true;
  }
  const Codes active = codes.to_sparse();
  const at::Tensor sizes = active.pattern()->offsets.diff();
  if (!(sizes == sizes[0]).all().item<bool>()) return false;
  const auto alike = [&](const at::Tensor& entries) {
    if (entries.numel() == 0) return true;
    const at::Tensor rows = entries.view({codes.batch(), -1});
    return (rows == rows.slice(0, 0, 1)).all().item<bool>();
  };
  return alike(active.pattern()->indices) && alike(active.values());
}

}  // namespace

std::string why_degenerate(const MetricValues& values, std::int64_t d_sae) {
  if (!std::isfinite(value_of(values, metric::kMse, 0))) return "its codes are not finite";
  std::string why = why_silent(values, d_sae);
  if (why.empty()) why = why_no_reconstruction(values);
  return why.empty() ? why_no_features(values, d_sae) : why;
}

std::string why_degenerate(const Codes& codes, const std::string& what) {
  if (!codes.values().isfinite().all().item<bool>()) return "its codes are not finite";
  const std::int64_t silent = silent_codes(codes);
  if (static_cast<double>(silent) > kMostSilent * static_cast<double>(codes.batch())) {
    return part_of(silent, codes.batch()) + " " + what + " have no active latent";
  }
  if (codes.batch() > 1 && all_alike(codes)) {
    return "its codes are the same for all " + what;
  }
  return "";
}

std::string why_degenerate(const Codes& codes, const at::Tensor& W_dec) {
  const at::Tensor fires = codes.sum_per_latent((codes.values() != 0).to(at::kFloat)) > 0;
  const at::Tensor rows = unit_rows(W_dec.index_select(0, at::nonzero(fires).squeeze(1)));
  if (rows.size(0) < 2 || rows.mean(0).norm().item<double>() < kOneDirection) return "";
  return "the decoder rows of all latents that fire are one direction";
}

}  // namespace sae

#include "sae/models/aux_k.h"

#include <torch/types.h>

#include <algorithm>

#include "models/over_ranks.h"
#include "sae/config/findings.h"

namespace sae {

void AuxKOptions::check(Findings& findings, std::int64_t d_sae) const {
  if (aux_k && *aux_k > d_sae) {
    findings.at_most("aux_k", static_cast<double>(*aux_k), static_cast<double>(d_sae), "d_sae");
  }
  if (aux_coefficient > 0) return;
  if (aux_k) findings.unused("aux_k", "with aux_coefficient 0");
  if (!aux_normalize) findings.unused("aux_normalize", "with aux_coefficient 0");
}

Losses aux_k_loss(const Autoencoder& sae, const Forward& pass, const AuxKOptions& options) {
  if (options.aux_coefficient == 0 || !sae.may_be_dead()) return {};
  const at::Tensor which = at::nonzero(sae.dead()).squeeze(1);
  const std::int64_t dead = sae.spread().count_latents(which.size(0));
  if (dead == 0) return {};
  const std::int64_t wanted = options.aux_k.value_or(std::max<std::int64_t>(1, sae.d_in() / 2));

  const at::Tensor residual = (pass.x - pass.x_hat).detach();
  at::Tensor f = sae.preactivations_of(pass.x, which).relu();  // [B, n_dead]
  if (dead > wanted) f = f * largest_of_token(sae.spread(), f.detach(), wanted);
  const at::Tensor guess = sae.spread().sum_latents(at::mm(f, sae.W_dec.index_select(0, which)));
  const at::Tensor error = (guess - residual).square().sum();
  if (options.aux_normalize) {
    constexpr double kLeast = 1e-12;
    const BatchTotals batch = sae.totals_of(pass);
    const double part = static_cast<double>(pass.x.size(0)) / static_cast<double>(batch.tokens);
    const at::Tensor varies = batch.residual_sum > kLeast;
    const at::Tensor sum = batch.residual_sum.clamp_min(kLeast) * part;
    return {{"aux_k", options.aux_coefficient * error / sum * varies}};
  }
  const double share = std::min(1.0, static_cast<double>(dead) / static_cast<double>(wanted));
  return {{"aux_k", options.aux_coefficient * share * error / pass.x.size(0)}};
}

bool aux_k_needs_totals(const Autoencoder& sae, const AuxKOptions& options) {
  return options.aux_normalize && options.aux_coefficient != 0 && sae.may_be_dead() &&
         sae.count_dead() > 0;
}

}  // namespace sae

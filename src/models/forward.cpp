#include "sae/models/forward.h"

#include <torch/types.h>

namespace sae {

void BatchTotals::add(const BatchTotals& other) {
  if (tokens == 0) {
    *this = other;
    return;
  }
  // Chan, Golub and LeVeque 1983: no difference of large numbers.
  const double share =
      static_cast<double>(other.tokens) / static_cast<double>(tokens + other.tokens);
  const at::Tensor apart = other.residual_mean - residual_mean;
  residual_sum = residual_sum + other.residual_sum +
                 static_cast<double>(tokens) * share * apart.square().sum();
  residual_mean = residual_mean + share * apart;
  active = active + other.active;
  tokens += other.tokens;
}

BatchTotals batch_totals(const Forward& pass) {
  const at::NoGradGuard no_grad;
  const at::Tensor residual = pass.x - pass.x_hat;
  BatchTotals totals;
  totals.tokens = pass.x.size(0);
  at::Tensor active = pass.latents.values() != 0;
  if (pass.inference.defined()) active = active * pass.latents.per_entry(pass.inference != 0);
  totals.active = active.sum();
  totals.residual_mean = residual.mean(0);
  totals.residual_sum = (residual - totals.residual_mean).square().sum();
  return totals;
}

at::Tensor squared_errors(const Forward& pass) {
  const at::NoGradGuard no_grad;
  return (pass.x_hat - pass.x).square().sum(1);
}

}  // namespace sae

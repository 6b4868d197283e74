// What weights alone show, of an autoencoder that has no record of its training.
#include <torch/types.h>

#include <algorithm>

#include "tools/diagnose/checks.h"

namespace sae::diagnose {

Check check_zero_rows(const Autoencoder& sae, const DiagnoseOptions& limits) {
  const at::NoGradGuard no_grad;
  const at::Tensor reads = (sae.W_enc != 0).any(1);   // [F]
  const at::Tensor writes = (sae.W_dec != 0).any(1);  // [F]
  const auto zero = at::logical_or(reads.logical_not(), writes.logical_not()).sum();
  const double share = zero.item<double>() / static_cast<double>(sae.d_sae());
  Check check{"zero_rows",
              fired_if(share > limits.dead),
              percent(share) +
                  " of the latents read nothing or write nothing: a row of W_enc or "
                  "W_dec is zero",
              {{"zero_rows", share}, {"dead", limits.dead}},
              ""};
  if (check.state == CheckState::kFired) {
    check.change =
        "leave these latents out, or look for the weights that were lost on the way here";
  }
  return check;
}

Check check_twins(const Autoencoder& sae, const DiagnoseOptions& limits) {
  const at::NoGradGuard no_grad;
  constexpr std::int64_t kSample = 1024;  // latents, evenly spaced, against all
  const at::Tensor rows =
      sae.W_dec / sae.W_dec.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12);  // [F, D]
  const std::int64_t stride = std::max<std::int64_t>(1, sae.d_sae() / kSample);
  const at::Tensor sample = at::arange(0, sae.d_sae(), stride, rows.options().dtype(at::kLong));
  at::Tensor cosines = rows.index_select(0, sample).mm(rows.t());  // [S, F]
  cosines.scatter_(1, sample.unsqueeze(1), -1);                    // itself
  const double share =
      (std::get<0>(cosines.max(1)) > limits.twin_cosine).to(at::kDouble).mean().item<double>();
  Check check{"twins",
              fired_if(share > limits.twins),
              percent(share) + " of the latents write what another one writes, up to its size",
              {{"twins", share}, {"limit", limits.twins}, {"twin_cosine", limits.twin_cosine}},
              ""};
  if (check.state == CheckState::kFired) {
    check.change = "use fewer latents than d_sae=" + std::to_string(sae.d_sae()) +
                   ", or revive dead latents elsewhere than where others are";
  }
  return check;
}

}  // namespace sae::diagnose

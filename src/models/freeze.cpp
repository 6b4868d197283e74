#include "sae/models/freeze.h"

#include <torch/types.h>

#include <cmath>

#include "sae/models/autoencoder.h"

namespace sae {

void hold_to_start(const at::Tensor& rows, const at::Tensor& start_in) {
  const at::NoGradGuard no_grad;
  constexpr double kLeast = 1e-12;
  constexpr double kOpposite = 1e-6;  // a sine from which u is no direction
  const double sine_of_limit = std::sqrt(1 - kSoftCosine * kSoftCosine);
  const at::Tensor start = start_in.to(rows.scalar_type());
  const auto column = [](const at::Tensor& t) { return t.unsqueeze(1); };
  const at::Tensor norm = rows.norm(2, /*dim=*/1);  // [n]
  // No matrix product, which may be one of low precision.
  const at::Tensor cosine = ((rows * start).sum(1) / norm.clamp_min(kLeast)).clamp(-1, 1);
  const at::Tensor sine = (1 - cosine.square()).sqrt();
  const at::Tensor held = start.norm(2, /*dim=*/1) > 0;
  const at::Tensor outside = at::logical_and(held, cosine < kSoftCosine);
  const at::Tensor opposite = at::logical_and(outside, sine < kOpposite);
  const at::Tensor turn = sine_of_limit / sine.clamp_min(kOpposite);
  // w <- keep w + add s; exactly 1 and 0 for a row that stays.
  at::Tensor keep = at::where(outside, turn, at::ones_like(turn));
  at::Tensor add = at::where(outside, norm * (kSoftCosine - turn * cosine), at::zeros_like(turn));
  keep = keep.masked_fill(opposite, 0);
  add = at::where(opposite, norm, add);
  rows.mul_(column(keep)).addcmul_(column(add), start);
}

bool Autoencoder::is_frozen(const at::Tensor& parameter) const {
  return (freeze() == Freeze::kDecoder && parameter.is_same(W_dec)) ||
         (freeze() == Freeze::kEncoder && parameter.is_same(W_enc));
}

void Autoencoder::mark_start() {
  if (!decoder_start_.defined()) return;
  const at::NoGradGuard no_grad;
  decoder_start_.copy_(W_dec / W_dec.norm(2, /*dim=*/1, /*keepdim=*/true).clamp_min(1e-12));
}

}  // namespace sae

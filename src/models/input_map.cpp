#include "sae/models/input_map.h"

#include <torch/types.h>

namespace sae {

at::Tensor InputMap::apply(const at::Tensor& x) const {
  const at::Tensor centred = mean.defined() ? x - mean : x;
  return scale == 1 ? centred : centred * scale;
}

at::Tensor InputMap::undo(const at::Tensor& x) const {
  const at::Tensor centred = scale == 1 ? x : x / scale;
  return mean.defined() ? centred + mean : centred;
}

void fold_input(Autoencoder& sae, const InputMap& input) {
  const at::NoGradGuard no_grad;
  if (input.scale != 1) sae.fold_input_scale(input.scale);
  if (input.mean.defined()) sae.b_dec.add_(input.mean.to(sae.b_dec.options()));
}

}  // namespace sae

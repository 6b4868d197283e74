#include "models/interchange/gated.h"

#include <torch/types.h>

#include <string>

namespace sae {

void take_gate(PlainSae& plain, TensorTaker& tensors, const GateNames& names) {
  const std::int64_t d_sae = plain.W_enc.size(0);
  const at::Tensor scale = tensors.take(names.r_mag, {d_sae}).exp();
  plain.b_enc = tensors.take(names.b_mag, {d_sae});
  plain.threshold = (plain.b_enc - scale * tensors.take(names.b_gate, {d_sae})).clamp_min(0);
  plain.W_enc = plain.W_enc * scale.unsqueeze(1);
  plain.activation = Activation::kJumpRelu;
  if (!at::isfinite(plain.threshold).all().item<bool>() ||
      !at::isfinite(plain.W_enc).all().item<bool>()) {
    tensors.fail(std::string("tensor ") + names.r_mag +
                 " is so large that e^x of it is infinite, expected what training gives");
  }
}

}  // namespace sae

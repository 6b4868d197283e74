// The gated encoder, which is a JumpReLU in disguise.
#pragma once

#include "models/interchange/plain_sae.h"
#include "models/interchange/tensor_taker.h"

namespace sae {

/// What a tool calls r_mag, b_gate and b_mag, each [F].
struct GateNames {
  const char* r_mag;
  const char* b_gate;
  const char* b_mag;
};

/// Takes the gate of an encoder whose W_enc is set and shared by both paths (arXiv 2404.16014,
/// section 3.2, weights tied as there). With a the pre-activation without any bias,
///
///     f = relu(e^r_mag a + b_mag) if a + b_gate > 0, else 0
///
/// and as e^r_mag > 0, a > -b_gate says the same as h > b_mag - e^r_mag b_gate of
/// h = e^r_mag a + b_mag. So f = h where h > max(b_mag - e^r_mag b_gate, 0): a JumpReLU, for every
/// input, whose rows of W_enc are multiplied by e^r_mag. Only rounding differs. DataError where
/// e^r_mag is beyond float32.
void take_gate(PlainSae& plain, TensorTaker& tensors, const GateNames& names);

}  // namespace sae

// EncoderWeights: what the encoder computes with.
#pragma once

#include <ATen/core/Tensor.h>

namespace sae {

struct EncoderWeights {
  at::Tensor W_enc;  // [F, D]
  at::Tensor b_enc;  // [F]
  at::Tensor b_dec;  // [D]
};

}  // namespace sae

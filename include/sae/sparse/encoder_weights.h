// EncoderWeights: what the encoder computes with.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

namespace sae {

/// A weight matrix in bfloat16, which GPUs with kernels of ours keep beside it (src/cuda).
class Bf16Copy;

struct EncoderWeights {
  at::Tensor W_enc;                           // [F, D]
  at::Tensor b_enc;                           // [F]
  at::Tensor b_dec;                           // [D]
  std::shared_ptr<Bf16Copy> W_enc_copy = {};  // of W_enc; may be null
};

}  // namespace sae

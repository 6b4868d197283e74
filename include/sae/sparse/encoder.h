// The encoder: pre-activations, computed where an architecture's rule keeps them.
//
//     h = (x - b_dec) W_enc^T + b_enc   [B, F]
//
// This product is the only dense one that a training step cannot do without, and all but a few
// entries of it are thrown away. Where the CPU multiplies bfloat16 natively, and the rule keeps
// little, it is *screened*: computed in bfloat16 with a proven bound on the error, after which only
// the entries that could be kept are computed in float32. What is kept is the same, and so are the
// values, up to the order of float32 summation (src/sparse/screen.h has the proof). So it is on a
// GPU with kernels of ours for the k largest of each token, in float32 (src/cuda/screen.cu).
#pragma once

#include <ATen/core/Tensor.h>

#include <array>

#include "sae/sparse/codes.h"
#include "sae/sparse/encoder_weights.h"
#include "sae/sparse/select.h"

namespace sae {

enum class Screening {
  kAuto,  ///< where it has been measured to be faster, and on GPUs, by arithmetic
  kOn,    ///< on every CPU, also where it only costs time; not with float64 weights
  kOff
};
constexpr auto names_of(Screening) { return std::array{"auto", "on", "off"}; }

/// Whether kAuto screens at all on this machine.
bool screens_by_default();

struct EncodeOptions {
  Storage storage = Storage::kAuto;
  Screening screening = Screening::kAuto;
};

/// The pre-activations that `rule` keeps of x [B, D], differentiable in W_enc, b_enc and b_dec (not
/// in x). Entries of a dense pattern that the rule does not keep are zero, unless the activation
/// cuts them off by itself. The backward pass is exact and, when the pattern is sparse, makes no
/// [B, F] tensor; b_dec costs one matrix-vector product:
///     db_dec = -(sum_b dh_b) W_enc.
Codes encode(const at::Tensor& x, const EncoderWeights& weights, const SelectionRule& rule,
             const EncodeOptions& options);

/// What `encode` returns, for entries of x that were found before: `kept` is sparse, positive and
/// outside the graph. Costs no product.
Codes encode_kept(const at::Tensor& x, const EncoderWeights& weights, const Codes& kept,
                  const EncodeOptions& options);

/// All of h, [B, F], outside the autograd graph.
at::Tensor preactivations(const at::Tensor& x, const EncoderWeights& weights);

/// Numbers that were computed as h at `pattern`, with the gradient that `encode` describes.
Codes pick(const at::Tensor& x, const EncoderWeights& weights, at::Tensor values,
           const c10::intrusive_ptr<Pattern>& pattern);

}  // namespace sae

// Forward: what one training pass computes, and what a part of a batch must know of the whole.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sae/models/step.h"
#include "sae/sparse/codes.h"
#include "sae/sparse/nested_error.h"

namespace sae {

/// Named scalar losses; their sum is minimised, each is logged under its name.
using Losses = std::vector<std::pair<std::string, at::Tensor>>;

/// What losses depend on that are no mean over tokens: JumpReLU's target loss is a square of the
/// batch's L0, AuxK is divided by the variance of the batch's residuals. Constants of a step, found
/// before anything of it has a gradient.
struct BatchTotals {
  std::int64_t tokens = 0;
  at::Tensor active;         // [] int64, entries of f that inference would have
  at::Tensor residual_mean;  // [D] mean_b e_b, with e = x - x_hat
  at::Tensor residual_sum;   // [] sum_b ||e_b - mean_b e||^2

  void add(const BatchTotals& other);  ///< joins other tokens of the same step
};

/// What `Autoencoder::plan` found for one of the parts that a batch is computed in. Of nothing: x
/// is a batch of its own.
struct BatchPart {
  Codes kept;  // pre-activations that the rule keeps; undefined: the rule looks at this part alone
  std::optional<BatchTotals> totals;  // of the whole batch; none: no loss asks for them
};

/// What one training pass computed. Values are differentiable; nothing in the model has changed.
struct Forward {
  at::Tensor x;            // [B, D]
  Codes preactivations;    // h at the selected entries
  Codes latents;           // f, before any mask
  at::Tensor mask;         // [F] of 0 and 1; undefined without a draw of a mask
  at::Tensor inference;    // [F] what f is multiplied with at inference; undefined: 1
  Codes kept;              // f m; the latents themselves without a mask
  Codes kept_for_decoder;  // the same numbers, cut off from penalties: gradient is dL_rec/d(f m)
  std::vector<at::Tensor> reconstructions;  // each [B, D]; the loss averages over them
  std::optional<Nesting> nesting;           // of masks in expectation, which have no draw
  at::Tensor nested_error;                  // [] their error, in place of the reconstructions'
  at::Tensor x_hat;                         // [B, D], of all latents that may fire
  std::optional<BatchTotals> totals;  // of the batch that x is a part of; none: x is all of it
};

BatchTotals batch_totals(const Forward& pass);

/// ||x - x_hat||^2 of each token, [B]; no gradient.
at::Tensor squared_errors(const Forward& pass);

}  // namespace sae

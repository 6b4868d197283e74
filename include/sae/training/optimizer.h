// Adam for autoencoders: a fused update, unit-norm decoder rows, clipping without a host sync.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sae/config/fields.h"
#include "sae/models/autoencoder.h"

namespace sae {

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double clip_norm = 1;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("beta1", self.beta1, unit_interval(), "Adam's decay of the first moment");
    visit("beta2", self.beta2, unit_interval(), "Adam's decay of the second moment");
    visit("epsilon", self.epsilon, above(0), "Adam's epsilon");
    visit("clip_norm", self.clip_norm, at_least(0),
          "largest global norm of the gradient, larger ones are scaled down; 0: off");
  }

  void check(Findings& findings) const;
};

/// Adam (Kingma and Ba 2015) over all parameters of an autoencoder that are not frozen. With
/// unit-norm decoder rows the gradient loses its part parallel to each row before clipping, and
/// rows return to norm 1 after the update (Bricken et al. 2023, "Towards Monosemanticity",
/// appendix); rows that are to stay near their start are turned back to it then (freeze.h).
///
/// State: both moments of every such parameter and the number of updates.
///
/// Over ranks each updates rows of its own latents alone. Along `data`, where all have the gradient
/// of their tokens, the sum of it goes to the rank whose rows they are, which has the moments of
/// these rows and sends back the weights (ZeRO, Rajbhandari et al. 2020, arXiv 1910.02054, stage
/// 1). Every rank updates its copy of b_dec from the same bytes.
class Adam {
 public:
  /// Keeps the autoencoder alive. It must be on its device already.
  Adam(std::shared_ptr<Autoencoder> sae, AdamOptions options);

  /// One update from the parameters' gradients, which are then dropped.
  void step(double learning_rate);

  /// Norm of the last gradient, [], after projection and before clipping.
  const at::Tensor& gradient_norm() const { return gradient_norm_; }

  /// Forgets both moments of the latents `which` [n], which have been given new weights.
  void forget(const at::Tensor& which);

  /// The state, for checkpoints: "W_enc.m", "W_enc.v", ..., "updates". Shares memory.
  std::vector<std::pair<std::string, at::Tensor>> state() const;
  /// [n] i64, the latents that this rank updates, and whose moments it has.
  at::Tensor latents() const;

 private:
  /// A parameter, or the rows of it that this rank updates.
  struct Slot {
    std::string name;
    at::Tensor whole;
    at::Tensor rows;           // of `whole`, sharing its memory
    bool by_latent = true;     // else all ranks have it
    bool unit = false;         // rows are kept at norm 1
    at::Tensor start;          // what `rows` are held to; undefined: nothing
    at::Tensor first, second;  // moments, shaped like `rows`
    at::Tensor updates;        // [] float32, as the fused kernel wants it
    at::Tensor gradient;       // of `rows`, while a step is made
  };

  void take_gradients();
  void share_rows();                          ///< after the update
  void step_by_rows(double learning_rate);    ///< CPU: a sweep for the norm, one for the update
  void step_on_device(double learning_rate);  ///< the same by own CUDA kernels
  void step_fused(double learning_rate);      ///< ATen's fused kernel, on any device
  /// Sums b_dec's gradient and `square`, that of the gradients of rows, over all ranks.
  void complete(at::Tensor& square);

  std::shared_ptr<Autoencoder> sae_;
  AdamOptions options_;
  std::vector<Slot> slots_;
  Rows rows_;  // latents, by their number on this rank, that it updates
  at::Tensor gradient_norm_;
};

}  // namespace sae

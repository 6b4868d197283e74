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

/// Adam (Kingma and Ba 2015) over all parameters of an autoencoder. With unit-norm decoder rows the
/// gradient loses its part parallel to each row before clipping, and rows return to norm 1 after
/// the update (Bricken et al. 2023, "Towards Monosemanticity", appendix).
///
/// State: both moments of every parameter and the number of updates.
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

 private:
  void step_by_rows(double learning_rate);    ///< CPU: a sweep for the norm, one for the update
  void step_on_device(double learning_rate);  ///< the same by own CUDA kernels
  void step_fused(double learning_rate);      ///< ATen's fused kernel, on any device

  std::shared_ptr<Autoencoder> sae_;
  AdamOptions options_;
  std::vector<std::string> names_;
  std::vector<at::Tensor> parameters_, first_, second_;
  std::vector<at::Tensor> updates_;  // one [] float32 each, as the fused kernel wants
  at::Tensor gradient_norm_;
};

}  // namespace sae

// JumpReLU sparse autoencoder: every latent has a threshold of its own, which is trained.
#pragma once

#include <array>
#include <memory>

#include "sae/models/autoencoder.h"
#include "sae/models/sparsity.h"

namespace sae {

enum class SparsityLoss { kL0, kTanh, kTarget };
constexpr auto names_of(SparsityLoss) { return std::array{"l0", "tanh", "target"}; }

/// What is trained: the threshold or its logarithm.
enum class ThresholdAs { kValue, kLog };
constexpr auto names_of(ThresholdAs) { return std::array{"value", "log"}; }

struct JumpReluOptions {
  AutoencoderOptions base;
  SparsityOptions sparsity;
  SparsityLoss sparsity_loss = SparsityLoss::kL0;
  double threshold_init = 0.01;
  ThresholdAs threshold_as = ThresholdAs::kValue;
  double bandwidth = 0.05;
  double tanh_scale = 4;
  double preact_coefficient = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    AutoencoderOptions::fields(self.base, visit);
    SparsityOptions::fields(self.sparsity, visit);
    visit("sparsity_loss", self.sparsity_loss, any,
          "l0: L0; tanh: sum tanh(c f |W|); target: (L0 / target_l0 - 1)^2");
    visit("threshold_init", self.threshold_init, above(0), "initial threshold of every latent");
    visit("threshold_as", self.threshold_as, any,
          "what is trained: the threshold, or its logarithm (which Adam moves much more slowly)");
    visit("bandwidth", self.bandwidth, above(0),
          "width of the rectangle in the straight-through estimator");
    visit("tanh_scale", self.tanh_scale, above(0), "c of the tanh loss");
    visit("preact_coefficient", self.preact_coefficient, at_least(0),
          "weight of relu(threshold - h) |W| over dead latents; 0: off");
  }

  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;
};

/// Rajamanoharan et al. 2024, "Jumping Ahead", arXiv 2407.14435. With H the step function, K(u) = 1
/// for |u| < 1/2 and eps the bandwidth:
///
///     f = h H(h - theta)
///     loss = mean_b ||x - x_hat||^2 + lambda mean_b sum_i H(h_bi - theta_i)
///     df/dh = H(h - theta)    df/dtheta = -(theta / eps) K((h - theta) / eps)
///     dH/dh = 0               dH/dtheta = -(1 / eps)     K((h - theta) / eps)     (eq. 8 to 11)
///
/// `sparsity_loss: tanh` and the pre-activation loss on dead latents are Anthropic's (January 2025
/// update); `target` is the paper's appendix, lambda (L0 / target_l0 - 1)^2. With the other two,
/// `target_l0` steers lambda (sparsity.h); since Adam moves thresholds by at most the learning rate
/// a step, `target`, which pulls from both sides, meets a wanted L0 more closely in short runs.
/// Under a mask, `l0` and `tanh` weigh what is trained, the masked latents, as L1 does; `target`
/// and steering are about the L0 of inference, whatever is masked in training. Thresholds are
/// positive: a trained value below 0 counts as 0. State: the threshold parameter [F].
class JumpRelu : public Autoencoder {
 public:
  static constexpr const char* kArchitecture = "jumprelu";
  using Options = JumpReluOptions;

  explicit JumpRelu(JumpReluOptions options);

  at::Tensor threshold() const;  ///< theta [F] >= 0, differentiable

 protected:
  SelectionRule rule(std::int64_t batch) const override;  ///< keeps the window's entries too
  SelectionRule inference_rule(std::int64_t batch) const override;
  at::Tensor activate(const Codes& preactivations) const override;
  at::Tensor live(const Codes& preactivations) const override;
  Losses penalties(const Forward& pass, Step step) const override;
  bool needs_totals() const override { return options_.sparsity_loss == SparsityLoss::kTarget; }
  void observe_more(const BatchStatistics& batch, Step step) override;
  void fold_more(double scale) override;

 private:
  /// Mean L0 [] with latents weighed by `counted` [F], all by 1 if it is undefined; differentiable
  /// in theta.
  at::Tensor active_per_token(const Forward& pass, const at::Tensor& counted) const;
  at::Tensor target_loss(const Forward& pass) const;  // (L0 / target_l0 - 1)^2 []

  JumpReluOptions options_;
  at::Tensor threshold_parameter_;  // [F]: theta or log theta
  std::shared_ptr<SparsityControl> sparsity_;
};

}  // namespace sae

// Standard sparse autoencoder: ReLU latents under an L1 penalty.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "sae/models/autoencoder.h"
#include "sae/models/sparsity.h"

namespace sae {

struct StandardOptions {
  AutoencoderOptions base;
  SparsityOptions sparsity;
  std::optional<std::int64_t> resample_every;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    AutoencoderOptions::fields(self.base, visit);
    SparsityOptions::fields(self.sparsity, visit);
    visit("resample_every", self.resample_every, at_least(1),
          "steps between resampling of dead latents; null: never");
  }

  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;
};

///     f = relu(h)
///     loss = mean_b ||x - x_hat||^2 + lambda mean_b sum_i f_bi ||W_dec,i||
///
/// The decoder-norm weight is that of Anthropic's April 2024 update, and 1 with unit-norm rows.
/// Resampling (Bricken et al. 2023, "Towards Monosemanticity", appendix): every `resample_every`
/// steps each dead latent takes the direction of a badly reconstructed input, drawn with
/// probability proportional to its squared error, at 0.2 times the mean encoder norm of the living.
class Standard : public Autoencoder {
 public:
  static constexpr const char* kArchitecture = "standard";
  using Options = StandardOptions;

  explicit Standard(StandardOptions options);

  bool resamples(Step step) const override;
  at::Tensor resample(const at::Tensor& x, const at::Tensor& errors, Step step) override;

 protected:
  SelectionRule rule(std::int64_t /*batch*/) const override { return Positive{}; }
  Losses penalties(const Forward& pass, Step step) const override;
  void observe_more(const BatchStatistics& batch, Step step) override;

 private:
  StandardOptions options_;
  std::shared_ptr<SparsityControl> sparsity_;
};

}  // namespace sae

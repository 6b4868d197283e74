// BatchTopK sparse autoencoder: a batch keeps its k * B largest latents, however they fall.
#pragma once

#include <cstdint>

#include "sae/models/autoencoder.h"
#include "sae/models/aux_k.h"

namespace sae {

struct BatchTopKOptions {
  AutoencoderOptions base;
  double k = 32;
  double threshold_decay = 0.99;
  AuxKOptions aux;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    AutoencoderOptions::fields(self.base, visit);
    visit("k", self.k, above(0),
          "latents kept per token, on average over a batch; may be fractional");
    visit("threshold_decay", self.threshold_decay, unit_interval(),
          "EMA decay of the inference threshold, per step");
    AuxKOptions::fields(self.aux, visit);
  }

  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;
};

/// Bussmann et al. 2024, "BatchTopK Sparse Autoencoders", arXiv 2412.06410:
///
///     training   f = the floor(k B) largest positive h of the batch
///     inference  f = h where h > threshold,   threshold = E[smallest f kept in training]
///     loss = mean_b ||x - x_hat||^2 + AuxK (aux_k.h)
///
/// State: the threshold, an exponential moving average that starts at the first step's value.
class BatchTopK : public Autoencoder {
 public:
  static constexpr const char* kArchitecture = "batch_topk";
  using Options = BatchTopKOptions;

  explicit BatchTopK(BatchTopKOptions options);

  const at::Tensor& threshold() const { return threshold_; }  ///< [] float32; < 0: not yet known

 protected:
  SelectionRule rule(std::int64_t batch) const override;
  SelectionRule inference_rule(std::int64_t batch) const override;
  Losses penalties(const Forward& pass, Step step) const override;
  bool needs_totals() const override { return aux_k_needs_totals(*this, options_.aux); }
  void observe_more(const BatchStatistics& batch, Step step) override;
  void fold_more(double scale) override;

 private:
  BatchTopKOptions options_;
  at::Tensor threshold_;
};

}  // namespace sae

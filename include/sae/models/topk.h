// TopK sparse autoencoder: every token keeps its k largest latents.
#pragma once

#include <cstdint>

#include "sae/models/autoencoder.h"
#include "sae/models/aux_k.h"

namespace sae {

struct TopKOptions {
  AutoencoderOptions base;
  std::int64_t k = 32;
  AuxKOptions aux;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    AutoencoderOptions::fields(self.base, visit);
    visit("k", self.k, at_least(1), "latents kept per token");
    AuxKOptions::fields(self.aux, visit);
  }

  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;
};

/// Gao et al. 2024, "Scaling and evaluating sparse autoencoders", arXiv 2406.04093, section 2.3:
///
///     f = relu(TopK(h))
///     loss = mean_b ||x - x_hat||^2 + AuxK (aux_k.h)
///
/// State: none of its own. Inference selects as training does.
class TopK : public Autoencoder {
 public:
  static constexpr const char* kArchitecture = "topk";
  using Options = TopKOptions;

  explicit TopK(TopKOptions options) : Autoencoder(options.base), options_(std::move(options)) {}

 protected:
  SelectionRule rule(std::int64_t /*batch*/) const override { return LargestOfToken{options_.k}; }
  Losses penalties(const Forward& pass, Step) const override {
    return aux_k_loss(*this, pass, options_.aux);
  }
  bool needs_totals() const override { return aux_k_needs_totals(*this, options_.aux); }

 private:
  TopKOptions options_;
};

}  // namespace sae

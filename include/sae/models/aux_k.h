// AuxK: an auxiliary loss that gives dead latents a gradient.
#pragma once

#include <cstdint>
#include <optional>

#include "sae/models/autoencoder.h"

namespace sae {

struct AuxKOptions {
  double aux_coefficient = 1.0 / 32;
  std::optional<std::int64_t> aux_k;
  bool aux_normalize = true;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("aux_coefficient", self.aux_coefficient, at_least(0), "weight of the AuxK loss; 0: off");
    visit("aux_k", self.aux_k, at_least(1), "dead latents per token; null: d_in / 2");
    visit("aux_normalize", self.aux_normalize, any,
          "divide by the residual's variance (Gao et al.), for inputs of norm about 1; false: by "
          "nothing (SAELens), for inputs of any size");
  }

  void check(Findings& findings, std::int64_t d_sae) const;
};

/// AuxK (Gao et al. 2024, arXiv 2406.04093, section 2.4 and appendix A.2). With the residual
/// e = x - x_hat (a constant) and e_hat the reconstruction of e from the aux_k largest positive
/// pre-activations among dead latents, without bias:
///
///     normalised    coefficient * sum ||e - e_hat||^2 / sum ||e - mean_b e||^2
///     otherwise     coefficient * min(n_dead / aux_k, 1) * mean_b ||e - e_hat||^2
///
/// Gao et al. divide the error itself by its variance too; here it is not, so that the weight of
/// the normalised form against the error falls with the square of the inputs' size: on inputs of
/// mean squared norm D it is next to nothing, and since Adam still remembers the gradients of a
/// latent's life, dead latents stay where they are. The other form keeps its weight at every size.
/// On activations of a language model (Gemma 3 270M, block 5, centred, sqrt_d, F 2048, k 16, 250
/// thousand tokens) 28 % of the latents were silent on held-out text with the one, 4 % with the
/// other.
///
/// The gradient reaches encoder and decoder of the dead latents. Only their columns are computed.
/// Empty if nothing is dead; 0 where the residuals do not vary, as those of a batch of one token.
Losses aux_k_loss(const Autoencoder& sae, const Forward& pass, const AuxKOptions& options);

/// Whether it is to be divided by something that only the whole batch knows.
bool aux_k_needs_totals(const Autoencoder& sae, const AuxKOptions& options);

}  // namespace sae

// Matryoshka sparse autoencoder: nested prefixes of the dictionary reconstruct on their own.
#pragma once

#include <cstdint>
#include <vector>

#include "sae/models/batch_topk.h"

namespace sae {

struct MatryoshkaOptions {
  BatchTopKOptions batch_topk;
  std::vector<std::int64_t> widths;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    BatchTopKOptions::fields(self.batch_topk, visit);
    visit("widths", self.widths, at_least(1),
          "prefix sizes, ascending, the last d_sae; []: d_sae / 32, / 8, / 2 and d_sae");
  }

  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;
};

/// The prefix sizes that the option `widths` means; ConfigError for any others than it describes.
std::vector<std::int64_t> matryoshka_widths(std::vector<std::int64_t> widths, std::int64_t d_sae);

/// Bussmann et al. 2025, "Learning Multi-Level Features with Matryoshka Sparse Autoencoders",
/// arXiv 2503.17547, on BatchTopK: one selection for the whole dictionary; the prefix of width w
/// reconstructs from its share of the selected latents.
///
///     loss = mean_w mean_b ||x - (f_{:w} W_dec_{:w} + b_dec)||^2 + AuxK on the full residual
///
/// The mean over widths (published: the sum) only changes the loss's scale.
class Matryoshka : public BatchTopK {
 public:
  static constexpr const char* kArchitecture = "matryoshka";
  using Options = MatryoshkaOptions;

  explicit Matryoshka(MatryoshkaOptions options);

  const std::vector<std::int64_t>& widths() const { return widths_; }

 protected:
  std::vector<std::int64_t> prefixes() const override { return widths_; }

 private:
  std::vector<std::int64_t> widths_;
};

}  // namespace sae

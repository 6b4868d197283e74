// ATM sparse autoencoder: the standard one with an adaptive temporal mask (arXiv 2510.08855).
#pragma once

#include "sae/models/standard.h"

namespace sae {

/// StandardOptions whose mask is on by default.
struct AtmOptions {
  StandardOptions standard;

  AtmOptions() { standard.base.mask.emplace(); }

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    StandardOptions::fields(self.standard, visit);
  }

  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;
};

///     f = relu(h),  m = mask of this step (atm_mask.h),  x_hat = (f m) W_dec + b_dec
///     loss = mean_b ||x - x_hat||^2 + lambda mean_b sum_i f_bi m_i ||W_dec,i||
///
/// What is the paper's and what is ours is marked in atm_mask.h; the decoder-norm weight is ours,
/// and 1 with unit-norm rows.
class Atm : public Standard {
 public:
  static constexpr const char* kArchitecture = "atm";
  using Options = AtmOptions;

  explicit Atm(AtmOptions options);
};

}  // namespace sae

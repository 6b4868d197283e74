// Codes: a batch of latent activations.
//
// Of a batch's B x F latent activations about 99.8 % are zero, and for every architecture the
// gradient is zero wherever the activation is. So only the encoder's forward product is dense; the
// decoder, both weight gradients and the code gradient touch nothing but the selected entries.
//
// Notation, used in every header: B tokens in a batch, D = d_in, F = d_sae, K = k.
//     W_enc [F, D]  b_enc [F]  W_dec [F, D]  b_dec [D]      one latent is one row
//     h = (x - b_dec) W_enc^T + b_enc   [B, F]   pre-activations
//     f                                 [B, F]   latent activations
//     x_hat = f W_dec + b_dec           [B, D]
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "sae/sparse/pattern.h"
#include "sae/sparse/sparse_rows.h"

namespace sae {

/// Latent activations (or any other value per entry) of a batch. A cheap handle, like a tensor.
class Codes {
 public:
  Codes() = default;
  /// `values` is [nnz] for a sparse pattern, [B, F] for a dense one.
  Codes(c10::intrusive_ptr<Pattern> pattern, at::Tensor values);
  static Codes from_dense(at::Tensor values);  ///< [B, F], kept dense

  bool defined() const { return values_.defined(); }
  bool is_dense() const { return pattern_->is_dense; }
  std::int64_t batch() const { return pattern_->batch; }
  std::int64_t d_sae() const { return pattern_->d_sae; }
  const at::Tensor& values() const { return values_; }
  const c10::intrusive_ptr<Pattern>& pattern() const { return pattern_; }

  Codes with_values(at::Tensor values) const;  ///< same pattern, other values
  at::Tensor to_dense() const;                 ///< [B, F], differentiable
  Codes to_sparse() const;                     ///< entries that are not zero; no gradient
  /// The entries where `keep` (bool, shaped like values) holds, sparse; differentiable.
  Codes where(const at::Tensor& keep) const;

  /// One number per latent, `v [F]`, brought to each entry: [nnz], or [1, F] when dense, so that it
  /// combines with `values` elementwise. Differentiable in v.
  at::Tensor per_entry(const at::Tensor& v) const;

  /// Sum over tokens of `entries` (shaped like values): [F]. No gradient.
  at::Tensor sum_per_latent(const at::Tensor& entries) const;

 private:
  c10::intrusive_ptr<Pattern> pattern_;
  at::Tensor values_;
};

/// A sparse copy on the CPU whose arrays are contiguous float32 and int64, for `view_of`.
Codes to_cpu(const Codes& codes);

/// Plain arrays of codes that `to_cpu` made, which must outlive the view.
SparseView view_of(const Codes& codes);

/// Samples `rows` [n] i64 of x, on the CPU.
Codes rows_of(const Codes& x, const at::Tensor& rows);

/// Codes of the same latents one after the other. `parts` are sparse and not empty.
Codes joined(const std::vector<Codes>& parts);

/// The values of the latents `which` [k] in every code, [N, k].
at::Tensor columns(const Codes& codes, const std::vector<std::int64_t>& which);

/// Mean number of nonzero entries.
double mean_l0(const Codes& codes);

}  // namespace sae

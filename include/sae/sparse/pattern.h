// Pattern: which entries of a batch's latent activations are stored.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstdint>

namespace sae {

/// Which entries of a [B, F] matrix are stored. Either all of them (`dense`), or a list in token
/// order, within a token by ascending latent: the layout of at::_embedding_bag.
///
/// A list may be `padded`: where a GPU keeps the k largest, it makes room for k, whether or not so
/// many are positive, for to count them the host would have to wait. Entries beyond are zero, at
/// latents that are not kept otherwise, and get no gradient.
class Pattern : public torch::CustomClassHolder {
 public:
  static c10::intrusive_ptr<Pattern> dense(std::int64_t batch, std::int64_t d_sae);
  static c10::intrusive_ptr<Pattern> sparse(at::Tensor indices, at::Tensor offsets,
                                            std::int64_t d_sae, bool padded = false);

  Pattern(bool is_dense, std::int64_t batch, std::int64_t d_sae, at::Tensor indices,
          at::Tensor offsets, bool padded);

  /// The same entries ordered by latent: found once, used by both weight gradients.
  struct ByLatent {
    at::Tensor entries;  // [nnz] i64, positions in `indices`, latent by latent, tokens ascending
    at::Tensor tokens;   // [nnz] i64, the token of each of `entries`
    at::Tensor offsets;  // [F + 1] i64
  };
  const ByLatent& by_latent() const;
  const at::Tensor& tokens() const;  ///< [nnz] i64, the token of each entry

  const bool is_dense;
  const bool is_padded;
  const std::int64_t batch;  // B
  const std::int64_t d_sae;  // F
  const at::Tensor indices;  // [nnz] i64, latent of each entry; undefined when dense
  const at::Tensor offsets;  // [B + 1] i64; undefined when dense

 private:
  mutable at::Tensor tokens_;
  mutable ByLatent by_latent_;
};

}  // namespace sae

// Spread: which latents of an autoencoder, and which tokens of a batch, this process has.
//
// A rank owns rows of W_enc, b_enc and W_dec with all that belongs to them (moments, statistics,
// thresholds), the same ones as its neighbours along `data`; these never travel along `latents`.
// Everything that depends on all latents or on all tokens is one of the functions here. In one
// process they return what they were given: no call, and the bytes of a program without ranks.
//
// Rules that keep ranks together: no call in a backward pass, none behind a condition that another
// rank may see otherwise, and what all ranks have a copy of (b_dec, scalars) is computed from bytes
// that a call delivered.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "sae/distributed/group.h"
#include "sae/distributed/rows.h"

namespace sae {

/// Where an autoencoder is, before its size is known.
struct Placement {
  Mesh mesh;  ///< of one: all in this process
  /// Ascending widths at which the dictionary is cut before each segment is dealt out, so that a
  /// prefix that is more active than the rest lies on all ranks; none: one segment.
  std::vector<std::int64_t> cuts;
};

class Spread {
 public:
  /// F = `d_sae` latents in all. ConfigError for fewer latents than ranks.
  Spread(Placement placement, std::int64_t d_sae);

  const Mesh& mesh() const { return placement_.mesh; }
  bool is_one() const { return mesh().world.is_one(); }
  bool splits_latents() const { return !mesh().latents.is_one(); }
  bool splits_tokens() const { return !mesh().data.is_one(); }

  std::int64_t d_sae() const { return d_sae_; }                ///< F
  std::int64_t own() const { return own_; }                    ///< F_r, latents of this rank
  const std::vector<Rows>& ranges() const { return ranges_; }  ///< which, ascending
  const at::Tensor& ids() const { return ids_; }               ///< [F_r] i64, the same one by one

  /// How many of the own latents lie below each of `widths`.
  std::vector<std::int64_t> own_below(const std::vector<std::int64_t>& widths) const;

  // Over latents.

  /// The sum of what each rank's latents make, for instance of x_hat; differentiable: the gradient
  /// of the sum is that of every part.
  at::Tensor sum_latents(const at::Tensor& part) const;
  std::int64_t count_latents(std::int64_t own) const;
  std::int64_t most_of_latents(std::int64_t own) const;
  at::Tensor all_latents(const at::Tensor& own) const;  ///< [F_r, ...] -> [F, ...]
  at::Tensor own_latents(const at::Tensor& all) const;  ///< and back

  // Over tokens.

  struct Tokens {
    std::int64_t before;  ///< of the batch, on the ranks before this one
    std::int64_t all;     ///< B
  };
  Tokens tokens(std::int64_t own) const;
  /// Sums without a graph, in place of the tensors; one call.
  void sum_tokens(const std::vector<at::Tensor*>& parts) const;
  at::Tensor all_tokens(const at::Tensor& own) const;  ///< [B_d, ...] -> [B, ...]

  // Over all of it.

  at::Tensor least(const at::Tensor& own) const;  ///< elementwise

 private:
  Placement placement_;
  std::int64_t d_sae_ = 0;
  std::int64_t own_ = 0;
  std::vector<Rows> ranges_;
  at::Tensor ids_;
  std::int64_t most_ = 0;  // latents of a rank
  at::Tensor places_;      // [F] i64, where a gather of all ranks, each padded to `most_`, has them
};

}  // namespace sae

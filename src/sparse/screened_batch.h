// One batch under the screen: its bfloat16 product, the bounds on its error, and exact values.
// The mathematics is in screen.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/screen.h"
#include "sae/sparse/encoder_weights.h"

namespace sae::screen {

/// A pre-activation: exact, or only known to lie around its middle p + b.
struct Entry {
  std::int64_t latent;
  float value;      // the exact one; until then the middle
  float upper = 0;  // upper end of its interval
  bool exact = false;
};
using Entries = std::vector<Entry>;

/// A batch and the encoder, rounded to bfloat16, with the norms that bounds are made of. The
/// product exists for a block of tokens at a time.
class ScreenedBatch {
 public:
  /// x [B, D] with b_dec subtracted. `native`: multiply bfloat16 numbers; else the same numbers as
  /// float32.
  ScreenedBatch(const at::Tensor& x, const EncoderWeights& weights, bool native);

  std::int64_t tokens() const { return x_.size(0); }
  std::int64_t d_sae() const { return d_sae_; }
  float norm(std::int64_t token) const { return x_norms_[token]; }

  /// Multiplies the tokens [begin, end), which `candidates` then knows.
  void multiply(std::int64_t begin, std::int64_t end);

  /// The entries of a token whose upper end reaches `limit` (a number, or one per latent) and
  /// perhaps a few more, by ascending latent. None is exact.
  template <class Limit>
  Entries candidates(std::int64_t token, Limit limit) const {
    return native_ ? collect(bf16_data_ + (token - begin_) * d_sae_, token, limit)
                   : collect(float_data_ + (token - begin_) * d_sae_, token, limit);
  }

  /// Makes those entries of a token exact that `wanted(entry)` picks and that are not yet.
  template <class Wanted>
  void make_exact(std::int64_t token, Entry* begin, Entry* end, const Wanted& wanted) const {
    std::vector<std::int64_t> which;
    for (const Entry* entry = begin; entry != end; ++entry) {
      if (!entry->exact && wanted(*entry)) which.push_back(entry->latent);
    }
    const std::vector<float> values = exact(token, which);
    std::size_t next = 0;
    for (Entry* entry = begin; next < which.size(); ++entry) {
      if (entry->latent != which[next]) continue;
      entry->value = values[next++];
      entry->exact = true;
    }
  }

 private:
  struct Rounded {
    at::Tensor rows;      // bfloat16
    at::Tensor norm;      // [rows]
    at::Tensor residual;  // [rows], norm of what rounding left over
  };
  static Rounded round(const at::Tensor& rows);

  Bound bound(std::int64_t token) const;
  std::vector<float> exact(std::int64_t token, const std::vector<std::int64_t>& which) const;

  template <class P, class Limit>
  Entries collect(const P* row, std::int64_t token, Limit limit) const {
    thread_local std::vector<std::int64_t> which;
    which.resize(static_cast<std::size_t>(d_sae_));
    const Bound of_token = bound(token);
    which.resize(static_cast<std::size_t>(
        screen::candidates(d_sae_, row, latents_, of_token, limit, which.data())));
    Entries entries;
    entries.reserve(which.size());
    for (const std::int64_t latent : which) {
      const Interval ends = interval(row, latent, latents_, of_token);
      entries.push_back({latent, ends.middle, ends.upper});
    }
    return entries;
  }

  bool native_;
  std::int64_t width_, d_sae_;
  at::Tensor x_, W_enc_, b_enc_, bias_above_;
  Rounded x_rounded_, W_rounded_;
  at::Tensor p_;  // [tokens of the block, F], of tokens begin_ and following
  std::int64_t begin_ = 0;
  // The data of the tensors above.
  const float* x_data_;
  const float* W_data_;
  const float* x_norms_;
  const float* x_residuals_;
  const Bf16* bf16_data_ = nullptr;
  const float* float_data_ = nullptr;
  Latents latents_;
};

}  // namespace sae::screen

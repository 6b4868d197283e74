#include "sparse/screened_batch.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <utility>

#include "base/reused.h"
#include "base/stages.h"
#include "kernels/rows.h"

namespace sae::screen {
namespace {

/// Covers the rounding of the sums with the bias, and of the bounds' own arithmetic.
constexpr float kOfBias = 0x1p-20F;
/// Of |p|: the rounding of p itself if it is stored as bfloat16, and of the sums with it.
constexpr float kOfBf16 = 0x1.02p-8F;
constexpr float kOfFloat = 0x1p-20F;

}  // namespace

ScreenedBatch::ScreenedBatch(const at::Tensor& x, const EncoderWeights& weights, bool native)
    : native_(native),
      width_(x.size(1)),
      d_sae_(weights.W_enc.size(0)),
      x_(x.contiguous()),
      W_enc_(weights.W_enc.detach()),
      b_enc_(weights.b_enc.detach().contiguous()) {
  const StageScope stage(Stage::kEncode);
  x_rounded_ = round(x_);
  W_rounded_ = round(W_enc_);
  bias_above_ = b_enc_ + (kOfBias * b_enc_.abs() + 2 * kTiny);
  // 0 / 0 for a row of zeros, of which nothing is left over either.
  const at::Tensor ratio = (W_rounded_.residual / W_rounded_.norm).nan_to_num(0).max();
  x_data_ = x_.const_data_ptr<float>();
  W_data_ = W_enc_.const_data_ptr<float>();
  x_norms_ = x_rounded_.norm.const_data_ptr<float>();
  x_residuals_ = x_rounded_.residual.const_data_ptr<float>();
  latents_ = {.bias = b_enc_.const_data_ptr<float>(),
              .norm = W_rounded_.norm.const_data_ptr<float>(),
              .residual = W_rounded_.residual.const_data_ptr<float>(),
              .bias_above = bias_above_.const_data_ptr<float>(),
              .largest_ratio = ratio.item<float>() * (1 + 0x1p-20F)};
  if (native_) return;
  x_rounded_.rows = x_rounded_.rows.to(at::kFloat);
  W_rounded_.rows = W_rounded_.rows.to(at::kFloat);
}

ScreenedBatch::Rounded ScreenedBatch::round(const at::Tensor& rows) {
  const std::int64_t count = rows.size(0);
  const std::int64_t width = rows.size(1);
  Rounded out{.rows = reused({count, width}, rows.options().dtype(at::kBFloat16)),
              .norm = at::empty({count}, rows.options()),
              .residual = at::empty({count}, rows.options())};
  const auto* from = rows.const_data_ptr<float>();
  auto* to = reinterpret_cast<Bf16*>(out.rows.mutable_data_ptr<at::BFloat16>());
  auto* norms = out.norm.mutable_data_ptr<float>();
  auto* residuals = out.residual.mutable_data_ptr<float>();
  at::parallel_for(0, count, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const Norms both = round_row(width, from + i * width, to + i * width);
      norms[i] = both.whole;
      residuals[i] = both.residual;
    }
  });
  return out;
}

void ScreenedBatch::multiply(std::int64_t begin, std::int64_t end) {
  const StageScope stage(Stage::kEncode);
  begin_ = begin;
  p_ = at::Tensor();  // its memory is wanted again
  p_ = reused({end - begin, d_sae_}, x_rounded_.rows.options());
  at::mm_out(p_, x_rounded_.rows.slice(0, begin, end), W_rounded_.rows.t());
  if (native_) {
    bf16_data_ = reinterpret_cast<const Bf16*>(p_.const_data_ptr<at::BFloat16>());
  } else {
    float_data_ = p_.const_data_ptr<float>();
  }
}

Bound ScreenedBatch::bound(std::int64_t token) const {
  constexpr double kUnitRoundoff = 0x1p-24;
  constexpr double kSlack = 1 + 1e-5;  // for rounding these numbers to float32
  const double n = static_cast<double>(width_) + 16;
  const double g = n * kUnitRoundoff / (1 - n * kUnitRoundoff);
  const double whole = x_norms_[token];
  const double residual = x_residuals_[token];
  const double rounded = whole + residual;    // >= |x^|
  const double sums = g * (whole + rounded);  // both products' rounding, per |w| + |w'|
  return {.whole = static_cast<float>((residual + sums) * kSlack),
          .rounded = static_cast<float>((rounded + sums) * kSlack),
          .of_p = native_ ? kOfBf16 : kOfFloat,
          .of_bias = kOfBias};
}

std::vector<float> ScreenedBatch::exact(std::int64_t token,
                                        const std::vector<std::int64_t>& which) const {
  std::vector<float> values(which.size());
  rows::dots(width_, x_data_ + token * width_, static_cast<std::int64_t>(which.size()),
             which.data(), W_data_, values.data());
  for (std::size_t e = 0; e < which.size(); ++e) values[e] += latents_.bias[which[e]];
  return values;
}

}  // namespace sae::screen

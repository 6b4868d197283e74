#include "models/batch_statistics.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "cuda/launch.h"
#include "cuda/products.h"
#include "kernels/rows.h"

namespace sae {
namespace {

/// The slope of the loss in `kept_for_decoder`, undefined if nothing flowed back.
at::Tensor slope_of(const Codes& kept_for_decoder) {
  return kept_for_decoder.values().requires_grad() ? kept_for_decoder.values().grad()
                                                   : at::Tensor();
}

/// On a GPU with kernels of ours: all sums over the entries of a latent at once.
void add_latent_sums(const Pattern& pattern, const at::Tensor& f, const at::Tensor& slope,
                     bool with_mask, BatchStatistics& batch) {
  const Pattern::ByLatent& by_latent = pattern.by_latent();
  cuda::LatentSums sums =
      cuda::latent_sums(f.contiguous(), slope.defined() ? slope.contiguous() : slope,
                        {by_latent.entries, by_latent.tokens, by_latent.offsets});
  batch.fired = std::move(sums.fired);
  if (!with_mask) return;
  batch.magnitude = std::move(sums.magnitude);
  batch.contribution = std::move(sums.contribution);
}

/// `contribution` is not yet scaled.
BatchStatistics plain_statistics(const Codes& latents, const Codes& kept_for_decoder,
                                 bool with_mask) {
  const at::Tensor f = latents.values().detach();
  BatchStatistics batch;
  const at::Tensor infinity = at::full({}, INFINITY, f.options());
  batch.min_positive =
      f.numel() > 0 ? at::where(f > 0, f, infinity).amin().to(at::kFloat) : infinity.to(at::kFloat);
  if (!latents.is_dense() && cuda::has_kernels(f)) {
    add_latent_sums(*latents.pattern(), f, with_mask ? slope_of(kept_for_decoder) : at::Tensor(),
                    with_mask, batch);
    return batch;
  }
  batch.fired = latents.sum_per_latent((f > 0).to(at::kFloat));
  if (!with_mask) return batch;
  batch.magnitude = latents.sum_per_latent(f);
  const at::Tensor slope = slope_of(kept_for_decoder);
  if (slope.defined()) {
    batch.contribution = latents.sum_per_latent((slope * f).abs_());
  }
  return batch;
}

/// The same for dense float32 codes on the CPU, in one sweep over them instead of six.
BatchStatistics swept_statistics(const Codes& latents, const Codes& kept_for_decoder,
                                 bool with_mask) {
  const at::Tensor slope = with_mask ? slope_of(kept_for_decoder) : at::Tensor();
  const DenseStatistics swept = dense_statistics(latents.values().detach().contiguous(),
                                                 slope.defined() ? slope.contiguous() : slope);
  BatchStatistics batch;
  batch.fired = swept.fired;
  batch.min_positive = swept.min_positive;
  if (!with_mask) return batch;
  batch.magnitude = swept.magnitude;
  batch.contribution = swept.contribution;
  return batch;
}

}  // namespace

at::Tensor BatchStatistics::l0() const { return fired.sum() / tokens; }

void BatchStatistics::add(const BatchStatistics& other) {
  if (tokens == 0) {
    *this = other;
    return;
  }
  min_positive = at::minimum(min_positive, other.min_positive);
  tokens += other.tokens;
  fired = fired + other.fired;
  if (magnitude.defined()) magnitude = magnitude + other.magnitude;
  if (contribution.defined()) contribution = contribution + other.contribution;
}

DenseStatistics dense_statistics(const at::Tensor& f, const at::Tensor& slope) {
  const std::int64_t batch = f.size(0);
  const std::int64_t d_sae = f.size(1);
  DenseStatistics out{
      .fired = at::zeros({d_sae}, f.options()),
      .min_positive = {},
      .magnitude = at::zeros({d_sae}, f.options()),
      .contribution = slope.defined() ? at::zeros({d_sae}, f.options()) : at::Tensor()};
  at::Tensor least = at::full({d_sae}, INFINITY, f.options());
  const auto* value = f.const_data_ptr<float>();
  const auto* gradient = slope.defined() ? slope.const_data_ptr<float>() : nullptr;
  auto* fired = out.fired.mutable_data_ptr<float>();
  auto* magnitude = out.magnitude.mutable_data_ptr<float>();
  auto* smallest = least.mutable_data_ptr<float>();
  auto* contribution = slope.defined() ? out.contribution.mutable_data_ptr<float>() : nullptr;
  constexpr std::int64_t kBlock = 1024;  // latents whose sums stay in the cache
  at::parallel_for(0, (d_sae + kBlock - 1) / kBlock, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t block = first; block < last; ++block) {
      const std::int64_t j = block * kBlock;
      const std::int64_t n = std::min(kBlock, d_sae - j);
      for (std::int64_t b = 0; b < batch; ++b) {
        rows::add_statistics(n, value + b * d_sae + j, fired + j, magnitude + j, smallest + j);
        if (!gradient) continue;
        rows::add_products(n, value + b * d_sae + j, gradient + b * d_sae + j, contribution + j);
      }
    }
  });
  out.min_positive = least.min();
  return out;
}

BatchStatistics batch_statistics(const Codes& latents, const Codes& kept_for_decoder,
                                 bool with_mask, double loss_scale) {
  const at::NoGradGuard no_grad;
  const at::Tensor& f = latents.values();
  const bool sweep = latents.is_dense() && f.is_cpu() && f.scalar_type() == at::kFloat;
  BatchStatistics batch = sweep ? swept_statistics(latents, kept_for_decoder, with_mask)
                                : plain_statistics(latents, kept_for_decoder, with_mask);
  batch.tokens = latents.batch();
  if (!with_mask) return batch;
  if (batch.contribution.defined()) {
    batch.contribution.mul_(static_cast<double>(batch.tokens) / loss_scale);
  } else {
    batch.contribution = at::zeros_like(batch.magnitude);
  }
  return batch;
}

}  // namespace sae

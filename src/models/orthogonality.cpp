#include "sae/models/orthogonality.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "sae/base/rng.h"

namespace sae {
namespace {

constexpr double kLeastNorms = 1e-8;  // delta

/// The latents 0 to F - 1 in the order in which a step deals them, [F] i64.
at::Tensor dealt_latents(std::int64_t d_sae, Step step) {
  at::Tensor order = at::arange(d_sae, at::kLong);
  auto* latent = order.mutable_data_ptr<std::int64_t>();
  Rng rng(step.seed, Stream::kChunks, static_cast<std::uint64_t>(step.index));
  for (std::int64_t i = d_sae - 1; i > 0; --i) {
    std::swap(latent[i], latent[rng.below(static_cast<std::uint64_t>(i) + 1)]);
  }
  return order;
}

/// Which row of `unit` [n, D], of rows of norm 1, is nearest to each but itself, [n] i64; a part of
/// the n x n cosines at a time.
at::Tensor nearest_rows(const at::Tensor& unit) {
  constexpr std::int64_t kAtATime = 1024;
  std::vector<at::Tensor> found;
  for (std::int64_t begin = 0; begin < unit.size(0); begin += kAtATime) {
    const std::int64_t end = std::min(begin + kAtATime, unit.size(0));
    at::Tensor cosines = at::mm(unit.slice(0, begin, end), unit.t());
    cosines.diagonal(begin).fill_(-INFINITY);
    found.push_back(cosines.argmax(1));
  }
  return at::cat(found);
}

/// A chunk's cosines of each latent with its nearest, squared: their mean.
at::Tensor mean_square_of(const at::Tensor& W_dec, const at::Tensor& unit,
                          const at::Tensor& latents) {
  const at::Tensor nearest = latents.index_select(0, nearest_rows(unit.index_select(0, latents)));
  // By index, whose gradient sums what latents share in a fixed order on a GPU too.
  const at::Tensor one = W_dec.index({latents}), other = W_dec.index({nearest});
  const at::Tensor norms = one.norm(2, /*dim=*/1) * other.norm(2, /*dim=*/1);
  return ((one * other).sum(1) / norms.clamp_min(kLeastNorms)).square().mean();
}

}  // namespace

void OrthogonalityOptions::check(Findings& findings, const RunLength& run) const {
  if (every <= run.steps) return;
  findings.warn("every", "got " + std::to_string(every) + ", the run has " +
                             std::to_string(run.steps) + " steps: there is never a penalty");
}

at::Tensor orthogonality_penalty(const at::Tensor& W_dec, const OrthogonalityOptions& options,
                                 Step step) {
  const std::int64_t d_sae = W_dec.size(0);
  const std::int64_t chunks = (d_sae + options.chunk - 1) / options.chunk;
  at::Tensor unit;
  {
    const at::NoGradGuard no_grad;
    unit = W_dec / W_dec.norm(2, /*dim=*/1, /*keepdim=*/true).clamp_min(kLeastNorms);
  }
  at::Tensor sum = at::zeros({}, W_dec.options().requires_grad(false));
  for (const at::Tensor& latents : at::tensor_split(dealt_latents(d_sae, step), chunks)) {
    if (latents.size(0) < 2) continue;  // has no other
    sum = sum + mean_square_of(W_dec, unit, latents.to(W_dec.device()));
  }
  return sum / chunks;
}

}  // namespace sae

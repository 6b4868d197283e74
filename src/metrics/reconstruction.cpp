#include "sae/metrics/reconstruction.h"

#include <torch/types.h>

#include <cmath>

#include "sae/metrics/catalogue.h"

namespace sae {
namespace {

constexpr double kZeroNorm = 1e-6;  // an x this short has no direction to compare with
constexpr double kNoSpread = 1e-7;  // of the mean square: what squares in float32 leave of nothing

}  // namespace

ReconstructionMetrics::ReconstructionMetrics(std::int64_t d_sae) : d_sae_(d_sae) {}

void ReconstructionMetrics::add(const at::Tensor& x_in, const at::Tensor& x_hat_in,
                                const Codes& codes) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = x_in.detach();
  const at::Tensor x_hat = x_hat_in.detach();
  const at::Tensor norm = x.norm(2, /*dim=*/1);
  const at::Tensor norm_hat = x_hat.norm(2, /*dim=*/1);
  const at::Tensor dot = (x * x_hat).sum(1);
  const at::Tensor fired = codes.sum_per_latent((codes.values().detach() != 0).to(x.dtype()));
  const at::Tensor nonzero = norm > kZeroNorm;
  const at::Tensor ratio = norm_hat / norm;
  const at::Tensor cosine = dot / (norm * norm_hat.clamp_min(1e-12));
  const at::Tensor none = at::zeros({}, x.options());
  const at::Tensor sums =
      at::stack({(x - x_hat).square().sum(at::kDouble), x.square().sum(at::kDouble),
                 at::where(nonzero, cosine, none).sum(at::kDouble),
                 at::where(nonzero, ratio, none).sum(at::kDouble), fired.sum(at::kDouble),
                 nonzero.sum().to(at::kDouble)});
  const at::Tensor total = x.sum(at::IntArrayRef{0}, /*keepdim=*/false, at::kDouble);
  if (!sums_.defined()) {
    sums_ = sums;
    total_ = total;
    fired_ = fired.to(at::kDouble);
  } else {
    sums_ += sums;
    total_ += total;
    fired_ += fired;
  }
  tokens_ += x.size(0);
}

void ReconstructionMetrics::join(const Spread& spread, TokensOfRanks tokens) {
  if (spread.is_one()) return;
  // Of a token's numbers the active entries alone are those of a rank's latents.
  at::Tensor active = sums_.slice(0, 4, 5).clone();
  spread.mesh().latents.sum(active);
  sums_.slice(0, 4, 5).copy_(active);
  if (tokens == TokensOfRanks::kParts) {
    spread.sum_tokens({&sums_, &total_, &fired_});
    tokens_ = spread.tokens(tokens_).all;
  }
  fired_ = spread.all_latents(fired_);
  d_sae_ = spread.d_sae();
}

MetricValues ReconstructionMetrics::values() const {
  if (tokens_ == 0) return {};
  const at::Tensor means = (sums_ / static_cast<double>(tokens_)).to(at::kCPU).contiguous();
  const auto* mean = means.const_data_ptr<double>();
  const double center =
      (total_ / static_cast<double>(tokens_)).square().sum().item<double>();  // ||mean x||^2
  const double variance = mean[1] - center;
  const bool varies = !(variance <= kNoSpread * mean[1]);
  const double silent = (fired_ == 0).sum().item<double>();
  return {{metric::kL0, mean[4]},
          {metric::kExplainedVariance, varies ? 1 - mean[0] / variance : NAN},
          {metric::kNmse, mean[1] > 0 ? mean[0] / mean[1] : NAN},
          {metric::kMse, mean[0]},
          {metric::kCosine, mean[2] / mean[5]},
          {metric::kL2Ratio, mean[3] / mean[5]},
          {metric::kNeverFired, silent / static_cast<double>(d_sae_)}};
}

at::Tensor ReconstructionMetrics::firing_frequency() const {
  if (tokens_ == 0) return at::zeros({d_sae_}, at::kDouble);
  return (fired_ / static_cast<double>(tokens_)).to(at::kCPU);
}

}  // namespace sae

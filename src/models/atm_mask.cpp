#include "sae/models/atm_mask.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "sae/base/rng.h"

namespace sae {

AtmMask::AtmMask(std::int64_t d_sae, AtmMaskOptions options)
    : torch::nn::Module("AtmMask"), options_(std::move(options)) {
  if (options_.weights.size() != 3) {
    throw std::invalid_argument("mask.weights: got " + std::to_string(options_.weights.size()) +
                                " numbers, expected 3: magnitude, frequency, contribution");
  }
  magnitude_ = register_buffer("magnitude", at::zeros({d_sae}));
  frequency_ = register_buffer("frequency", at::zeros({d_sae}));
  contribution_ = register_buffer("contribution", at::zeros({d_sae}));
  updates_ = register_buffer("updates", at::zeros({}, at::kLong));
}

void AtmMask::observe(const BatchStatistics& batch) {
  const at::NoGradGuard no_grad;
  const double per_token = 1.0 / static_cast<double>(batch.tokens);
  const double weight = 1 - options_.decay;
  const auto mean = [&](const at::Tensor& sum) {
    return (sum * per_token).to(magnitude_.scalar_type());
  };
  magnitude_.lerp_(mean(batch.magnitude), weight);
  frequency_.lerp_(mean(batch.fired), weight);
  contribution_.lerp_(mean(batch.contribution), weight);
  updates_.add_(1);
}

double AtmMask::correction() const {
  const auto updates = updates_.item<std::int64_t>();
  if (updates == 0) return 0;
  return 1 / (1 - std::pow(options_.decay, static_cast<double>(updates)));
}

at::Tensor AtmMask::importance() const {
  const at::NoGradGuard no_grad;
  const double unbias = correction();
  const at::Tensor signals[] = {magnitude_ * unbias, frequency_ * unbias, contribution_ * unbias};
  if (options_.importance == "product") return signals[0] * signals[1] * signals[2];
  if (options_.importance == "magnitude") return signals[0];
  if (options_.importance == "frequency") return signals[1];
  if (options_.importance == "contribution") return signals[2];
  at::Tensor sum = at::zeros_like(magnitude_);
  for (std::size_t j = 0; j < 3; ++j) {
    const double weight = options_.importance == "mean" ? 1.0 / 3 : options_.weights[j];
    sum += weight * signals[j] / signals[j].mean(at::kDouble).clamp_min(1e-30);
  }
  return sum;
}

double AtmMask::threshold_at(std::int64_t step) const {
  const double place = static_cast<double>(step % options_.cycle);
  const bool pruning = place < options_.active_fraction * static_cast<double>(options_.cycle);
  return pruning ? options_.threshold : options_.relaxed_threshold;
}

at::Tensor AtmMask::theta(std::int64_t step) const {
  const at::NoGradGuard no_grad;
  // In float64, so that a sum's order, which depends on the number of threads, does not show.
  const at::Tensor value = importance().to(at::kDouble);
  const at::Tensor limit = value.mean() + threshold_at(step) * value.std(/*unbiased=*/false);
  return limit.to(magnitude_.scalar_type());
}

at::Tensor AtmMask::mask_probability(std::int64_t step) const {
  const at::NoGradGuard no_grad;
  const at::Tensor value = importance();
  const at::Tensor limit = theta(step);
  // A theta of zero or less masks nothing: the quotient below would change its sign.
  const at::Tensor shortfall = ((limit - value) / limit).clamp_min(0);
  return at::where(limit > 0, 1 - at::exp(-options_.rate * shortfall), at::zeros_like(value));
}

at::Tensor AtmMask::sample(std::uint64_t seed, std::int64_t step) const {
  const at::NoGradGuard no_grad;
  const std::int64_t d_sae = magnitude_.size(0);
  if (!active(step)) return at::ones_like(magnitude_);
  Rng rng(seed, Stream::kMask, static_cast<std::uint64_t>(step));
  const auto floor =
      static_cast<std::int64_t>(std::ceil(options_.min_keep * static_cast<double>(d_sae)));
  const at::Tensor value = importance();
  if (options_.draw == "nested") {
    const double width = std::floor(std::pow(static_cast<double>(d_sae), rng.uniform()));
    const std::int64_t keep = std::clamp(static_cast<std::int64_t>(width), floor, d_sae);
    const at::Tensor order = at::argsort(value, /*stable=*/true, /*dim=*/0, /*descending=*/true);
    return at::zeros_like(value).index_fill_(0, order.slice(0, 0, keep), 1);
  }
  at::Tensor uniform = at::empty({d_sae}, at::kFloat);
  auto* draw = uniform.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < d_sae; ++i) draw[i] = static_cast<float>(rng.uniform());
  at::Tensor mask = (uniform.to(value.device()) >= mask_probability(step)).to(value.dtype());
  if (floor == 0) return mask;
  // Kept latents rank before all masked ones, masked ones by importance: the first `floor` stay.
  const at::Tensor rank = at::where(mask > 0, at::full_like(value, INFINITY), value);
  const at::Tensor order = at::argsort(rank, /*stable=*/true, /*dim=*/0, /*descending=*/true);
  return mask.index_fill_(0, order.slice(0, 0, floor), 1);
}

at::Tensor AtmMask::inference_factor() const {
  if (options_.inference == "none" || updates_.item<std::int64_t>() == 0) return {};
  const at::NoGradGuard no_grad;
  // Step 0 of a cycle prunes, unless the schedule never does.
  if (options_.inference == "expected") return 1 - mask_probability(0);
  const at::Tensor value = importance();
  return (value >= theta(0)).to(value.dtype());
}

void AtmMask::fold_input_scale(double scale) {
  const at::NoGradGuard no_grad;
  magnitude_.div_(scale);
  contribution_.div_(scale * scale);
}

}  // namespace sae

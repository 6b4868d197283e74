#include "training/calibration.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "sae/training/input_statistics.h"

namespace sae {

at::Tensor calibration_rows(const TrainOptions& options, const Data& data) {
  const std::int64_t wanted = options.calibration_tokens;
  return data.train()->next(std::min(wanted, data.train_tokens.value_or(wanted)));
}

double input_scale(InputNorm norm, const at::Tensor& x) {
  if (norm == InputNorm::kNone) return 1;
  const double square = x.square().sum(at::kDouble).item<double>() / static_cast<double>(x.size(0));
  const double wanted = norm == InputNorm::kUnit ? 1 : static_cast<double>(x.size(1));
  return square > 0 ? std::sqrt(wanted / square) : 1;
}

InputMap input_map(InputNorm norm, InputCentre centre, const at::Tensor& x) {
  if (centre == InputCentre::kNone) return {input_scale(norm, x)};
  const at::Tensor usual = usual_rows(x);
  // In float64, so that a sum's order, which depends on the number of threads, does not show.
  const at::Tensor mean = usual.mean(0, /*keepdim=*/false, at::kDouble).to(x.scalar_type());
  return {input_scale(norm, usual - mean), mean};
}

at::Tensor initial_b_dec(BDecInit how, const at::Tensor& x) {
  switch (how) {
    case BDecInit::kMean:
      return x.mean(0);
    case BDecInit::kZero:
      return at::zeros_like(x[0]);
    case BDecInit::kGeometricMedian:
      break;
  }
  return geometric_median(x);
}

at::Tensor geometric_median(const at::Tensor& x) {
  at::Tensor guess = x.mean(0);
  for (int round = 0; round < 100; ++round) {
    const at::Tensor weight =
        (x - guess).norm(2, /*dim=*/1, /*keepdim=*/true).clamp_min(1e-8).reciprocal();
    const at::Tensor next = (x * weight).sum(0) / weight.sum();
    const double moved = (next - guess).norm().item<double>();
    guess = next;
    if (moved <= 1e-5 * guess.norm().item<double>()) break;
  }
  return guess;
}

}  // namespace sae

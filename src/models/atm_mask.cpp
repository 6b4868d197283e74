#include "sae/models/atm_mask.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "cuda/launch.h"
#include "cuda/selection.h"
#include "sae/base/error.h"
#include "sae/base/rng.h"
#include "sae/base/text.h"
#include "sae/config/findings.h"

namespace sae {
namespace {

std::string wrong_weights(const std::vector<double>& weights) {
  return "got " + std::to_string(weights.size()) +
         " numbers, expected 3: magnitude, frequency, contribution";
}

/// Latents by falling importance [F], the first among equals first.
at::Tensor by_rank(const at::Tensor& importance) {
  return at::argsort(importance, /*stable=*/true, /*dim=*/0, /*descending=*/true);
}

}  // namespace

bool AtmMaskOptions::uses_theta() const {
  return draw == MaskDraw::kBernoulli || inference != MaskInference::kNone;
}

void AtmMaskOptions::check_nested(Findings& findings) const {
  const AtmMaskOptions defaults;
  const std::string with = "with draw '" + name_of(draw) + "'";
  if (draw != MaskDraw::kExpected) {
    if (nested_weight != defaults.nested_weight) findings.unused("nested_weight", with);
    if (nested_weight_end != defaults.nested_weight_end) {
      findings.unused("nested_weight_end", with);
    }
    if (nested_weight_hold != defaults.nested_weight_hold) {
      findings.unused("nested_weight_hold", with);
    }
    return;
  }
  if (paths != defaults.paths) findings.unused("paths", with + ", whose nested_weight says it");
  if (nested_weight == 0 && (nested_weight_end == 0 || nested_weight_hold == 1)) {
    findings.warn("nested_weight", "got 0: the mask never masks anything");
  }
  if (nested_weight_hold == 1 && nested_weight_end != defaults.nested_weight_end) {
    findings.unused("nested_weight_end", "with nested_weight_hold 1");
  }
}

void AtmMaskOptions::check(Findings& findings) const {
  const AtmMaskOptions defaults;
  if (weights.size() != 3) {
    findings.error("weights", wrong_weights(weights));
  } else if (importance != Importance::kWeighted && weights != defaults.weights) {
    findings.unused("weights", "with importance '" + name_of(importance) + "'");
  } else if (std::all_of(weights.begin(), weights.end(), [](double w) { return w == 0; })) {
    findings.error("weights", "got zeros alone, expected one above 0: importance is 0 otherwise");
  }
  const bool relaxes = active_fraction < 1;
  check_nested(findings);
  const std::string idle = !uses_theta() ? "with draw '" + name_of(draw) + "' and inference 'none'"
                           : !relaxes    ? "with active_fraction 1"
                                         : "";
  if (!idle.empty()) {
    if (relaxed_threshold != defaults.relaxed_threshold) findings.unused("relaxed_threshold", idle);
    if (cycle != defaults.cycle) findings.unused("cycle", idle);
  }
  if (!uses_theta()) {
    if (threshold != defaults.threshold) findings.unused("threshold", idle);
    if (relaxes) findings.unused("active_fraction", idle);
    if (rate != defaults.rate) findings.unused("rate", idle);
  } else if (relaxes && active_fraction == 0 && threshold != defaults.threshold) {
    findings.unused("threshold", "with active_fraction 0");
  } else if (relaxes && active_fraction > 0 && relaxed_threshold > threshold) {
    findings.warn("relaxed_threshold",
                  "got " + shortest(relaxed_threshold) + ", above threshold " +
                      shortest(threshold) + ": the relaxed part of a cycle masks more",
                  {"threshold"});
  }
  if (draw == MaskDraw::kBernoulli && rate == 0) {
    findings.warn("rate", "got 0: the mask never masks anything");
  }
  if (min_keep == 1) findings.warn("min_keep", "got 1: the mask never masks anything");
}

void AtmMaskOptions::check(Findings& findings, const RunLength& run) const {
  if (warmup_steps >= run.steps) {
    findings.warn("warmup_steps", "got " + std::to_string(warmup_steps) + ", the run has " +
                                      std::to_string(run.steps) +
                                      " steps: the mask never acts in training; lower it");
    return;
  }
  const double pruning = active_fraction * static_cast<double>(cycle);
  if (uses_theta() && active_fraction < 1 && pruning >= static_cast<double>(run.steps)) {
    findings.warn("cycle",
                  "got " + std::to_string(cycle) + ", the run has " + std::to_string(run.steps) +
                      " steps: it ends before a cycle's relaxed part; lower it",
                  {"active_fraction"});
  }
}

AtmMask::AtmMask(std::int64_t d_sae, AtmMaskOptions options)
    : AtmMask(std::make_shared<const Spread>(Placement{}, d_sae), std::move(options)) {}

AtmMask::AtmMask(std::shared_ptr<const Spread> spread, AtmMaskOptions options)
    : torch::nn::Module("AtmMask"), spread_(std::move(spread)), options_(std::move(options)) {
  if (options_.weights.size() != 3) {
    throw std::invalid_argument("mask.weights: " + wrong_weights(options_.weights));
  }
  if (options_.draw == MaskDraw::kExpected && spread_->splits_latents()) {
    throw ConfigError(
        "model.mask.draw: got 'expected' with latents on " +
        std::to_string(spread_->mesh().latents.size()) +
        " ranks, but its error pairs every latent of a token with every other; expected another "
        "draw, or distributed.latents 1, where ranks split the batch");
  }
  magnitude_ = register_buffer("magnitude", at::zeros({spread_->own()}));
  frequency_ = register_buffer("frequency", at::zeros({spread_->own()}));
  contribution_ = register_buffer("contribution", at::zeros({spread_->own()}));
  updates_ = register_buffer("updates", at::zeros({}, at::kLong));
}

void AtmMask::to(at::Device device, at::ScalarType type, bool non_blocking) {
  torch::nn::Module::to(device, type, non_blocking);
  updates_.set_data(updates_.to(at::kCPU, at::kLong));
}

void AtmMask::to(at::Device device, bool non_blocking) {
  torch::nn::Module::to(device, non_blocking);
  updates_.set_data(updates_.cpu());
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

at::Tensor AtmMask::importance(double scale) const {
  const at::NoGradGuard no_grad;
  return spread_->all_latents(own_importance(scale));
}

at::Tensor AtmMask::own_importance(double scale) const {
  const double unbias = correction();
  const at::Tensor signals[] = {magnitude_ * (unbias / scale), frequency_ * unbias,
                                contribution_ * (unbias / (scale * scale))};
  switch (options_.importance) {
    case Importance::kProduct:
      return signals[0] * signals[1] * signals[2];
    case Importance::kMagnitude:
      return signals[0];
    case Importance::kFrequency:
      return signals[1];
    case Importance::kContribution:
      return signals[2];
    case Importance::kMean:
    case Importance::kWeighted:
      break;
  }
  at::Tensor sum = at::zeros_like(magnitude_);
  for (std::size_t j = 0; j < 3; ++j) {
    const double weight = options_.importance == Importance::kMean ? 1.0 / 3 : options_.weights[j];
    const at::Tensor mean = spread_->all_latents(signals[j]).mean(at::kDouble);
    sum += weight * signals[j] / mean.clamp_min(1e-30);
  }
  return sum;
}

double AtmMask::threshold_at(std::int64_t step) const {
  const double place = static_cast<double>(step % options_.cycle);
  const bool pruning = place < options_.active_fraction * static_cast<double>(options_.cycle);
  return pruning ? options_.threshold : options_.relaxed_threshold;
}

at::Tensor AtmMask::theta(std::int64_t step, double scale) const {
  const at::NoGradGuard no_grad;
  return theta_of(importance(scale), step);
}

at::Tensor AtmMask::theta_of(const at::Tensor& importance, std::int64_t step) const {
  // In float64, so that a sum's order, which depends on the number of threads, does not show.
  const at::Tensor value = importance.to(at::kDouble);
  const at::Tensor limit = value.mean() + threshold_at(step) * value.std(/*unbiased=*/false);
  return limit.to(magnitude_.scalar_type());
}

at::Tensor AtmMask::mask_probability(std::int64_t step) const {
  const at::NoGradGuard no_grad;
  return probability_of(importance(), step);
}

at::Tensor AtmMask::probability_of(const at::Tensor& value, std::int64_t step) const {
  const at::Tensor limit = theta_of(value, step);
  // A theta of zero or less masks nothing: the quotient below would change its sign.
  const at::Tensor shortfall = ((limit - value) / limit).clamp_min(0);
  return at::where(limit > 0, 1 - at::exp(-options_.rate * shortfall), at::zeros_like(value));
}

at::Tensor AtmMask::drawn(std::uint64_t seed, std::int64_t step,
                          const at::Tensor& probability) const {
  if (cuda::has_kernels(probability)) {
    return cuda::bernoulli_mask(seed, static_cast<std::uint32_t>(Stream::kMask),
                                static_cast<std::uint64_t>(step), probability.contiguous());
  }
  const bool travels = !probability.is_cpu();
  at::Tensor uniform =
      at::empty({d_sae()}, at::TensorOptions().dtype(at::kFloat).pinned_memory(travels));
  Rng rng(seed, Stream::kMask, static_cast<std::uint64_t>(step));
  auto* draw = uniform.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < d_sae(); ++i) draw[i] = static_cast<float>(rng.uniform());
  return (uniform.to(probability.device(), /*non_blocking=*/true) >= probability)
      .to(probability.dtype());
}

at::Tensor AtmMask::sample(std::uint64_t seed, std::int64_t step) const {
  const at::NoGradGuard no_grad;
  if (!active(step)) return at::ones_like(magnitude_);
  return spread_->own_latents(sample_all(seed, step));
}

at::Tensor AtmMask::sample_all(std::uint64_t seed, std::int64_t step) const {
  const at::Tensor value = importance();
  if (options_.draw == MaskDraw::kNested) {
    Rng rng(seed, Stream::kMask, static_cast<std::uint64_t>(step));
    const double width = std::floor(std::pow(static_cast<double>(d_sae()), rng.uniform()));
    const std::int64_t keep = std::clamp(static_cast<std::int64_t>(width), floor(), d_sae());
    return at::zeros_like(value).index_fill_(0, by_rank(value).slice(0, 0, keep), 1);
  }
  if (options_.draw == MaskDraw::kRanked) {
    const at::Tensor masked = (1 - chance_by_rank(/*weight=*/1)).to(value.scalar_type());
    return drawn(seed, step, at::empty_like(value).index_copy_(0, by_rank(value), masked));
  }
  at::Tensor mask = drawn(seed, step, probability_of(value, step));
  if (floor() == 0) return mask;
  // Kept latents rank before all masked ones, masked ones by importance: the first `floor` stay.
  const at::Tensor rank = at::where(mask > 0, at::full_like(value, INFINITY), value);
  return mask.index_fill_(0, by_rank(rank).slice(0, 0, floor()), 1);
}

std::int64_t AtmMask::floor() const {
  return static_cast<std::int64_t>(std::ceil(options_.min_keep * static_cast<double>(d_sae())));
}

double AtmMask::nested_weight(Step step) const {
  const double begin = options_.nested_weight;
  if (step.total <= 0 || options_.nested_weight_hold >= 1) return begin;
  const double done = static_cast<double>(step.index) / static_cast<double>(step.total);
  const double left = std::clamp((1 - done) / (1 - options_.nested_weight_hold), 0.0, 1.0);
  return options_.nested_weight_end + (begin - options_.nested_weight_end) * left;
}

at::Tensor AtmMask::chance_by_rank(double weight) const {
  const auto options = magnitude_.options().dtype(at::kDouble);
  if (d_sae() == 1) return at::ones({1}, options);
  const at::Tensor rank = at::arange(1, d_sae() + 1, options);
  at::Tensor chance = 1 - weight / std::log(static_cast<double>(d_sae())) * rank.log();
  chance.slice(0, 0, floor()).fill_(1);
  return chance;
}

Nesting AtmMask::nesting(Step step) const {
  const at::NoGradGuard no_grad;
  const at::Tensor order = by_rank(importance());
  const at::Tensor chance = chance_by_rank(nested_weight(step));
  return {.rank = at::empty_like(order).index_copy_(0, order,
                                                    at::arange(order.size(0), order.options())),
          .chance = at::empty_like(chance).index_copy_(0, order, chance)};
}

at::Tensor AtmMask::inference_factor() const {
  if (options_.inference == MaskInference::kNone || updates_.item<std::int64_t>() == 0) return {};
  const at::NoGradGuard no_grad;
  // Step 0 of a cycle prunes, unless the schedule never does.
  const at::Tensor value = importance();
  if (options_.inference == MaskInference::kExpected) {
    return spread_->own_latents(1 - probability_of(value, 0));
  }
  return spread_->own_latents((value >= theta_of(value, 0)).to(value.dtype()));
}

std::map<std::string, double> AtmMask::metrics(Step step, const at::Tensor& mask,
                                               const at::Tensor& before, double scale) const {
  constexpr std::pair<double, const char*> kQuantiles[] = {{0.05, "importance_q05"},
                                                           {0.25, "importance_q25"},
                                                           {0.5, "importance_q50"},
                                                           {0.75, "importance_q75"},
                                                           {0.95, "importance_q95"}};
  const at::Tensor all = importance(scale);
  const at::Tensor value = all.to(at::kDouble);
  const at::Tensor old_value = before.to(at::kDouble);
  const double size = old_value.norm().item<double>();
  std::map<std::string, double> values;
  if (options_.draw == MaskDraw::kBernoulli) {  // nested masks know no threshold
    values["theta"] = theta_of(all, step.index).item<double>();
  }
  if (options_.draw == MaskDraw::kExpected) {
    values["nested_weight"] = active(step.index) ? nested_weight(step) : 0;
    values["masked"] =
        active(step.index) ? 1 - chance_by_rank(nested_weight(step)).mean().item<double>() : 0;
  } else {
    values["masked"] = 1 - spread_->all_latents(mask).mean().item<double>();
  }
  values["drift"] = size > 0 ? (value - old_value).norm().item<double>() / size : NAN;
  for (const auto& [share, name] : kQuantiles) values[name] = value.quantile(share).item<double>();
  return values;
}

void AtmMask::fold_input_scale(double scale) {
  const at::NoGradGuard no_grad;
  magnitude_.div_(scale);
  contribution_.div_(scale * scale);
}

}  // namespace sae

#include "sae/training/trainer.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "sae/base/error.h"
#include "training/batch_pass.h"

namespace sae {
namespace {

/// Weiszfeld's algorithm: the point with the least summed distance to the rows of x [N, D].
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

}  // namespace

std::int64_t TrainOptions::total_steps() const {
  if (steps.has_value() == tokens.has_value()) {
    throw ConfigError(steps ? "train: got both steps and tokens, expected one of them"
                            : "train: got neither steps nor tokens, expected one of them");
  }
  const std::int64_t total = steps ? *steps : *tokens / batch;
  if (total < 1) {
    throw ConfigError("train.tokens: got " + std::to_string(*tokens) +
                      ", expected at least one batch of " + std::to_string(batch));
  }
  return total;
}

Trainer::Trainer(std::shared_ptr<Autoencoder> sae, TrainOptions options, std::uint64_t seed,
                 std::string precision)
    : sae_(std::move(sae)),
      options_(std::move(options)),
      seed_(seed),
      bf16_(precision == "bf16"),
      adam_(sae_, options_.adam),
      total_steps_(options_.total_steps()),
      logged_at_(std::chrono::steady_clock::now()) {
  if (precision != "fp32" && precision != "bf16") {
    throw std::invalid_argument("Trainer: got precision '" + precision +
                                "', expected fp32 or bf16");
  }
  const Screening screening = options_.screening == "on"    ? Screening::kOn
                              : options_.screening == "off" ? Screening::kOff
                                                            : Screening::kAuto;
  sae_->set_encoding({sae_->encoding().storage, screening});
}

void Trainer::calibrate(const at::Tensor& x_in) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = x_in.to(sae_->W_enc.options().requires_grad(false));
  input_scale_ = 1;
  if (options_.input_norm != "none") {
    const double square =
        x.square().sum(at::kDouble).item<double>() / static_cast<double>(x.size(0));
    const double wanted = options_.input_norm == "unit" ? 1 : static_cast<double>(sae_->d_in());
    if (square > 0) input_scale_ = std::sqrt(wanted / square);
  }
  if (options_.b_dec_init == "zero") return;
  const at::Tensor scaled = x * input_scale_;
  sae_->b_dec.copy_(options_.b_dec_init == "mean" ? scaled.mean(0) : geometric_median(scaled));
}

StepReport Trainer::step(const at::Tensor& x_in) {
  if (x_in.dim() != 2 || x_in.size(0) == 0 || x_in.size(1) != sae_->d_in()) {
    throw std::invalid_argument(c10::str("Trainer::step: got activations ", x_in.sizes(),
                                         ", expected [B, ", sae_->d_in(), "]"));
  }
  if (!calibrated()) calibrate(x_in);
  at::Tensor x = x_in.to(sae_->W_enc.options().requires_grad(false), /*non_blocking=*/true);
  if (input_scale_ != 1) x = x * input_scale_;
  const Step step{step_, seed_};
  const bool logged = (step_ + 1) % options_.log_every == 0 || step_ + 1 == total_steps_;
  const BatchPass pass = run_batch(*sae_, x, step,
                                   {.parts = options_.accumulate,
                                    .bf16 = bf16_,
                                    .measure = logged,
                                    .input_scale = input_scale_});
  check(pass, x);
  adam_.step(learning_rate(options_.schedule, step_, total_steps_));
  if ((logged || x.is_cpu()) && !std::isfinite(adam_.gradient_norm().item<double>())) {
    diverged("the gradient is not finite");
  }
  if (sae_->resamples(step)) {
    const at::Tensor resampled = sae_->resample(x, pass.errors, step);
    if (resampled.defined()) adam_.forget(resampled);
  }
  at::Tensor importance;
  if (logged && sae_->mask()) importance = sae_->mask()->importance();
  sae_->observe(pass.statistics, step);
  ++step_;
  StepReport report{.step = step_, .tokens = step_ * options_.batch, .values = {}};
  if (logged) {
    report.values = measure(pass, importance);
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - logged_at_).count();
    const std::int64_t tokens = (step_ - logged_step_) * x.size(0);
    report.values["tokens_per_s"] = static_cast<double>(tokens) / std::max(seconds, 1e-9);
    logged_at_ = now;
    logged_step_ = step_;
  }
  return report;
}

void Trainer::check(const BatchPass& pass, const at::Tensor& x) const {
  // On a GPU reading a number back stalls the queue, so only logged steps are checked there; a
  // NaN cannot get lost in between.
  if (!x.is_cpu() && pass.metrics.tokens() == 0) return;
  const double loss = pass.total.item<double>();
  const double error = pass.losses.front().second.item<double>();
  if (!std::isfinite(loss)) diverged("the loss is not finite");
  const double square = x.square().sum().item<double>() / static_cast<double>(x.size(0));
  if (square > 0 && error > options_.divergence * square) {
    diverged("the reconstruction error is " + std::to_string(error / square) +
             " times the mean squared norm of the batch");
  }
}

void Trainer::diverged(const std::string& what) const {
  throw DivergenceError("step " + std::to_string(step_ + 1) + ": " + what +
                        "; lower train.lr, or check the data for outliers");
}

MetricValues Trainer::measure(const BatchPass& pass, const at::Tensor& importance_before) const {
  MetricValues values = pass.metrics.values();
  values["loss"] = pass.total.item<double>();
  for (const auto& [name, value] : pass.losses) values["loss." + name] = value.item<double>();
  values["dead"] = sae_->dead().to(at::kDouble).mean().item<double>();
  values["grad_norm"] = adam_.gradient_norm().item<double>();
  values["lr"] = learning_rate(options_.schedule, step_ - 1, total_steps_);
  const auto& mask = sae_->mask();
  if (!mask) return values;
  const at::Tensor importance = mask->importance().to(at::kDouble);
  const at::Tensor before = importance_before.to(at::kDouble);
  const double size = before.norm().item<double>();
  if (mask->options().draw == "bernoulli") {  // a nested draw knows no threshold
    values["mask.theta"] = mask->theta(step_ - 1).item<double>();
  }
  values["mask.masked"] = 1 - pass.mask.mean().item<double>();
  values["mask.drift"] = size > 0 ? (importance - before).norm().item<double>() / size : NAN;
  constexpr std::pair<double, const char*> kQuantiles[] = {{0.05, "mask.importance_q05"},
                                                           {0.25, "mask.importance_q25"},
                                                           {0.5, "mask.importance_q50"},
                                                           {0.75, "mask.importance_q75"},
                                                           {0.95, "mask.importance_q95"}};
  for (const auto& [share, name] : kQuantiles) {
    values[name] = importance.quantile(share).item<double>();
  }
  return values;
}

void Trainer::train(ActivationSource& source,
                    const std::function<bool(const StepReport&)>& on_step) {
  if (!calibrated()) {
    const std::int64_t position = source.position();
    calibrate(source.next(options_.calibration_tokens));
    source.seek(position);
  }
  logged_at_ = std::chrono::steady_clock::now();
  logged_step_ = step_;
  while (!finished()) {
    const StepReport report = step(source.next(options_.batch));
    if (on_step && !on_step(report)) return;
  }
}

void Trainer::restore(std::int64_t step, double input_scale) {
  step_ = step;
  input_scale_ = input_scale;
  logged_step_ = step;
}

}  // namespace sae

#include "sae/training/trainer.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "data/device_batches.h"
#include "data/shared_source.h"
#include "sae/base/error.h"
#include "sae/metrics/catalogue.h"
#include "training/autocast.h"
#include "training/batch_pass.h"
#include "training/calibration.h"

namespace sae {
namespace {

constexpr const char* kNotFinite = "the gradient is not finite";

}  // namespace

Trainer::Trainer(std::shared_ptr<Autoencoder> sae, TrainOptions options, std::uint64_t seed,
                 Precision precision)
    : sae_(std::move(sae)),
      options_(std::move(options)),
      seed_(seed),
      precision_(precision),
      adam_(sae_, options_.adam),
      total_steps_(options_.total_steps()),
      logged_at_(std::chrono::steady_clock::now()) {
  sae_->set_encoding({sae_->encoding().storage, options_.screening});
  if (options_.input_centre != InputCentre::kNone) {
    input_mean_ = at::zeros({sae_->d_in()}, sae_->W_enc.options().requires_grad(false));
  }
}

void Trainer::calibrate(const at::Tensor& x_in) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = x_in.to(sae_->W_enc.options().requires_grad(false));
  const InputMap found = input_map(options_.input_norm, options_.input_centre, x);
  input_scale_ = found.scale;
  if (input_mean_.defined()) input_mean_.copy_(found.mean);
  sae_->b_dec.copy_(initial_b_dec(options_.b_dec_init, input().apply(x)));
  share_calibration();
}

void Trainer::share_calibration() {
  const Group& world = sae_->spread().mesh().world;
  at::Tensor scale = at::tensor(input_scale_, at::kDouble);
  world.broadcast(scale);
  input_scale_ = scale.item<double>();
  if (input_mean_.defined()) world.broadcast(input_mean_);
  at::Tensor b_dec = sae_->b_dec.detach();
  world.broadcast(b_dec);
}

StepReport Trainer::step(const at::Tensor& x_in) {
  if (x_in.dim() != 2 || x_in.size(0) == 0 || x_in.size(1) != sae_->d_in()) {
    throw std::invalid_argument(c10::str("Trainer::step: got activations ", x_in.sizes(),
                                         ", expected [B, ", sae_->d_in(), "]"));
  }
  if (!calibrated()) calibrate(x_in);
  const Tf32Scope tf32(precision_ == Precision::kTf32);
  // Two conversions: in one, the host would convert before it copies.
  at::Tensor x = x_in.to(sae_->W_enc.device(), /*non_blocking=*/true);
  x = input().apply(x.to(sae_->W_enc.scalar_type()));
  const Step step{step_, seed_, total_steps_};
  const bool logged = (step_ + 1) % options_.log_every == 0 || step_ + 1 == total_steps_;
  const BatchPass pass = run_batch(*sae_, x, step,
                                   {.parts = options_.accumulate,
                                    .bf16 = precision_ == Precision::kBf16,
                                    .measure = logged,
                                    .input = input()});
  check(pass, x);
  adam_.step(learning_rate(options_.schedule, step_, total_steps_));
  if ((logged || x.is_cpu()) && !finite()) diverged(step_ + 1, kNotFinite);
  if (sae_->resamples(step)) {
    const at::Tensor resampled = sae_->resample(x, pass.errors, step);
    if (resampled.defined()) adam_.forget(resampled);
  }
  at::Tensor importance;
  if (logged && sae_->mask()) importance = sae_->mask()->importance(input_scale_);
  sae_->observe(pass.statistics, step);
  ++step_;
  StepReport report{.step = step_, .tokens = step_ * options_.batch, .values = {}};
  if (logged) {
    report.values = measure(pass, importance);
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - logged_at_).count();
    const std::int64_t tokens = (step_ - logged_step_) * pass.tokens;
    report.values["tokens_per_s"] = static_cast<double>(tokens) / std::max(seconds, 1e-9);
    log_traffic(static_cast<double>(step_ - logged_step_), report.values);
    logged_at_ = now;
    logged_step_ = step_;
  }
  return report;
}

void Trainer::log_traffic(double steps, MetricValues& values) {
  const Spread& spread = sae_->spread();
  if (spread.is_one()) return;
  Traffic all;
  for (const Group* group : {&spread.mesh().world, &spread.mesh().data, &spread.mesh().latents}) {
    const Traffic one = group->traffic();
    all.calls += one.calls;
    all.bytes += one.bytes;
    all.seconds += one.seconds;
  }
  values["comm_mb"] = static_cast<double>(all.bytes - logged_traffic_.bytes) / 1e6 / steps;
  values["comm_s"] = (all.seconds - logged_traffic_.seconds) / steps;
  logged_traffic_ = all;
}

bool Trainer::finite() const { return std::isfinite(adam_.gradient_norm().item<double>()); }

void Trainer::require_finite() const {
  if (!finite()) diverged(step_, kNotFinite);
}

void Trainer::check(const BatchPass& pass, const at::Tensor& x) const {
  // On a GPU reading a number back stalls the queue, so only logged steps are checked there; a
  // NaN cannot get lost in between.
  if (!x.is_cpu() && pass.metrics.tokens() == 0) return;
  const double loss = pass.total.item<double>();
  const double error = pass.losses.front().second.item<double>();
  if (!std::isfinite(loss)) diverged(step_ + 1, "the loss is not finite");
  at::Tensor sum = x.square().sum();
  sae_->spread().sum_tokens({&sum});
  const double square = sum.item<double>() / static_cast<double>(pass.tokens);
  if (square > 0 && error > options_.divergence * square) {
    diverged(step_ + 1, "the reconstruction error is " + std::to_string(error / square) +
                            " times the mean squared norm of the batch");
  }
}

void Trainer::diverged(std::int64_t step, const std::string& what) {
  throw DivergenceError("step " + std::to_string(step) + ": " + what +
                        "; lower train.lr, or check the data for outliers");
}

MetricValues Trainer::measure(const BatchPass& pass, const at::Tensor& importance_before) const {
  MetricValues values = pass.metrics.values();
  values["loss"] = pass.total.item<double>();
  for (const auto& [name, value] : pass.losses) values["loss." + name] = value.item<double>();
  values.erase(metric::kNeverFired);  // of this one batch: says nothing
  values[metric::kDead] =
      static_cast<double>(sae_->count_dead()) / static_cast<double>(sae_->all_latents());
  values["grad_norm"] = adam_.gradient_norm().item<double>();
  values["lr"] = learning_rate(options_.schedule, step_ - 1, total_steps_);
  if (const auto& mask = sae_->mask()) {
    for (const auto& [name, value] : mask->metrics({step_ - 1, seed_, total_steps_}, pass.mask,
                                                   importance_before, input_scale_)) {
      values["mask." + name] = value;
    }
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
  std::optional<SharedSource> shared;
  if (const Spread& spread = sae_->spread(); !spread.is_one()) {
    shared.emplace(source, spread.mesh(), options_.batch);
  }
  DeviceBatches batches(shared ? *shared : source, sae_->W_enc.device(), options_.batch,
                        (total_steps_ - step_) * options_.batch);
  while (!finished()) {
    const StepReport report = step(batches.next());
    if (on_step && !on_step(report)) return;
  }
}

std::vector<std::pair<std::string, at::Tensor>> Trainer::state() const {
  auto all = adam_.state();
  if (input_mean_.defined()) all.emplace_back(kInputMean, input_mean_);
  return all;
}

void Trainer::restore(std::int64_t step, double input_scale) {
  step_ = step;
  input_scale_ = input_scale;
  logged_step_ = step;
}

}  // namespace sae

#include "sae/models/standard.h"

#include <torch/types.h>

#include <algorithm>
#include <string>
#include <utility>

#include "sae/base/error.h"
#include "sae/base/rng.h"
#include "sae/config/findings.h"

namespace sae {
namespace {

/// What is wrong with resampling, which gives latents new directions; empty if nothing is.
std::string wrong_resampling(const StandardOptions& options) {
  if (!options.resample_every || options.base.freeze == Freeze::kNone) return "";
  return "got " + std::to_string(*options.resample_every) + " with freeze '" +
         name_of(options.base.freeze) +
         "': dead latents would get new directions, which are to stay; expected null";
}

}  // namespace

void StandardOptions::check(Findings& findings) const {
  base.check(findings);
  const std::string wrong = wrong_resampling(*this);
  if (!wrong.empty()) findings.error("resample_every", wrong);
  sparsity.check(findings, base.d_sae, /*steers=*/true);
}

void StandardOptions::check(Findings& findings, const RunLength& run) const {
  base.check(findings, run);
  sparsity.check(findings, run);
  if (resample_every && *resample_every > run.steps) {
    findings.warn("resample_every", "got " + std::to_string(*resample_every) + ", the run has " +
                                        std::to_string(run.steps) +
                                        " steps: nothing is ever resampled");
  }
}

Standard::Standard(StandardOptions options)
    : Autoencoder(options.base), options_(std::move(options)) {
  const std::string wrong = wrong_resampling(options_);
  if (!wrong.empty()) throw ConfigError("model.resample_every: " + wrong);
  sparsity_ = register_module("sparsity", std::make_shared<SparsityControl>(options_.sparsity));
}

Losses Standard::penalties(const Forward& pass, Step step) const {
  // The L1 term is on the masked latents: a masked one is not penalised.
  const at::Tensor f = weigh_by_norm(pass.kept, pass.kept.values());
  const at::Tensor l1 = spread().sum_latents(weigh_by_chance(pass, f).sum() / pass.x.size(0));
  return {{"sparsity", sparsity_->coefficient(step.index) * l1}};
}

void Standard::observe_more(const BatchStatistics& batch, Step step) {
  sparsity_->observe(l0_at_inference(batch, mask().get(), spread()), step.index);
}

bool Standard::resamples(Step step) const {
  return options_.resample_every && step.index > 0 && step.index % *options_.resample_every == 0;
}

at::Tensor Standard::resample(const at::Tensor& own_x, const at::Tensor& own_errors, Step step) {
  if (!resamples(step)) return {};
  const at::NoGradGuard no_grad;
  const at::Tensor silent = spread().all_latents(dead());
  const at::Tensor all = at::nonzero(silent).squeeze(1);
  const std::int64_t count = all.size(0);
  if (count == 0) return {};
  const at::Tensor x = spread().all_tokens(own_x);

  // Inputs by inverse transform sampling of the squared errors.
  const at::Tensor cumulative = spread().all_tokens(own_errors).to(at::kCPU, at::kDouble).cumsum(0);
  const auto* total = cumulative.const_data_ptr<double>();
  const std::int64_t batch = cumulative.size(0);
  at::Tensor drawn = at::empty({count}, at::kLong);
  Rng rng(step.seed, Stream::kResample, static_cast<std::uint64_t>(step.index));
  for (std::int64_t i = 0; i < count; ++i) {
    const double place = rng.uniform() * total[batch - 1];
    const auto found = std::upper_bound(total, total + batch, place) - total;
    drawn.data_ptr<std::int64_t>()[i] = std::min<std::int64_t>(found, batch - 1);
  }
  at::Tensor rows = x.index_select(0, drawn.to(x.device())) - b_dec;
  rows = rows / rows.norm(2, /*dim=*/1, /*keepdim=*/true).clamp_min(1e-12);
  const at::Tensor living =
      spread().all_latents(W_enc.norm(2, /*dim=*/1)).masked_select(silent.logical_not());
  const at::Tensor norm = living.numel() > 0 ? living.mean() : at::ones({}, W_enc.options());

  // All ranks draw for all latents, and each keeps what is for its own.
  at::Tensor place = at::zeros_like(silent, at::kLong);
  place.index_copy_(0, all, at::arange(count, all.options()));
  const at::Tensor which = at::nonzero(dead()).squeeze(1);
  rows = rows.index_select(0, spread().own_latents(place).index_select(0, which));
  W_dec.index_copy_(0, which, rows);
  W_enc.index_copy_(0, which, rows * (0.2 * norm));
  b_enc.index_fill_(0, which, 0);
  forget_silence(which);
  return which;
}

}  // namespace sae

#include "sae/models/autoencoder.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/reused.h"
#include "cuda/bf16_copy.h"
#include "cuda/launch.h"
#include "cuda/products.h"
#include "models/batch_statistics.h"
#include "models/over_ranks.h"
#include "sae/base/error.h"
#include "sae/base/rng.h"
#include "sae/base/text.h"
#include "sae/config/findings.h"
#include "sae/sparse/decode.h"
#include "sparse/largest_of_parts.h"

namespace sae {
namespace {

/// Norm of the first decoder rows where norms are free: SAELens' default. A small one lets the L1
/// penalty shape the latents before they are large.
constexpr double kFreeInitNorm = 0.1;

/// One pass over [B, D] forward and one back, where autograd's own takes six and keeps three.
class SquaredError : public torch::autograd::Function<SquaredError> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x_hat,
                            const at::Tensor& x) {
    if (cuda::has_kernels(x) && x_hat.is_contiguous() && x.is_contiguous()) {
      const cuda::SquaredError found = cuda::squared_error(x_hat, x);
      ctx->save_for_backward({found.error});
      return found.square / static_cast<double>(x.size(0));
    }
    at::Tensor error = reused(x.sizes(), x_hat.options());
    at::sub_out(error, x_hat, x);
    ctx->save_for_backward({error});
    const at::Tensor flat = error.view({-1});
    // cuBLAS does not say in which order its dot product sums; the norm's order is fixed.
    const at::Tensor square = error.is_cpu() ? at::dot(flat, flat) : flat.norm().square_();
    return square / static_cast<double>(x.size(0));
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* ctx,
                                               torch::autograd::tensor_list grads) {
    const at::Tensor error = ctx->get_saved_variables()[0];
    at::Tensor slope = reused(error.sizes(), error.options());
    at::mul_out(slope, error, grads[0] * (2.0 / static_cast<double>(error.size(0))));
    return {std::move(slope), {}};
  }
};

}  // namespace

void AutoencoderOptions::check(Findings& findings) const {
  if (orthogonality && freeze == Freeze::kDecoder) {
    findings.unused("orthogonality", "with freeze 'decoder'");
  }
  if (!mask || !mask->uses_theta()) return;
  // The largest of F numbers is at most sqrt(F - 1) standard deviations above their mean.
  const double most = std::sqrt(static_cast<double>(d_sae - 1));
  const auto require_reachable = [&](const char* key, double c) {
    if (std::abs(c) <= most) return;
    const std::string limit = trimmed(most, 2) + " standard deviations from the mean";
    findings.warn(key,
                  "got " + shortest(c) + ", but importance is never more than " + limit +
                      ": theta " + (c > 0 ? "is above all latents" : "is below all latents"),
                  {"d_sae"});
  };
  if (mask->active_fraction > 0) require_reachable("mask.threshold", mask->threshold);
  if (mask->active_fraction < 1) {
    require_reachable("mask.relaxed_threshold", mask->relaxed_threshold);
  }
}

void AutoencoderOptions::check(Findings& findings, const RunLength& run) const {
  const std::string got = "got " + std::to_string(dead_after_tokens) + ", ";
  if (static_cast<double>(dead_after_tokens) > run.tokens()) {
    findings.warn("dead_after_tokens", got + "the run has " + trimmed(run.tokens(), 0) +
                                           " tokens: no latent ever counts as dead, and nothing "
                                           "revives any; lower it");
  } else if (dead_after_tokens < run.batch) {
    findings.warn("dead_after_tokens", got + "a batch has " + std::to_string(run.batch) +
                                           " tokens: a latent that is silent in one counts as "
                                           "dead; raise it");
  }
}

namespace {

std::string needs_all(const Spread& spread) {
  return "model.orthogonality: got a penalty with latents on " +
         std::to_string(spread.mesh().latents.size()) +
         " ranks, but it pairs each latent with others of all; expected null, or "
         "distributed.latents 1, where ranks split the batch";
}

AutoencoderOptions with_sizes(AutoencoderOptions options) {
  if (options.d_in >= 1 && options.d_sae >= 1) return options;
  throw std::invalid_argument("model: got d_in " + std::to_string(options.d_in) + ", d_sae " +
                              std::to_string(options.d_sae) + ", expected both to be at least 1");
}

}  // namespace

at::Tensor squared_error(const at::Tensor& x, const at::Tensor& x_hat) {
  return SquaredError::apply(x_hat, x);
}

Autoencoder::Autoencoder(AutoencoderOptions options)
    : torch::nn::Module("Autoencoder"),
      options_(with_sizes(std::move(options))),
      spread_(std::make_shared<const Spread>(options_.placement, options_.d_sae)),
      W_enc_copy_(std::make_shared<Bf16Copy>()),
      W_dec_copy_(std::make_shared<Bf16Copy>()) {
  const std::int64_t d_in = options_.d_in;
  const std::int64_t d_sae = spread_->own();
  W_enc = register_parameter("W_enc", at::zeros({d_sae, d_in}));
  b_enc = register_parameter("b_enc", at::zeros({d_sae}));
  W_dec = register_parameter("W_dec", at::zeros({d_sae, d_in}));
  b_dec = register_parameter("b_dec", at::zeros({d_in}));
  silent_tokens_ = register_buffer("silent_tokens", at::zeros({d_sae}, at::kLong));
  silent_version_ = silent_tokens_._version();
  if (freeze() == Freeze::kSoftDecoder) {
    decoder_start_ = register_buffer("decoder_start", at::zeros({d_sae, d_in}));
  }
  for (at::Tensor* parameter : {&W_enc, &W_dec}) {
    if (is_frozen(*parameter)) parameter->set_requires_grad(false);
  }
  if (options_.orthogonality && spread_->splits_latents()) throw ConfigError(needs_all(*spread_));
  if (options_.mask) {
    mask_ = register_module("mask", std::make_shared<AtmMask>(spread_, *options_.mask));
  }
}

void Autoencoder::initialise(std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  at::Tensor rows = at::empty({d_sae(), d_in()}, at::kFloat);
  auto* all = rows.mutable_data_ptr<float>();
  const auto* ids = spread_->ids().const_data_ptr<std::int64_t>();
  at::parallel_for(0, d_sae(), 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      Rng rng(seed, Stream::kInit, static_cast<std::uint64_t>(ids[i]));
      float* value = all + i * d_in();
      for (std::int64_t d = 0; d < d_in(); ++d) *value++ = static_cast<float>(rng.normal());
    }
  });
  rows /= rows.norm(2, /*dim=*/1, /*keepdim=*/true);
  if (!unit_norm_decoder()) rows *= kFreeInitNorm;
  W_dec.copy_(rows);
  W_enc.copy_(rows);
  b_enc.zero_();
  mark_start();
}

at::Tensor Autoencoder::activate(const Codes& preactivations) const {
  // Lists hold positive entries only, unless they are padded with zeros, which get no gradient.
  const bool cuts = preactivations.is_dense() || preactivations.pattern()->is_padded;
  return cuts ? preactivations.values().relu() : preactivations.values();
}

at::Tensor Autoencoder::preactivations_of(const at::Tensor& x, const at::Tensor& which) const {
  const EncoderWeights part{W_enc.index_select(0, which), b_enc.index_select(0, which), b_dec};
  return pick(x, part, preactivations(x, part), Pattern::dense(x.size(0), which.size(0))).values();
}

at::Tensor Autoencoder::weigh_by_norm(const Codes& codes, const at::Tensor& values) const {
  if (unit_norm_decoder()) return values;
  return values * codes.per_entry(W_dec.norm(2, /*dim=*/1));
}

Codes Autoencoder::encode(const at::Tensor& x) const {
  const at::NoGradGuard no_grad;
  SelectionRule kept = inference_rule(x.size(0));
  auto* of_token = std::get_if<LargestOfToken>(&kept);
  const std::int64_t k = of_token ? of_token->k : 0;
  if (of_token) of_token->k = std::min(k, d_sae());
  Codes h = sae::encode(x, encoder(), kept, encoding_);
  if (of_token) h = largest_of_token(*spread_, h, k);
  Codes f = h.with_values(activate(h));
  if (!mask_) return f;
  const at::Tensor factor = mask_->inference_factor();
  return factor.defined() ? f.with_values(f.values() * f.per_entry(factor)) : f;
}

at::Tensor Autoencoder::decode(const Codes& codes) const {
  const at::NoGradGuard no_grad;
  if (!spread_->splits_latents()) return sae::decode(codes, W_dec, b_dec, W_dec_copy_);
  const at::Tensor part = sae::decode(codes, W_dec, at::zeros_like(b_dec), W_dec_copy_);
  return spread_->sum_latents(part) + b_dec;
}

std::shared_ptr<Bf16Copy> Autoencoder::copy_of(const at::Tensor& parameter) const {
  if (parameter.is_same(W_enc)) return W_enc_copy_;
  return parameter.is_same(W_dec) ? W_dec_copy_ : nullptr;
}

bool Autoencoder::is_by_latent(std::string_view name, const at::Tensor& tensor) {
  return tensor.dim() > 0 && !name.starts_with("b_dec") && name != "sparsity.state" &&
         name != "input_mean";
}

at::Tensor Autoencoder::weigh_by_chance(const Forward& pass, const at::Tensor& values) const {
  if (!pass.nesting) return values;
  return values * pass.latents.per_entry(pass.nesting->chance.to(values.scalar_type()));
}

Forward Autoencoder::forward(const at::Tensor& x, Step step, const BatchPart& part) const {
  Forward pass;
  pass.x = x;
  pass.totals = part.totals;
  pass.preactivations = part.kept.defined() ? encode_kept(x, encoder(), part.kept, encoding_)
                                            : sae::encode(x, encoder(), rule(x.size(0)), encoding_);
  pass.latents = pass.preactivations.with_values(activate(pass.preactivations));
  pass.kept = pass.latents;
  const bool expected = mask_ && mask_->options().draw == MaskDraw::kExpected;
  if (mask_) pass.inference = mask_->inference_factor();
  if (mask_ && !expected) draw_mask(pass, step);
  // An alias, so that what flows back into it comes from the reconstruction alone.
  pass.kept_for_decoder = pass.kept.with_values(pass.kept.values().view_as(pass.kept.values()));
  if (mask_ && at::GradMode::is_enabled()) pass.kept_for_decoder.values().retain_grad();
  if (expected && mask_->active(step.index)) {
    reconstruct_nested(pass, step);
  } else {
    reconstruct(pass, step);
  }
  return pass;
}

void Autoencoder::draw_mask(Forward& pass, Step step) const {
  pass.mask = mask_->sample(step.seed, step.index);
  pass.kept = pass.latents.with_values(pass.latents.values() * pass.latents.per_entry(pass.mask));
}

void Autoencoder::reconstruct(Forward& pass, Step step) const {
  // Before the warm-up ends both paths are the same, and one of them is enough.
  const bool both = pass.mask.defined() && mask_->options().paths == MaskPaths::kBoth &&
                    mask_->active(step.index);
  pass.reconstructions = both ? reconstructions_of({pass.kept_for_decoder, pass.latents})
                              : reconstructions_of({pass.kept_for_decoder});
  pass.x_hat = pass.reconstructions.back();
}

std::vector<at::Tensor> Autoencoder::reconstructions_of(const std::vector<Codes>& paths) const {
  const std::vector<std::int64_t> widths = prefixes();
  std::vector<at::Tensor> all;
  if (!spread_->splits_latents()) {
    for (const Codes& codes : paths) {
      for (at::Tensor& one : decode_prefixes(codes, widths, W_dec, b_dec, W_dec_copy_)) {
        all.push_back(std::move(one));
      }
    }
    return all;
  }
  // Widths that leave this rank nothing, or nothing more than the one before, are not decoded.
  const std::vector<std::int64_t> below = spread_->own_below(widths);
  std::vector<std::int64_t> distinct;
  for (const std::int64_t width : below) {
    if (width > 0 && (distinct.empty() || width > distinct.back())) distinct.push_back(width);
  }
  const at::Tensor none = at::zeros_like(b_dec);
  std::vector<at::Tensor> parts;
  for (const Codes& codes : paths) {
    const std::vector<at::Tensor> sums = decode_prefixes(codes, distinct, W_dec, none, W_dec_copy_);
    for (const std::int64_t width : below) {
      const auto place = std::lower_bound(distinct.begin(), distinct.end(), width);
      parts.push_back(width > 0 ? sums[static_cast<std::size_t>(place - distinct.begin())]
                                : at::zeros_like(sums.front()).detach());
    }
  }
  // One rank alone has the gradient of b_dec by this way: it adds up over ranks.
  const at::Tensor bias = spread_->mesh().latents.rank() == 0 ? b_dec : b_dec.detach();
  const at::Tensor sums = spread_->sum_latents(at::stack(parts));
  for (const at::Tensor& sum : sums.unbind(0)) all.push_back(sum + bias);
  return all;
}

void Autoencoder::reconstruct_nested(Forward& pass, Step step) const {
  pass.nesting = mask_->nesting(step);
  const Codes active = pass.kept_for_decoder.is_dense()
                           ? pass.kept_for_decoder.where(live(pass.preactivations))
                           : pass.kept_for_decoder;
  const std::vector<std::int64_t> widths = prefixes();
  for (const std::int64_t width : widths) {
    const Codes prefix =
        width == all_latents() ? active : active.where(active.pattern()->indices < width);
    const NestedError nested = sae::nested_error(pass.x, prefix, *pass.nesting, W_dec, b_dec);
    pass.nested_error =
        pass.nested_error.defined() ? pass.nested_error + nested.error : nested.error;
    pass.x_hat = nested.x_hat;
  }
  if (widths.size() > 1) pass.nested_error = pass.nested_error / static_cast<double>(widths.size());
}

at::Tensor Autoencoder::reconstruction_error(const Forward& pass) const {
  if (pass.nested_error.defined()) return pass.nested_error;
  at::Tensor error;
  for (const at::Tensor& reconstruction : pass.reconstructions) {
    const at::Tensor term = squared_error(pass.x, reconstruction);
    error = error.defined() ? error + term : term;
  }
  const auto terms = static_cast<double>(pass.reconstructions.size());
  return terms > 1 ? error / terms : error;
}

Losses Autoencoder::losses(const Forward& pass, Step step) const {
  Losses all{{"reconstruction", reconstruction_error(pass)}};
  for (auto& [name, value] : penalties(pass, step)) all.emplace_back(std::move(name), value);
  const auto& apart = options_.orthogonality;
  if (apart && apart->due(step.index) && !is_frozen(W_dec)) {
    const double weight = apart->coefficient * static_cast<double>(apart->every);
    all.emplace_back("orthogonality", weight * orthogonality_penalty(W_dec, *apart, step));
  }
  return all;
}

std::vector<BatchPart> Autoencoder::plan(const std::vector<at::Tensor>& parts, Step step) const {
  const at::NoGradGuard no_grad;
  std::vector<BatchPart> plan(parts.size());
  select_over_parts(parts, plan);
  if (parts.size() < 2 || !needs_totals()) return plan;
  BatchTotals totals;
  const bool of_token = std::holds_alternative<LargestOfToken>(rule(1));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Forward pass = forward(parts[i], step, plan[i]);
    totals.add(batch_totals(pass));
    // Few enough to be held, which saves the second product.
    if (of_token) plan[i].kept = pass.preactivations.to_sparse();
  }
  totals = whole(totals, *spread_);
  for (BatchPart& part : plan) part.totals = totals;
  return plan;
}

void Autoencoder::select_over_parts(const std::vector<at::Tensor>& parts,
                                    std::vector<BatchPart>& plan) const {
  if (parts.size() < 2 && spread_->is_one()) return;
  std::int64_t tokens = 0;
  for (const at::Tensor& x : parts) tokens += x.size(0);
  const EncodeOptions how{Storage::kSparse, encoding_.screening};
  if (std::holds_alternative<LargestOfBatch>(rule(tokens))) {
    const Spread::Tokens batch = spread_->tokens(tokens);
    const SelectionRule kept = rule(batch.all);
    const auto* of_batch = std::get_if<LargestOfBatch>(&kept);
    LargestOfParts largest(of_batch->count);
    for (const at::Tensor& x : parts) largest.add(sae::encode(x, encoder(), largest.rule(), how));
    std::vector<Codes> found =
        largest_of_batch(*spread_, largest.kept(), of_batch->count, batch.before);
    for (std::size_t i = 0; i < parts.size(); ++i) plan[i].kept = std::move(found[i]);
  }
  const SelectionRule kept = rule(tokens);
  const auto* of_token = std::get_if<LargestOfToken>(&kept);
  if (!of_token || !spread_->splits_latents()) return;
  const LargestOfToken own{std::min(of_token->k, d_sae())};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    plan[i].kept =
        largest_of_token(*spread_, sae::encode(parts[i], encoder(), own, how), of_token->k);
  }
}

BatchTotals Autoencoder::totals_of(const Forward& pass) const {
  return pass.totals ? *pass.totals : whole(batch_totals(pass), *spread_);
}

BatchStatistics Autoencoder::statistics(const Forward& pass, double loss_scale) const {
  return batch_statistics(pass.latents, pass.kept_for_decoder, mask_ != nullptr, loss_scale);
}

void Autoencoder::observe(const BatchStatistics& own, Step step) {
  const at::NoGradGuard no_grad;
  const BatchStatistics batch = whole(own, *spread_);
  const bool known = silent_version_ == silent_tokens_._version();
  silent_tokens_.add_(batch.tokens).masked_fill_(batch.fired > 0, 0);
  if (known) {
    silent_at_most_ += batch.tokens;
    silent_version_ = silent_tokens_._version();
  }
  if (mask_) mask_->observe(batch);
  observe_more(batch, step);
}

at::Tensor Autoencoder::dead() const { return silent_tokens_ >= options_.dead_after_tokens; }

std::int64_t Autoencoder::count_dead() const {
  return spread_->count_latents(dead().sum().item<std::int64_t>());
}

bool Autoencoder::may_be_dead() const {
  if (silent_version_ != silent_tokens_._version()) {
    silent_at_most_ = spread_->most_of_latents(silent_tokens_.max().item<std::int64_t>());
    silent_version_ = silent_tokens_._version();
  }
  return silent_at_most_ >= options_.dead_after_tokens;
}

void Autoencoder::fold_input_scale(double scale) {
  const at::NoGradGuard no_grad;
  b_enc.div_(scale);
  b_dec.div_(scale);
  if (mask_) mask_->fold_input_scale(scale);
  fold_more(scale);
}

}  // namespace sae

#include "sae/evaluation/core.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "sae/base/interrupt.h"
#include "sae/metrics/catalogue.h"
#include "sae/metrics/metric_values.h"
#include "sparse/row_norms.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kShortNorm = 1e-4;  // sae-bench divides by 1 below it
constexpr double kNoSpread = 1e-10;  // of the mean square: what rounding leaves of equal rows

at::Tensor on_cpu(const at::Tensor& t) { return t.detach().to(at::kCPU, at::kDouble).contiguous(); }

double average(const at::Tensor& t) { return t.mean().item<double>(); }

Json list(const at::Tensor& t) {
  Json out = Json::array();
  const auto* value = t.const_data_ptr<double>();
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    out.push_back(to_json(value[i]));
  }
  return out;
}

/// What a batch adds to the sums over batches, [8]; see SaeBenchMetrics.
at::Tensor sums_of_batch(const at::Tensor& x, const at::Tensor& x_hat) {
  const auto n = static_cast<double>(x.size(0));
  const auto sum = [](const at::Tensor& t) { return t.sum(at::kDouble); };
  const auto where = [](const at::Tensor& mask, const at::Tensor& t) {
    return at::where(mask, t, at::zeros({}, t.options()));
  };
  const at::Tensor square = x.square();
  const at::Tensor error = (x - x_hat).square().sum(1);
  const at::Tensor spread = (x - x.mean(0)).square().sum(1);
  const at::Tensor directed = x.norm(2, 1) >= kShortNorm;
  const at::Tensor spreads = directed & (spread > kNoSpread * square.sum(1).mean());
  const at::Tensor bias = sum(x_hat.norm(2, 1).square()) / sum((x * x_hat).sum(1));
  const at::Tensor biased = directed.any() & bias.isfinite();
  return at::stack({sum(error) / n, sum(square) / n, square.mean(at::kDouble), sum(error / n),
                    sum(where(spreads, 1 - error / spread)), sum(spreads), where(biased, bias),
                    biased.to(at::kDouble)});
}

}  // namespace

SaeBenchMetrics::SaeBenchMetrics(std::int64_t d_sae, const at::Tensor& W_dec)
    : d_sae_(d_sae), units_(W_dec.defined() ? decoder_units(W_dec) : at::Tensor()) {}

void SaeBenchMetrics::add(const at::Tensor& x_in, const at::Tensor& x_hat_in, const Codes& codes) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = x_in.detach();
  const at::Tensor x_hat = x_hat_in.detach();
  const at::Tensor values = codes.values().detach();
  const at::Tensor norm = x.norm(2, 1);
  const at::Tensor norm_hat = x_hat.norm(2, 1);
  const at::Tensor directed = norm >= kShortNorm;
  const at::Tensor dot = (x * x_hat).sum(1);
  const at::Tensor none = at::zeros({}, x.options());
  const at::Tensor cosine = at::where(directed & (norm_hat != 0), dot / (norm * norm_hat), none);
  const auto sum = [](const at::Tensor& t) { return t.sum(at::kDouble); };
  const at::Tensor token_sums = at::stack(
      {sum(values != 0), sum(in_decoder_units(codes, units_).values().detach()), sum(norm),
       sum(norm_hat), sum(at::where(directed, norm_hat / norm, none)), sum(cosine), sum(directed)});
  const at::Tensor fired = codes.sum_per_latent((values > 0).to(x.dtype())).to(at::kDouble);
  token_sums_ = tokens_ == 0 ? token_sums : token_sums_ + token_sums;
  fired_ = tokens_ == 0 ? fired : fired_ + fired;
  tokens_ += x.size(0);

  const auto [smaller, larger] = std::minmax({x.size(0), x_.defined() ? x_.size(0) : 0});
  if (smaller > 0 && 2 * smaller < larger) {
    x_ = at::cat({x_, x});
    x_hat_ = at::cat({x_hat_, x_hat});
    return;
  }
  if (x_.defined()) {
    const at::Tensor sums = sums_of_batch(x_, x_hat_);
    batch_sums_ = batches_++ == 0 ? sums : batch_sums_ + sums;
  }
  x_ = x;
  x_hat_ = x_hat;
}

MetricValues SaeBenchMetrics::values() const {
  if (tokens_ == 0) return {};
  const at::NoGradGuard no_grad;
  const at::Tensor last = sums_of_batch(x_, x_hat_);
  const at::Tensor batches = on_cpu(batches_ == 0 ? last : batch_sums_ + last);
  const at::Tensor tokens = on_cpu(token_sums_);
  const auto* token = tokens.const_data_ptr<double>();
  const auto* batch = batches.const_data_ptr<double>();
  const auto n = static_cast<double>(tokens_);
  const auto m = static_cast<double>(batches_ + 1);
  const auto mean = [](double total, double count) { return count > 0 ? total / count : NAN; };
  const double q = batch[2] / m;
  return {{"l0", token[0] / n},
          {"l1", token[1] / n},
          {"l2_norm_in", token[2] / n},
          {"l2_norm_out", token[3] / n},
          {"l2_ratio", mean(token[4], token[6])},
          {"mse", batch[3] / n},
          {"cossim", mean(token[5], token[6])},
          {"explained_variance_legacy", mean(batch[4], batch[5])},
          {"relative_reconstruction_bias", mean(batch[6], batch[7])},
          {"explained_variance", 1 - (batch[0] / m) / (batch[1] / m - q * q)}};
}

at::Tensor SaeBenchMetrics::feature_density() const {
  if (tokens_ == 0) return at::zeros({d_sae_}, at::kDouble);
  return on_cpu(fired_ / static_cast<double>(tokens_));
}

at::Tensor max_cosines(const at::Tensor& rows) {
  const at::NoGradGuard no_grad;
  constexpr std::int64_t kBlock = 512;
  if (rows.size(0) == 1) return at::full({1}, NAN, at::kDouble);
  const at::Tensor unit = unit_rows(rows.detach());
  std::vector<at::Tensor> parts;
  for (std::int64_t begin = 0; begin < unit.size(0); begin += kBlock) {
    check_interrupt();
    at::Tensor cosines = at::mm(unit.slice(0, begin, begin + kBlock), unit.t());
    cosines.diagonal(begin).fill_(-std::numeric_limits<double>::infinity());
    parts.push_back(std::get<0>(cosines.max(1)));
  }
  return on_cpu(at::cat(parts));
}

WeightMetrics weight_metrics(const Autoencoder& sae) {
  const at::NoGradGuard no_grad;
  WeightMetrics out;
  out.encoder_bias = on_cpu(sae.b_enc);
  out.encoder_norm = on_cpu(row_norms(sae.W_enc));
  out.decoder_norm = on_cpu(row_norms(sae.W_dec));
  if (const at::Tensor units = decoder_units(sae.W_dec); units.defined()) {
    out.encoder_bias *= out.decoder_norm;
    out.encoder_norm *= out.decoder_norm;
  }
  out.encoder_decoder_cosine_sim = on_cpu((unit_rows(sae.W_enc) * unit_rows(sae.W_dec)).sum(1));
  out.max_encoder_cosine_sim = max_cosines(sae.W_enc);
  out.max_decoder_cosine_sim = max_cosines(sae.W_dec);
  return out;
}

MetricValues density_metrics(const at::Tensor& density) {
  const double all = density.sum().item<double>();
  MetricValues out = {{"frac_alive", average((density > 0).to(at::kDouble))}};
  for (const int percent : {1, 10}) {
    const std::string name = "freq_over_" + std::to_string(percent) + "_percent";
    // sae-bench compares in float32.
    const at::Tensor above = density.to(at::kFloat) > percent / 100.0;
    out[name] = average(above.to(at::kDouble));
    const double active = (density * above).sum().item<double>();
    out["normalized_" + name] = all > 0 ? active / all : 0;
  }
  return out;
}

Json CoreResult::json() const {
  Json out = to_json(values);
  out["sae_bench"] = to_json(sae_bench);
  out["firing"] = to_json(firing);
  if (!options.latents) return out;
  Json latents = {{"feature_density", list(density)}};
  if (weights) {
    latents["encoder_bias"] = list(weights->encoder_bias);
    latents["encoder_norm"] = list(weights->encoder_norm);
    latents["decoder_norm"] = list(weights->decoder_norm);
    latents["encoder_decoder_cosine_sim"] = list(weights->encoder_decoder_cosine_sim);
    latents["max_encoder_cosine_sim"] = list(weights->max_encoder_cosine_sim);
    latents["max_decoder_cosine_sim"] = list(weights->max_decoder_cosine_sim);
  }
  out["latents"] = std::move(latents);
  return out;
}

CoreResult evaluate_core(const Autoencoder& sae, const Data& data, const EvalOptions& eval,
                         const CoreOptions& options, Evaluation& evaluation) {
  const at::NoGradGuard no_grad;
  SaeBenchMetrics metrics(sae.d_sae(), sae.W_dec);
  evaluation = evaluate(sae, data, eval,
                        [&](const at::Tensor& x, const at::Tensor& x_hat, const Codes& codes) {
                          metrics.add(x, x_hat, codes);
                        });
  CoreResult result;
  result.options = options;
  for (const char* name : kReconstructionMetrics) {
    result.values[name] = evaluation.values.at(name);
  }
  result.sae_bench = metrics.values();
  result.density = metrics.feature_density();
  result.firing = evaluation.firing;
  result.sae_bench.merge(density_metrics(result.density));
  if (!options.weights) return result;
  result.weights = weight_metrics(sae);
  result.sae_bench["average_max_encoder_cosine_sim"] =
      average(result.weights->max_encoder_cosine_sim);
  result.sae_bench["average_max_decoder_cosine_sim"] =
      average(result.weights->max_decoder_cosine_sim);
  return result;
}

}  // namespace sae

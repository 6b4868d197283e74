#include "models/interchange/start.h"

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "sae/models/matryoshka.h"
#include "sae/models/sae_folder.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

/// A threshold of 0 is not trained: its gradient stops there.
constexpr double kLeastThreshold = 1e-6;

/// With rows as an autoencoder of ours has them, and b_dec subtracted.
PlainSae as_ours(const PlainSae& given, bool unit_norm) {
  PlainSae plain = with_subtraction(given, true);
  return unit_norm && !has_unit_decoder(plain) ? with_unit_decoder(std::move(plain)) : plain;
}

/// The same function of input.apply(x): h, b_dec and thresholds grow with the inputs.
PlainSae mapped(PlainSae plain, const InputMap& input) {
  const at::Tensor centred =
      input.mean.defined() ? plain.b_dec - input.mean.to(at::kCPU, at::kFloat) : plain.b_dec;
  plain.b_dec = centred * input.scale;
  plain.b_enc = plain.b_enc * input.scale;
  if (plain.threshold.defined()) plain.threshold = plain.threshold * input.scale;
  return plain;
}

/// [F] what h must exceed for its latent to fire; undefined where that is no number.
at::Tensor thresholds_of(const PlainSae& plain) {
  if (plain.activation == Activation::kTopK) return {};
  if (plain.activation == Activation::kRelu) return at::zeros({plain.d_sae()});
  return plain.threshold.clamp_min(0).expand({plain.d_sae()});
}

/// The rows of `sae`, of this rank, that have a counterpart among `latents`, and which.
struct Common {
  at::Tensor here, there;  // [n] i64
};

Common common_rows(const Autoencoder& sae, std::int64_t latents) {
  const at::Tensor& ids = sae.spread().ids();
  const at::Tensor here = at::nonzero(ids < latents).squeeze(1);
  return {here, ids.index_select(0, here)};
}

void set_thresholds(const Autoencoder& sae, const at::Tensor& thresholds, const Common& rows) {
  for (const auto& [name, tensor] : state_of(sae)) {
    if (name != "threshold" && name != "log_threshold") continue;
    if (tensor.dim() == 0) {  // of BatchTopK: one for all
      tensor.copy_(thresholds.mean(at::kDouble));
      continue;
    }
    const at::Tensor value = thresholds.clamp_min(kLeastThreshold).index_select(0, rows.there);
    tensor.index_copy_(
        0, rows.here.to(tensor.device()),
        (name == "threshold" ? value : value.log()).to(tensor.device(), tensor.scalar_type()));
  }
}

/// Of architectures that fire by thresholds, trained or found.
std::string lost_thresholds(const PlainSae& plain, const std::string& run) {
  const bool one = run == "batch_topk" || run == "matryoshka";
  if (plain.activation == Activation::kTopK) {
    return "its choice of k latents a token is not kept: " +
           std::string(one ? "a threshold is found in the first steps"
                           : "thresholds start at threshold_init");
  }
  const bool varies = plain.activation == Activation::kJumpRelu;
  if (one && varies) {
    return "its thresholds, one a latent, are not kept: one for all starts at their mean";
  }
  return "";
}

/// Of the choice that says which latents fire.
std::string lost_choice(const PlainSae& plain, const Json& model) {
  const std::string run = model.at("architecture").get<std::string>();
  if (run == "standard" || run == "atm") {
    if (plain.activation == Activation::kRelu) return "";
    return std::string(plain.activation == Activation::kTopK ? "its choice of k latents a token is"
                                                             : "its thresholds are") +
           " not kept: every latent with a positive pre-activation fires";
  }
  if (run != "topk") return lost_thresholds(plain, run);
  const auto k = model.at("k").get<std::int64_t>();
  if (plain.activation == Activation::kTopK && plain.k == k) return "";
  return std::string(plain.activation == Activation::kTopK   ? "its k"
                     : plain.activation == Activation::kRelu ? "its ReLU"
                                                             : "its thresholds") +
         (plain.activation == Activation::kTopK ? " " + std::to_string(plain.k) : "") +
         " is not kept: the " + std::to_string(k) + " largest of a token fire";
}

}  // namespace

Notes lost_by(const PlainSae& given, const Json& model) {
  const bool unit = model.at("decoder_norm") == "unit";
  const PlainSae plain = as_ours(given, unit);
  Notes lost;
  const std::string choice = lost_choice(plain, model);
  if (!choice.empty()) lost.push_back(choice);
  if (unit && given.activation == Activation::kTopK && !has_unit_decoder(given)) {
    lost.push_back(
        "its decoder rows are brought to norm 1 and its latents scaled with them, so that its k "
        "largest of a token may be others (decoder_norm: free keeps them)");
  }
  if (!given.widths.empty() && model.contains("widths")) {
    const auto own = matryoshka_widths(model.at("widths").get<std::vector<std::int64_t>>(),
                                       model.at("d_sae").get<std::int64_t>());
    if (own != given.widths) lost.push_back("its nested prefixes are not those of this run");
  }
  return lost;
}

void start_from(Autoencoder& sae, const PlainSae& given, const InputMap& input) {
  const at::NoGradGuard no_grad;
  const PlainSae plain = mapped(as_ours(given, sae.unit_norm_decoder()), input);
  const Common rows = common_rows(sae, plain.d_sae());
  const auto take = [&](at::Tensor& to, const at::Tensor& from) {
    to.index_copy_(0, rows.here.to(to.device()),
                   from.index_select(0, rows.there).to(to.device(), to.scalar_type()));
  };
  take(sae.W_enc, plain.W_enc);
  take(sae.b_enc, plain.b_enc);
  take(sae.W_dec, plain.W_dec);
  sae.b_dec.copy_(plain.b_dec);
  const at::Tensor thresholds = thresholds_of(plain);
  if (thresholds.defined()) set_thresholds(sae, thresholds, rows);
  sae.mark_start();
}

}  // namespace sae

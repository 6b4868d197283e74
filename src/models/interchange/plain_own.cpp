#include <torch/types.h>

#include <algorithm>
#include <string>
#include <utility>

#include "models/interchange/plain_sae.h"
#include "sae/base/error.h"
#include "sae/models/architectures.h"
#include "sae/models/batch_topk.h"
#include "sae/models/jumprelu.h"
#include "sae/models/matryoshka.h"
#include "sae/models/sae_folder.h"
#include "sae/models/standard.h"
#include "sae/models/topk.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

at::Tensor plain_tensor(const at::Tensor& tensor) {
  return tensor.detach().to(at::kCPU, at::kFloat).contiguous();
}

/// Which activation `sae` has, besides its mask.
void set_activation(PlainSae& plain, const Autoencoder& sae, const Json& model) {
  if (dynamic_cast<const Standard*>(&sae) != nullptr) {  // ATM too
    plain.activation = Activation::kRelu;
  } else if (dynamic_cast<const TopK*>(&sae) != nullptr) {
    plain.activation = Activation::kTopK;
    plain.k = std::min(model.at("k").get<std::int64_t>(), sae.d_sae());
  } else if (const auto* jump = dynamic_cast<const JumpRelu*>(&sae)) {
    plain.activation = Activation::kJumpRelu;
    plain.threshold = plain_tensor(jump->threshold());
  } else if (const auto* batch = dynamic_cast<const BatchTopK*>(&sae)) {
    plain.activation = Activation::kBatchTopK;
    plain.threshold = plain_tensor(batch->threshold()).clamp_min(0);
    plain.mean_k = model.at("k").get<double>();
    if (const auto* nested = dynamic_cast<const Matryoshka*>(&sae)) plain.widths = nested->widths();
  } else {
    throw ConfigError("architecture " + model.at("architecture").dump() +
                      ": cannot be converted; no other format has it");
  }
}

/// Multiplies latents by `factor` [F] >= 0: m relu(h) = relu(m h), and m h where h > theta is m h
/// where m h > m theta.
void fold_factor(PlainSae& plain, const at::Tensor& factor) {
  if ((factor == 1).all().item<bool>()) return;
  if (plain.activation == Activation::kTopK) {
    throw ConfigError(
        "a mask at inference on topk: the k latents are picked before they are masked, which no "
        "other format can say; set model.mask.inference to none");
  }
  plain.W_enc = plain.W_enc * factor.unsqueeze(1);
  plain.b_enc = plain.b_enc * factor;
  if (!plain.threshold.defined()) return;
  plain.threshold = plain.threshold * factor;
  plain.activation = Activation::kJumpRelu;
}

}  // namespace

PlainSae plain_from(const Autoencoder& sae, const Json& model) {
  const at::NoGradGuard no_grad;
  PlainSae plain;
  plain.W_enc = plain_tensor(sae.W_enc);
  plain.b_enc = plain_tensor(sae.b_enc);
  plain.W_dec = plain_tensor(sae.W_dec);
  plain.b_dec = plain_tensor(sae.b_dec);
  set_activation(plain, sae, model);
  if (sae.mask()) {
    const at::Tensor factor = sae.mask()->inference_factor();
    if (factor.defined()) fold_factor(plain, plain_tensor(factor));
  }
  return plain;
}

OwnSae own_from(const PlainSae& given) {
  const at::NoGradGuard no_grad;
  const PlainSae plain = with_subtraction(given, true);
  Json model{{"architecture", "standard"}, {"d_in", plain.d_in()}, {"d_sae", plain.d_sae()}};
  model["decoder_norm"] = has_unit_decoder(plain) ? "unit" : "free";
  if (plain.activation == Activation::kTopK) {
    model.update({{"architecture", "topk"}, {"k", plain.k}});
  } else if (plain.activation == Activation::kJumpRelu) {
    model["architecture"] = "jumprelu";
  } else if (plain.activation == Activation::kBatchTopK) {
    model.update({{"architecture", "batch_topk"}, {"k", plain.mean_k}});
    if (!plain.widths.empty()) {
      model.update({{"architecture", "matryoshka"}, {"widths", plain.widths}});
    }
  }
  const ConfigNode config = config_from_json(model, "model");
  OwnSae own{make_autoencoder(config), resolve_model(config)};
  own.sae->W_enc.copy_(plain.W_enc);
  own.sae->b_enc.copy_(plain.b_enc);
  own.sae->W_dec.copy_(plain.W_dec);
  own.sae->b_dec.copy_(plain.b_dec);
  if (plain.threshold.defined()) {
    for (const auto& [name, tensor] : state_of(*own.sae)) {
      if (name == "threshold") tensor.copy_(plain.threshold);
    }
  }
  return own;
}

}  // namespace sae

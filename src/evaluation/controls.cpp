#include "sae/evaluation/controls.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "evaluation/encode_all.h"
#include "sae/config/config_node.h"
#include "sae/evaluation/probes.h"
#include "sae/models/architectures.h"
#include "sae/models/sae_folder.h"
#include "sparse/row_norms.h"

namespace sae {
namespace {

constexpr std::uint64_t kPermutation = std::uint64_t{7} << 40;

/// f = (x - b_dec) W_enc^T + b_enc, of either sign.
class Linear : public Autoencoder {
 public:
  explicit Linear(AutoencoderOptions options) : Autoencoder(std::move(options)) {}

 protected:
  SelectionRule rule(std::int64_t /*batch*/) const override {
    return Above{at::scalar_tensor(-INFINITY)};
  }
  at::Tensor activate(const Codes& preactivations) const override {
    return preactivations.values();
  }
  Losses penalties(const Forward&, Step) const override { return {}; }
};

std::shared_ptr<Autoencoder> linear_control(const at::Tensor& rows, const at::Tensor& center) {
  AutoencoderOptions options;
  options.d_in = rows.size(1);
  options.d_sae = rows.size(0);
  auto control = std::make_shared<Linear>(options);
  control->W_enc.copy_(rows);
  control->W_dec.copy_(rows);
  control->b_dec.copy_(center);
  return control;
}

std::int64_t rounded_l0(const ControlBasis& basis) {
  constexpr std::int64_t kBatch = 1024;
  const std::int64_t tokens = std::min<std::int64_t>(basis.sample.size(0), 16 * kBatch);
  const double l0 = mean_l0(encode_all(*basis.sae, basis.sample.slice(0, 0, tokens), kBatch));
  return std::max<std::int64_t>(1, std::llround(l0));
}

std::shared_ptr<Autoencoder> principal_components(const ControlBasis& basis,
                                                  const at::Tensor& mean) {
  const at::Tensor centered = (basis.sample - mean).to(at::kDouble);
  const at::Tensor covariance = at::mm(centered.t(), centered) / centered.size(0);
  const auto [values, vectors] = at::linalg_eigh(covariance);  // ascending
  const std::int64_t count = std::min(rounded_l0(basis), basis.sample.size(1));
  return linear_control(vectors.slice(1, vectors.size(1) - count).flip(1).t().to(at::kFloat), mean);
}

std::shared_ptr<Autoencoder> random_dictionary(const ControlBasis& basis, const at::Tensor& mean) {
  const std::int64_t k = std::min(rounded_l0(basis), basis.sae->d_sae());
  const nlohmann::ordered_json model = {{"architecture", "topk"},
                                        {"d_in", basis.sae->d_in()},
                                        {"d_sae", basis.sae->d_sae()},
                                        {"k", k}};
  auto control = make_autoencoder(config_from_json(model, "control"));
  control->initialise(basis.seed);
  control->b_dec.copy_(mean);
  return control;
}

std::shared_ptr<Autoencoder> like(const ControlBasis& basis) {
  return make_autoencoder(config_from_json(*basis.model, "model"));
}

std::shared_ptr<Autoencoder> permuted(const ControlBasis& basis) {
  auto control = like(basis);
  const NamedTensors from = state_of(*basis.sae);
  const NamedTensors to = state_of(*control);
  for (std::size_t i = 0; i < from.size(); ++i) to[i].second.copy_(from[i].second);
  const at::Tensor order = random_order(control->d_sae(), basis.seed, kPermutation);
  const at::Tensor rows = control->W_dec.index_select(0, order);
  // Each latent keeps the norm of its row, which says in what unit its activations are.
  const at::Tensor units = decoder_units(control->W_dec);
  control->W_dec.copy_(units.defined() ? unit_rows(rows) * units.unsqueeze(1) : rows);
  return control;
}

std::shared_ptr<Autoencoder> untrained(const ControlBasis& basis, const at::Tensor& mean) {
  auto control = like(basis);
  control->initialise(basis.seed);
  control->b_dec.copy_(mean);
  return control;
}

}  // namespace

std::shared_ptr<Autoencoder> make_control(Control which, const ControlBasis& basis) {
  const at::NoGradGuard no_grad;
  const at::Tensor mean = basis.sample.mean(0);
  const auto control = [&] {
    switch (which) {
      case Control::kIdentity:
        return linear_control(at::eye(basis.sae->d_in()), at::zeros_like(mean));
      case Control::kPca:
        return principal_components(basis, mean);
      case Control::kRandom:
        return random_dictionary(basis, mean);
      case Control::kPermuted:
        return permuted(basis);
      case Control::kUntrained:
        return untrained(basis, mean);
    }
    throw std::invalid_argument("make_control: no such control");
  }();
  control->to(basis.sae->W_enc.device());
  return control;
}

}  // namespace sae

// The published formulas of every architecture in plain, dense, differentiable tensor arithmetic:
// what the sparse implementation must agree with.
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/sae_testing.h"

namespace sae {

struct DensePass {
  at::Tensor f;      // [B, F] before the mask
  at::Tensor kept;   // [B, F]
  at::Tensor x_hat;  // [B, D]
  Losses losses;
};

/// Copies of the parameters, as leaves of a graph of their own.
inline Tensors leaves(const Autoencoder& sae) {
  Tensors out = clones(sae.named_parameters());
  for (auto& [name, value] : out) value.requires_grad_(true);
  return out;
}

/// True at the first `count` entries of `h` along its last dimension, largest first, if positive.
inline at::Tensor largest(const at::Tensor& h, std::int64_t count) {
  const at::Tensor order = at::argsort(h, /*stable=*/true, /*dim=*/-1, /*descending=*/true);
  const at::Tensor keep = at::zeros(h.sizes(), h.options().dtype(at::kBool));
  return keep.scatter(-1, order.narrow(-1, 0, std::min(count, h.size(-1))), true)
      .logical_and(h > 0);
}

class DenseReference {
 public:
  /// `options` are resolved; `mask` [F] is undefined for none; `both`: two reconstructions.
  DenseReference(Json options, Tensors leaves, at::Tensor mask, bool both, at::Tensor dead)
      : options_(std::move(options)),
        p_(std::move(leaves)),
        mask_(std::move(mask)),
        both_(both),
        dead_(std::move(dead)),
        architecture_(options_["architecture"]) {}

  /// Masks in expectation, which take the place of `mask`.
  void nest(const std::optional<Nesting>& nesting) { nesting_ = nesting; }

  DensePass operator()(const at::Tensor& x) {
    DensePass pass;
    h_ = at::mm(x - p_["b_dec"], p_["W_enc"].t()) + p_["b_enc"];
    pass.f = activations();
    pass.kept = mask_.defined() ? pass.f * mask_ : pass.f;
    std::vector<at::Tensor> all = reconstructions(pass.kept);
    if (both_) {
      for (const at::Tensor& one : reconstructions(pass.f)) all.push_back(one);
    }
    pass.x_hat = all.back();
    pass.losses.emplace_back("reconstruction",
                             nesting_ ? nested_error(pass, x) : mean_error(all, x));
    if (options_.contains("sparsity")) pass.losses.emplace_back("sparsity", sparsity(pass));
    if (options_.contains("aux_coefficient")) add_aux_k(pass, x);
    if (options_.value("preact_coefficient", 0.0) > 0) add_preact(pass);
    return pass;
  }

 private:
  at::Tensor norms() {  // [F]
    return options_["decoder_norm"] == "unit" ? at::ones_like(p_["b_enc"])
                                              : p_["W_dec"].square().sum(1).sqrt();
  }
  at::Tensor theta() {
    return p_.count("log_threshold") > 0 ? p_["log_threshold"].exp() : p_["threshold"].relu();
  }

  /// `hard`, with the straight-through slope `slope` in theta.
  at::Tensor straight_through(const at::Tensor& hard, const at::Tensor& slope) {
    return hard + (theta() - theta().detach()) * slope;
  }
  at::Tensor window() {  // K((h - theta) / eps) / eps
    const double eps = options_["bandwidth"];
    const at::Tensor u = (h_ - theta()).detach() / eps;
    return (u.abs() < 0.5).to(at::kDouble) / eps;
  }
  at::Tensor over() { return (h_ > theta()).to(at::kDouble).detach(); }

  at::Tensor activations() {
    if (architecture_ == "jumprelu") {
      return straight_through(h_ * over(), -theta().detach() * window());
    }
    if (!options_.contains("k")) return h_.relu();
    const double k = options_["k"];
    if (architecture_ == "topk") return h_ * largest(h_.detach(), static_cast<std::int64_t>(k));
    const auto count = static_cast<std::int64_t>(k * static_cast<double>(h_.size(0)));
    return h_ * largest(h_.detach().reshape({-1}), std::max<std::int64_t>(count, 1)).view_as(h_);
  }

  std::vector<at::Tensor> reconstructions(const at::Tensor& f) {
    std::vector<std::int64_t> widths{f.size(1)};
    if (options_.contains("widths")) widths = options_["widths"].get<std::vector<std::int64_t>>();
    std::vector<at::Tensor> out;
    for (const std::int64_t w : widths) {
      out.push_back(at::mm(f.narrow(1, 0, w), p_["W_dec"].narrow(0, 0, w)) + p_["b_dec"]);
    }
    return out;
  }

  static at::Tensor mean_error(const std::vector<at::Tensor>& all, const at::Tensor& x) {
    at::Tensor error = at::zeros({}, x.options());
    for (const at::Tensor& one : all) error = error + (x - one).square().sum(1).mean();
    return error / static_cast<double>(all.size());
  }

  /// The mean over every width that a nested dictionary can have, one after the other.
  at::Tensor nested_error(const DensePass& pass, const at::Tensor& x) {
    const at::Tensor q = std::get<0>(nesting_->chance.sort(0, /*descending=*/true));
    at::Tensor error = (1 - q[0]) * mean_error(reconstructions(pass.f * 0), x);
    for (std::int64_t width = 1; width <= q.size(0); ++width) {
      const at::Tensor chance = width < q.size(0) ? q[width - 1] - q[width] : q[width - 1];
      const at::Tensor within = (nesting_->rank < width).to(pass.f.scalar_type());
      error = error + chance * mean_error(reconstructions(pass.f * within), x);
    }
    return error;
  }

  at::Tensor chance() {
    return nesting_ ? nesting_->chance.to(p_["b_enc"].scalar_type()) : at::ones_like(p_["b_enc"]);
  }

  at::Tensor sparsity(const DensePass& pass) {
    const double lambda = options_["sparsity"];
    const std::string kind = options_.value("sparsity_loss", "l1");
    if (kind == "l1") return lambda * (pass.kept * norms() * chance()).sum(1).mean();
    if (kind == "tanh") {
      const double scale = options_["tanh_scale"];
      return lambda * ((scale * pass.kept * norms()).tanh() * chance()).sum(1).mean();
    }
    at::Tensor on = straight_through(over(), -window());
    if (kind == "l0") {
      if (mask_.defined()) on = on * mask_;
      return lambda * (on * chance()).sum(1).mean();
    }
    const at::Tensor l0 = on.sum(1).mean();  // that of inference, which has no mask
    return lambda * (l0 / options_["target_l0"].get<double>() - 1).square();
  }

  void add_aux_k(DensePass& pass, const at::Tensor& x) {
    const double dead = dead_.sum().item<double>();
    if (dead == 0 || options_["aux_coefficient"] == 0) return;
    const double wanted =
        options_["aux_k"].is_null() ? x.size(1) / 2 : options_["aux_k"].get<std::int64_t>();
    const at::Tensor e = (x - pass.x_hat).detach();
    const at::Tensor among = at::where(dead_, h_.detach(), at::zeros_like(h_));
    const at::Tensor f = h_ * largest(among, static_cast<std::int64_t>(wanted));
    const at::Tensor error = (e - at::mm(f, p_["W_dec"])).square().sum();
    at::Tensor loss = options_["aux_coefficient"].get<double>() * error;
    if (options_["aux_normalize"]) {
      loss = loss / (e - e.mean(0)).square().sum();
    } else {
      loss = loss * std::min(1.0, dead / wanted) / x.size(0);
    }
    pass.losses.emplace_back("aux_k", loss);
  }

  void add_preact(DensePass& pass) {
    if (!dead_.any().item<bool>()) return;
    const at::Tensor missing = ((theta() - h_).relu() * norms()) * dead_;
    pass.losses.emplace_back("preact",
                             options_["preact_coefficient"].get<double>() * missing.sum(1).mean());
  }

  Json options_;
  Tensors p_;
  at::Tensor mask_;
  bool both_;
  std::optional<Nesting> nesting_;
  at::Tensor dead_;
  std::string architecture_;
  at::Tensor h_;
};

}  // namespace sae

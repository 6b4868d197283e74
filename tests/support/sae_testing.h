// What the tests of autoencoders share: small models in float64, inputs, snapshots and gradients.
#pragma once

#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sae/base/rng.h"
#include "sae/config/config_node.h"
#include "sae/models/architectures.h"

namespace sae {

using Json = nlohmann::ordered_json;
using Tensors = std::map<std::string, at::Tensor>;

/// Normally distributed numbers, float64; another `index` gives other numbers.
inline at::Tensor normal(at::IntArrayRef shape, std::uint64_t index) {
  at::Tensor out = at::empty(shape, at::kDouble);
  Rng rng(0, Stream::kTest, index);
  auto* value = out.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < out.numel(); ++i) value[i] = rng.normal();
  return out;
}

inline at::Tensor tensor(std::vector<double> values) { return at::tensor(values, at::kDouble); }
inline at::Tensor integers(std::vector<std::int64_t> values) {
  return at::tensor(values, at::kLong);
}

/// Module::to(dtype) would cast integer buffers too, so parameters are converted one by one.
inline void to_double(Autoencoder& sae) {
  for (at::Tensor& parameter : sae.parameters()) parameter.set_data(parameter.to(at::kDouble));
}

/// A float64 model of `model`'s options; W_enc, W_dec and biases are random and all different.
inline std::shared_ptr<Autoencoder> make_sae(const Json& model, std::uint64_t index = 100) {
  std::shared_ptr<Autoencoder> sae = make_autoencoder(config_from_json(model, "test"));
  to_double(*sae);
  const at::NoGradGuard no_grad;
  sae->W_enc.copy_(normal(sae->W_enc.sizes(), index));
  sae->b_enc.copy_(0.3 * normal(sae->b_enc.sizes(), index + 1));
  sae->W_dec.copy_(normal(sae->W_dec.sizes(), index + 2));
  sae->b_dec.copy_(0.3 * normal(sae->b_dec.sizes(), index + 3));
  if (sae->unit_norm_decoder()) sae->W_dec.div_(sae->W_dec.norm(2, 1, true));
  return sae;
}

inline Tensors clones(const torch::OrderedDict<std::string, at::Tensor>& named) {
  Tensors out;
  for (const auto& item : named) out[item.key()] = item.value().detach().clone();
  return out;
}

/// Every parameter and buffer, copied.
inline Tensors snapshot(const Autoencoder& sae) {
  Tensors out = clones(sae.named_parameters());
  out.merge(clones(sae.named_buffers()));
  return out;
}

inline at::Tensor buffer(const Autoencoder& sae, const std::string& name) {
  return sae.named_buffers()[name];
}

inline at::Tensor total(const Losses& losses) {
  at::Tensor sum = losses.front().second;
  for (std::size_t i = 1; i < losses.size(); ++i) sum = sum + losses[i].second;
  return sum;
}

/// Gradients of `loss` in every parameter of `sae`; zeros where a parameter takes no part.
inline Tensors gradients(Autoencoder& sae, const at::Tensor& loss) {
  sae.zero_grad();
  loss.backward();
  Tensors out;
  for (const auto& item : sae.named_parameters()) {
    const at::Tensor& grad = item.value().grad();
    out[item.key()] = grad.defined() ? grad.detach().clone() : at::zeros_like(item.value());
  }
  return out;
}

inline void expect_close(const at::Tensor& got, const at::Tensor& expected,
                         const std::string& what = "", double tolerance = 1e-10) {
  ASSERT_TRUE(got.defined()) << what;
  ASSERT_EQ(got.sizes(), expected.sizes()) << what;
  const at::Tensor difference =
      got.detach().to(at::kCPU, at::kDouble) - expected.detach().to(at::kCPU, at::kDouble);
  if (difference.numel() == 0) return;
  const double scale = 1 + expected.detach().abs().max().to(at::kDouble).item<double>();
  EXPECT_LE(difference.abs().max().item<double>(), tolerance * scale) << what << "\ngot\n"
                                                                      << got << "\nexpected\n"
                                                                      << expected;
}

inline void expect_close(const Tensors& got, const Tensors& expected, const std::string& what = "",
                         double tolerance = 1e-10) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (const auto& [name, value] : expected) {
    expect_close(got.at(name), value, what + " " + name, tolerance);
  }
}

inline void expect_same(const Tensors& got, const Tensors& expected, const std::string& what = "") {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (const auto& [name, value] : expected) {
    EXPECT_TRUE(at::equal(got.at(name), value)) << what << " " << name;
  }
}

inline std::vector<double> numbers(const at::Tensor& t) {
  const at::Tensor flat = t.detach().to(at::kCPU, at::kDouble).reshape({-1}).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

inline std::vector<std::int64_t> indices(const at::Tensor& t) {
  const at::Tensor flat = t.to(at::kCPU, at::kLong).reshape({-1}).contiguous();
  return {flat.const_data_ptr<std::int64_t>(), flat.const_data_ptr<std::int64_t>() + flat.numel()};
}

/// A sparse batch from its dense form: every nonzero entry is stored.
inline Codes sparse_codes(const at::Tensor& dense) { return Codes::from_dense(dense).to_sparse(); }

/// Gives a mask statistics of its own, as if it had seen `updates` steps.
inline void set_mask_statistics(Autoencoder& sae, std::uint64_t index, std::int64_t updates = 7) {
  const at::NoGradGuard no_grad;
  for (const char* name : {"mask.magnitude", "mask.frequency", "mask.contribution"}) {
    at::Tensor signal = buffer(sae, name);
    signal.copy_(normal(signal.sizes(), index++).abs());
  }
  buffer(sae, "mask.updates").fill_(updates);
}

inline void set_storage(Autoencoder& sae, Storage storage) {
  sae.set_encoding({storage, sae.encoding().screening});
}

/// Marks the latents `which` as silent for ever.
inline void kill_latents(Autoencoder& sae, const std::vector<std::int64_t>& which) {
  buffer(sae, "silent_tokens")
      .index_fill_(0, integers(which).to(sae.W_enc.device()), 1'000'000'000);
}

}  // namespace sae

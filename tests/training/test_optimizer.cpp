#include <cmath>

#include "sae/training/optimizer.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

constexpr double kRate = 0.01;

Json standard(const char* norm = "unit", int d_in = 3, int d_sae = 5) {
  return {{"architecture", "standard"}, {"d_in", d_in}, {"d_sae", d_sae}, {"decoder_norm", norm}};
}

/// Adam in float64, written out: what `step` must do to one parameter.
struct Reference {
  at::Tensor parameter, first, second;
  int updates = 0;

  explicit Reference(const at::Tensor& start)
      : parameter(start.detach().clone()),
        first(at::zeros_like(parameter)),
        second(at::zeros_like(parameter)) {}

  void step(const at::Tensor& gradient, const AdamOptions& options) {
    ++updates;
    first = options.beta1 * first + (1 - options.beta1) * gradient;
    second = options.beta2 * second + (1 - options.beta2) * gradient * gradient;
    const at::Tensor m = first / (1 - std::pow(options.beta1, updates));
    const at::Tensor v = second / (1 - std::pow(options.beta2, updates));
    parameter = parameter - kRate * m / (v.sqrt() + options.epsilon);
  }
};

/// Gives every parameter a gradient and returns copies of them.
Tensors set_gradients(Autoencoder& sae, std::uint64_t index, double size = 1) {
  Tensors gradients;
  for (auto& item : sae.named_parameters()) {
    gradients[item.key()] = size * normal(item.value().sizes(), index++);
    item.value().mutable_grad() = gradients[item.key()].clone();
  }
  return gradients;
}

double global_norm(const Tensors& gradients) {
  double square = 0;
  for (const auto& [name, gradient] : gradients) square += gradient.square().sum().item<double>();
  return std::sqrt(square);
}

void expect_steps_of_adam(const char* norm, const AdamOptions& options, double size) {
  const auto sae = make_sae(standard(norm));
  Adam adam(sae, options);
  std::map<std::string, Reference> reference;
  for (const auto& item : sae->named_parameters())
    reference.emplace(item.key(), Reference(item.value()));
  for (std::uint64_t step = 0; step < 3; ++step) {
    Tensors gradients = set_gradients(*sae, 10 * step, size);
    if (sae->unit_norm_decoder()) {
      at::Tensor& gradient = gradients["W_dec"];
      const at::Tensor rows = reference.at("W_dec").parameter;
      gradient = gradient - (gradient * rows).sum(1, true) * rows;
    }
    const double length = global_norm(gradients);
    const bool clips = options.clip_norm > 0 && length > options.clip_norm;
    for (auto& [name, one] : reference) {
      one.step(clips ? gradients[name] * (options.clip_norm / length) : gradients[name], options);
    }
    if (sae->unit_norm_decoder()) {
      at::Tensor& rows = reference.at("W_dec").parameter;
      rows = rows / rows.norm(2, 1, true);
    }
    adam.step(kRate);
    EXPECT_NEAR(adam.gradient_norm().item<double>(), length, 1e-9 * length);
    for (const auto& item : sae->named_parameters()) {
      // The kernel keeps the clipping factor in float32.
      expect_close(item.value(), reference.at(item.key()).parameter, item.key(), 1e-7);
    }
  }
}

TEST(Adam, ProjectsClipsUpdatesAndRenormalisesAsWrittenOut) { expect_steps_of_adam("unit", {}, 1); }

TEST(Adam, LeavesAGradientWithinTheNormAlone) { expect_steps_of_adam("unit", {}, 1e-2); }

TEST(Adam, ClipsNothingAtZero) {
  AdamOptions options;
  options.clip_norm = 0;
  expect_steps_of_adam("unit", options, 1000);
}

TEST(Adam, FreeRowsAreNeitherProjectedNorRenormalised) {
  expect_steps_of_adam("free", {}, 1);
  const auto sae = make_sae(standard("free"));
  Adam adam(sae, {});
  set_gradients(*sae, 3);
  adam.step(kRate);
  EXPECT_GT((sae->W_dec.norm(2, 1) - 1).abs().max().item<double>(), 0.1);
}

TEST(Adam, WorksWithoutMomentum) {
  AdamOptions options;
  options.beta1 = 0;
  options.beta2 = 0.9;
  expect_steps_of_adam("unit", options, 1);
}

TEST(Adam, KeepsUnitRowsOverManySteps) {
  const auto sae = make_sae(standard());
  Adam adam(sae, {});
  for (std::uint64_t step = 0; step < 50; ++step) {
    set_gradients(*sae, step);
    adam.step(0.3);
  }
  expect_close(sae->W_dec.norm(2, 1), at::ones({5}, at::kDouble));
}

TEST(Adam, ParametersWithoutAGradientOnlyCoast) {
  const auto sae = make_sae(standard());
  const at::Tensor before = sae->W_enc.detach().clone();
  Adam adam(sae, {});
  sae->b_enc.mutable_grad() = at::ones_like(sae->b_enc);
  adam.step(kRate);
  EXPECT_TRUE(at::equal(sae->W_enc, before));
  EXPECT_FALSE(sae->b_enc.grad().defined()) << "gradients are dropped after the update";
}

TEST(Adam, ForgetsTheMomentsOfTheGivenLatentsOnly) {
  // As many latents as dimensions: b_dec has as many rows as W_dec and is no row of latents.
  const auto sae = make_sae(standard("unit", 4, 4));
  Adam adam(sae, {});
  set_gradients(*sae, 1);
  adam.step(kRate);
  Tensors before;
  for (const auto& [name, tensor] : adam.state()) before[name] = tensor.clone();
  adam.forget(integers({1, 3}));
  for (const auto& [name, tensor] : adam.state()) {
    const bool of_latents = !name.starts_with("b_dec") && !name.ends_with(".updates");
    for (std::int64_t row = 0; row < 4 && tensor.dim() > 0; ++row) {
      if (of_latents && row % 2 == 1) {
        EXPECT_EQ(tensor[row].abs().max().item<double>(), 0) << name << " " << row;
      } else {
        EXPECT_TRUE(at::equal(tensor[row], before[name][row])) << name << " " << row;
      }
    }
    if (tensor.dim() == 0) {
      EXPECT_TRUE(at::equal(tensor, before[name])) << name;
    }
  }
}

TEST(Adam, StateNamesEveryParameterAndSharesMemory) {
  const auto sae = make_sae(standard());
  Adam adam(sae, {});
  const auto state = adam.state();
  EXPECT_EQ(state.size(), 3 * sae->parameters().size());
  set_gradients(*sae, 1);
  adam.step(kRate);
  for (const auto& [name, tensor] : state) {
    EXPECT_GT(tensor.abs().max().item<double>(), 0) << name;
  }
}

}  // namespace
}  // namespace sae

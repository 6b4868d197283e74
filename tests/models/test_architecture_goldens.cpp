// Against numbers that scripts/make_goldens.py computed in PyTorch from the published formulas.
#include <gtest/gtest.h>

#include <fstream>

#include "support/sae_testing.h"

namespace sae {
namespace {

/// A number or nested lists of numbers, float64.
at::Tensor from_json(const Json& value) {
  std::vector<std::int64_t> shape;
  for (const Json* level = &value; level->is_array(); level = &level->front()) {
    shape.push_back(static_cast<std::int64_t>(level->size()));
  }
  std::vector<double> numbers;
  for (const Json& number : value.flatten()) numbers.push_back(number.get<double>());
  return tensor(numbers).reshape(shape);
}

void load(Autoencoder& sae, const Json& golden) {
  const at::NoGradGuard no_grad;
  for (auto& item : sae.named_parameters()) {
    item.value().copy_(from_json(golden["parameters"].at(item.key())));
  }
  for (auto& item : sae.named_buffers()) {
    const std::string name = item.key().substr(item.key().rfind('.') + 1);
    if (golden["state"].contains(name)) item.value().copy_(from_json(golden["state"][name]));
  }
}

void expect_equals(const Json& golden, Storage storage) {
  const std::shared_ptr<Autoencoder> sae = make_sae(golden["model"]);
  set_storage(*sae, storage);
  load(*sae, golden);
  const Step step{golden["step"]["index"], golden["step"]["seed"]};
  const Json& expected = golden["expected"];
  const Forward pass = sae->forward(from_json(golden["x"]), step);
  if (pass.mask.defined()) expect_close(pass.mask, from_json(expected["mask"]), "mask");
  expect_close(pass.latents.to_dense(), from_json(expected["f"]), "f");
  expect_close(pass.x_hat, from_json(expected["x_hat"]), "x_hat");

  const Losses losses = sae->losses(pass, step);
  ASSERT_EQ(losses.size(), expected["losses"].size());
  for (const auto& [name, value] : losses) {
    expect_close(value, from_json(expected["losses"].at(name)), name);
  }
  const Tensors gradient = gradients(*sae, total(losses));
  ASSERT_EQ(gradient.size(), expected["gradients"].size());
  for (const auto& [name, value] : gradient) {
    expect_close(value, from_json(expected["gradients"].at(name)), "gradient of " + name);
  }

  sae->observe(sae->statistics(pass), step);
  for (const auto& [name, value] : expected["after"].items()) {
    expect_close(buffer(*sae, name), from_json(value), name + " after the step", 1e-6);
  }
}

TEST(ArchitectureGoldens, AgreeWithPyTorchInFloat64) {
  std::ifstream file(SAE_SOURCE_DIR "/tests/golden/architectures.json");
  const Json goldens = Json::parse(file);
  ASSERT_EQ(goldens.size(), 27U);
  for (const Json& golden : goldens) {
    for (const Storage storage : {Storage::kSparse, Storage::kDense}) {
      SCOPED_TRACE(golden["name"].get<std::string>() +
                   (storage == Storage::kSparse ? ", sparse" : ", dense"));
      expect_equals(golden, storage);
    }
  }
}

}  // namespace
}  // namespace sae

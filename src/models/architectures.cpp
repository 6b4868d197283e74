#include "sae/models/architectures.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/fields_json.h"
#include "sae/models/atm.h"
#include "sae/models/batch_topk.h"
#include "sae/models/jumprelu.h"
#include "sae/models/matryoshka.h"
#include "sae/models/standard.h"
#include "sae/models/topk.h"

namespace sae {
namespace {

template <class Sae>
Architecture row(std::string summary) {
  using Options = typename Sae::Options;
  return {Sae::kArchitecture, std::move(summary), describe_fields<Options>(),
          [](const ConfigNode& model) { return write_fields(read_fields<Options>(model)); },
          [](const ConfigNode& model) -> std::shared_ptr<Autoencoder> {
            return std::make_shared<Sae>(read_fields<Options>(model));
          }};
}

}  // namespace

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> table = {
      row<Standard>("ReLU with an L1 penalty"),
      row<TopK>("the k largest latents of each token"),
      row<BatchTopK>("the k * B largest latents of each batch"),
      row<Matryoshka>("BatchTopK whose prefixes reconstruct on their own"),
      row<JumpRelu>("a trained threshold for each latent"),
      row<Atm>("ReLU with an L1 penalty and an adaptive temporal mask"),
  };
  return table;
}

std::vector<std::string> architecture_names() {
  std::vector<std::string> names;
  for (const Architecture& architecture : architectures()) names.push_back(architecture.name);
  return names;
}

const Architecture& find_architecture(const ConfigNode& model) {
  const std::string name = model.string_at("architecture", architecture_names());
  return *std::find_if(architectures().begin(), architectures().end(),
                       [&](const Architecture& one) { return one.name == name; });
}

nlohmann::ordered_json resolve_model(const ConfigNode& model) {
  const Architecture& architecture = find_architecture(model);
  nlohmann::ordered_json resolved{{"architecture", architecture.name}};
  resolved.update(architecture.resolve(model.without({"architecture"})));
  return resolved;
}

std::shared_ptr<Autoencoder> make_autoencoder(const ConfigNode& model) {
  return find_architecture(model).make(model.without({"architecture"}));
}

}  // namespace sae

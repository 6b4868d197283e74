// Where in a language model, and on which text, a store's activations and an autoencoder belong.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "sae/data/store.h"

namespace sae {

/// What is unknown is empty, or 0.
struct FeaturesOrigin {
  std::string model;       ///< as the store names it
  std::string hook;        ///< in TransformerLens' words
  std::string hook_point;  ///< the module inside the base model, as sparsify and Delphi name it
  std::int64_t layer = 0;
  std::string dataset;  ///< on one line
};

/// From the store's manifest, and what that leaves open from the autoencoder's config.json.
FeaturesOrigin origin_of(const ActivationStore& store, const nlohmann::ordered_json& config);

/// How a store's rows are cut into contexts: rows in a row with the same number. Without numbers
/// the whole store is one.
struct Contexts {
  std::int64_t count = 0, longest = 0;
};
Contexts contexts_of(const ActivationStore& store);

}  // namespace sae

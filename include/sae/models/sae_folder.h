// An autoencoder in a folder: config.json and sae.safetensors, all that inference needs.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "sae/formats/safetensors.h"
#include "sae/models/autoencoder.h"
#include "sae/models/input_map.h"

namespace sae {

/// Every parameter and buffer of the autoencoder under its own name, as tensors that share memory.
NamedTensors state_of(const Autoencoder& sae);

/// Copies the tensors of `file` into the autoencoder. Names, shapes and types must be exactly
/// those of `state_of`; DataError otherwise, before anything has been changed.
void load_state(Autoencoder& sae, const SafetensorsFile& file);

/// Writes the folder `folder` (aside, then renamed). `model` is the resolved model group;
/// `input`, what it was trained on, is folded in, so that the result takes raw activations.
/// `provenance` holds "source" (of the data) and "training" (the resolved configuration).
void save_sae(const std::filesystem::path& folder, const Autoencoder& sae,
              const nlohmann::ordered_json& model, const InputMap& input,
              const nlohmann::ordered_json& provenance);

struct SaeFolder {
  std::shared_ptr<Autoencoder> sae;
  std::shared_ptr<const nlohmann::ordered_json> config;  ///< the whole config.json
};

/// Reads such a folder; DataError if it is anything else. See training/open.h for other paths.
SaeFolder load_sae(const std::filesystem::path& folder);

}  // namespace sae

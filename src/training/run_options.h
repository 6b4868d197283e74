// The model group of a run, whose width may be left to the data.
#pragma once

#include <cstdint>

#include "sae/config/config_node.h"

namespace sae {

/// Whether the model group leaves its width to the data.
bool wants_width(const ConfigNode& model);

/// The model group with d_in filled in from the data; ConfigError if it says another.
ConfigNode complete_model(const ConfigNode& model, std::int64_t d_in);

}  // namespace sae

// Reading a run's configuration piece by piece; read_run (run.h) does all of it.
#pragma once

#include <cstdint>

#include "sae/config/config_node.h"
#include "sae/training/run.h"

namespace sae {

/// Whether the model group leaves its width to the data.
bool wants_width(const ConfigNode& model);

/// The model group with d_in filled in from the data; ConfigError if it says another.
ConfigNode complete_model(const ConfigNode& model, std::int64_t d_in);

/// Reads all of it strictly, without asking whether the options agree with each other and the data:
/// for configurations that were asked that before.
RunOptions read_recorded_run(const ConfigNode& document);

}  // namespace sae

// An autoencoder that starts with the weights of another one, whoever made that.
#pragma once

#include <nlohmann/json.hpp>

#include "models/interchange/plain_sae.h"
#include "models/interchange/tool_config.h"
#include "sae/models/input_map.h"

namespace sae {

/// What of `plain` an autoencoder of the resolved options `model` cannot keep, a line each: it
/// chooses other latents to fire, or has no place for thresholds. The weights it keeps.
Notes lost_by(const PlainSae& plain, const nlohmann::ordered_json& model);

/// Gives the first latents of `sae`, those of `plain` in their order, its weights, and thresholds
/// where both have them; the others stay as they are. `sae` then computes of input.apply(x) what
/// `plain` computes of x, the reverse of fold_input. Where rows of its decoder have norm 1, latents
/// are scaled with theirs, which keeps the reconstruction. `plain` has as many inputs, and no more
/// latents.
void start_from(Autoencoder& sae, const PlainSae& plain, const InputMap& input);

}  // namespace sae

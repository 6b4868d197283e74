// The model card of an SAE in SAELens' folder: README.md, which the Hugging Face Hub shows.
//
// Front matter as the hub reads it (library_name, tags, base_model), then what is known of the SAE.
// What is not known is left out: no licence, no numbers, no model.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "models/interchange/plain_sae.h"

namespace sae {

/// `metadata` is that of cfg.json. Names in it may be anything; none becomes more than a name.
std::string saelens_card(const PlainSae& plain, const nlohmann::ordered_json& metadata);

}  // namespace sae

// What a run over ranks does besides stepping: agreeing, and the whole of what each has a part of.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "sae/data/fingerprint.h"
#include "sae/distributed/group.h"
#include "sae/models/autoencoder.h"
#include "sae/training/run.h"

namespace sae {

/// ConfigError for what cannot be trained over these ranks.
void require_sharable(const RunOptions& options, const Mesh& mesh);

/// What must be the same on all ranks: every option but where files lie, the data, what computes.
Facts facts_of_run(const nlohmann::ordered_json& config, const std::optional<DataFingerprint>& data,
                   bool resume);

/// All of an autoencoder, on rank 0; on the others, and where latents are not split, this part.
std::shared_ptr<Autoencoder> whole_autoencoder(const std::shared_ptr<Autoencoder>& part,
                                               const nlohmann::ordered_json& model);

/// What of a saved autoencoder is this rank's.
std::shared_ptr<Autoencoder> saved_part(const std::filesystem::path& folder,
                                        const nlohmann::ordered_json& model, const Mesh& mesh);

}  // namespace sae

// What the folder of a run says about the run, and whether that is the run that is asked for.
//
//     config.json   the resolved configuration
//     data.json     {"format": "sae-data", "version": 1, "train": ..., "held_out": ..., "inputs":
//                   ...}: what the data were (fingerprint.h) and what their first tokens were like
//                   (input_statistics.h)
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "sae/data/fingerprint.h"
#include "sae/training/input_statistics.h"

namespace sae {

/// What a resolved configuration is without where it is computed: two of one identity give the same
/// run.
nlohmann::ordered_json run_identity(nlohmann::ordered_json config);

/// Whether the folder is absent or holds nothing that is seen; ConfigError if it is no folder.
bool is_fresh(const std::filesystem::path& folder);

/// The configuration of the folder's run; options that it does not know have their defaults.
nlohmann::ordered_json recorded_config(const std::filesystem::path& folder);

/// What the run's data were; nothing in folders of old.
std::optional<DataFingerprint> recorded_data(const std::filesystem::path& folder);

/// What the activations were like that the run was calibrated on; nothing in folders of old.
std::optional<InputStatistics> recorded_inputs(const std::filesystem::path& folder);

/// Writes both files, as far as they do not say so already.
void record_run(const std::filesystem::path& folder, const nlohmann::ordered_json& config,
                const std::optional<DataFingerprint>& data,
                const std::optional<InputStatistics>& inputs);

/// Steps that a resolved configuration asks for.
std::int64_t planned_steps(const nlohmann::ordered_json& config);

/// ConfigError unless the folder holds the run of `config`, which may ask for more steps and, where
/// its data are known to be the same, for data elsewhere; `d_in` may be null. DataError if it was
/// trained on other data than `data`. Returns what was recorded about the data.
std::optional<DataFingerprint> require_same_run(const std::filesystem::path& folder,
                                                nlohmann::ordered_json config,
                                                const std::optional<DataFingerprint>& data);

}  // namespace sae

// The autoencoder that a run is to start from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/interchange/plain_sae.h"
#include "sae/base/notice.h"
#include "sae/distributed/group.h"
#include "sae/training/run.h"
#include "sae/training/start.h"

namespace sae {

/// It, and what there is to say about it.
struct Start {
  PlainSae plain;
  StartedFrom from;
  std::vector<Notice> notices;
};

/// Reads the one that `train.from` names; nothing where that names none. ConfigError for one that a
/// run of these options on inputs of width `d_in` cannot start from; DataError where there is none,
/// or a damaged one.
std::optional<Start> read_start(const RunOptions& options, std::int64_t d_in);

/// Whether a run in this folder would still need it: it has no checkpoint to go on from.
bool needs_start(const std::filesystem::path& folder);

/// What all ranks must agree on of it.
Facts facts_of_start(const StartedFrom& from);

}  // namespace sae

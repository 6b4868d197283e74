// What seeds of one member share: consistency.h between the runs of a comparison that differ in
// nothing but the seed.
#pragma once

#include <filesystem>
#include <vector>

#include "comparison/preflight.h"
#include "comparison/training.h"
#include "sae/results/results.h"

namespace sae {

/// Adds the consistency metrics to the finished runs of each group of two or more: the mean over a
/// run's pairs, which are the group's runs in a ring by seed. A latent fires if it does on the
/// held-out tokens of the run's evaluation. What was measured is kept in `folder`/consistency.json
/// and is not measured again for the same weights.
void measure_consistency(const std::vector<Entrant>& entrants, ComparisonData& data,
                         const std::filesystem::path& folder, ComparisonResult& result);

}  // namespace sae

// Waves: how many of a comparison's runs are in memory at once, on each of its devices.
//
// Every queue (plan.h) takes its runs cohort by cohort and in their order, as many at a time as fit
// the memory limit, and trains such a wave to its end before it opens the next. A run's results do
// not depend on which wave it is in: it is fed the same batches.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comparison/training.h"

namespace sae {

/// Bytes of a cohort's batches: those trained on, those drawn meanwhile, and what draws them.
std::int64_t batch_memory(const Cohort& cohort);

/// Before hours of training: ConfigError if a run cannot fit into what memory its device has at
/// all; what to warn of if one exceeds the limit, else "".
std::string check_memory(const ComparisonPlan& plan, const std::vector<Cohort>& cohorts);

/// Trains all cohorts, on `threads` threads in all. `after_chunk` is called by one queue at a time,
/// when the entrants' `done` have been brought up to date; it returns whether to go on. False if it
/// said no: every run has been saved.
bool train_in_waves(const ComparisonPlan& plan, const std::vector<Cohort>& cohorts,
                    std::size_t threads, const std::function<bool()>& after_chunk);

}  // namespace sae

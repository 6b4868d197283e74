// Training of a comparison's runs: those whose data agree are fed the same batches, each drawn
// once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sae/comparison/plan.h"
#include "sae/data/data.h"
#include "sae/training/run.h"

namespace sae {

/// A planned run while it is being trained.
struct Entrant {
  const PlannedRun* plan = nullptr;
  std::filesystem::path folder;
  std::unique_ptr<TrainingRun> run;  ///< while it is computed on
  std::string failure;    ///< why it diverged; kept in its folder: it would diverge again
  std::int64_t done = 0;  ///< steps, for whoever watches
  bool ours = true;       ///< false: another process's share

  bool training() const { return run && failure.empty() && !run->finished(); }
  std::int64_t steps() const { return plan->options.train.train.total_steps(); }
  bool over() const { return done >= steps(); }
};

/// Runs that can be fed the same batches.
struct Cohort {
  Data data;
  std::int64_t batch = 0;
  std::vector<Entrant*> entrants;

  std::int64_t chunk() const;  ///< batches that are drawn at a time
};

/// Runs of one key see the same data in the same order and batches.
std::string data_key(const PlannedRun& run);

/// The run and what its folder says about how it went before.
Entrant make_entrant(const PlannedRun& run, const std::filesystem::path& folder);

class ComparisonData;

/// The runs of ours that are still to be trained.
std::vector<Cohort> make_cohorts(std::vector<Entrant>& entrants, ComparisonData& data);

/// Trains `wave`, some runs of the cohort, on `threads` threads, and saves their results, or their
/// checkpoints if `after_chunk` says stop (false, and so is what this returns). What goes wrong
/// with one run is thrown when the others have been saved; divergence is recorded and stops no
/// other.
bool train_wave(const Cohort& cohort, const std::vector<Entrant*>& wave, std::size_t threads,
                const std::function<bool()>& after_chunk);

}  // namespace sae

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
  std::unique_ptr<TrainingRun> run;
  std::string failure;  ///< why it diverged; kept in its folder: it would diverge again

  bool training() const { return run && failure.empty() && !run->finished(); }
  std::int64_t steps() const { return plan->options.train.train.total_steps(); }
};

/// Runs that can be fed the same batches.
struct Group {
  Data data;
  std::int64_t batch = 0;
  std::vector<Entrant*> entrants;
};

/// Runs of one key see the same data in the same order and batches.
std::string data_key(const PlannedRun& run);

/// The run and what its folder says about how it went before.
Entrant make_entrant(const PlannedRun& run, const std::filesystem::path& folder);

/// The runs that are still to be trained.
std::vector<Group> make_groups(std::vector<Entrant>& entrants);

/// Trains a group, saves its runs' results, or their checkpoints if `after_chunk` says stop (false,
/// and so is what this returns).
bool train_group(Group& group, std::size_t threads, std::function<bool()> after_chunk);

}  // namespace sae

// What a comparison looks at before the first step of any of its runs: everything that a run, its
// evaluation or a result kept from before could fail for only hours later.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "comparison/training.h"
#include "sae/base/notice.h"
#include "sae/data/data.h"

namespace sae {

class RunEvaluator;

/// The data of the runs, each opened once. May be asked from several threads at once.
class ComparisonData {
 public:
  const Data& of(const PlannedRun& run);

 private:
  std::mutex mutex_;
  std::map<std::string, Data> opened_;
};

/// Opens the data of every run of ours that is to be trained or, with an `evaluator`, evaluated.
/// Throws what such a run would throw: for data that it cannot be trained or evaluated on, for
/// folders that hold another run, for a disk without room. DataError too if runs that are kept were
/// trained on other data than the others are, or than the data are now. Returns what is worth
/// saying.
std::vector<Notice> check_before_training(const std::filesystem::path& folder,
                                          const std::vector<Entrant>& entrants,
                                          RunEvaluator* evaluator, ComparisonData& data);

}  // namespace sae

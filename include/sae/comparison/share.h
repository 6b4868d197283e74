// One process's part of a comparison, where many processes train its runs into one folder:
//
//     sae compare CONFIG --out SHARED --share 3/16     # one of 16, on any machine, at any time
//     sae compare CONFIG --out SHARED                  # when all have ended: the rest and the
//     report
//
// Which runs are whose is fixed by the configuration alone: nothing is negotiated, no process waits
// for another, and a share that was killed goes on when it is started again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sae/comparison/plan.h"

namespace sae {

struct Share {
  std::int64_t index = 1;  ///< 1 .. count
  std::int64_t count = 1;

  bool is_whole() const { return count == 1; }
};

/// "3/16"; ConfigError for anything else than 1/n to n/n.
Share share_named(const std::string& text);
std::string name_of(const Share& share);

/// Which of the plan's runs, ascending: every `count`-th, beginning with the `index`-th, of all
/// runs by falling cost (latents x tokens; equal ones as they come), so that shares cost about the
/// same. Empty where there are fewer runs than shares.
std::vector<std::size_t> runs_of(const ComparisonPlan& plan, const Share& share);

}  // namespace sae

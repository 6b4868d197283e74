// A comparison: many runs on the same batches, and what they show side by side. plan.h says what a
// configuration asks for.
//
// The folder that it makes holds runs/<name>/ (run.h; with evaluation.json, in the form of
// `sae eval --json`), controls/, comparison.json, consistency.json, results.json,
// results.csv, results.md, report.html and, where there are axes, axes-<name>.svg.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "sae/base/notice.h"
#include "sae/comparison/plan.h"
#include "sae/comparison/share.h"
#include "sae/results/results.h"

namespace sae {

struct CompareHooks {
  /// After every chunk of steps: steps done and to do over all runs, and how many have finished.
  std::function<void(std::int64_t done, std::int64_t total, std::int64_t finished)> on_progress =
      {};
  /// After every evaluation of a run or a control.
  std::function<void(std::int64_t done, std::int64_t total)> on_evaluation = {};
  std::function<bool()> should_stop = {};  ///< asked then, as is interrupt_requested()
  NoticeHandler on_notice = {};            ///< before the first step of any run
};

struct CompareOutcome {
  bool finished = false;    ///< false: stopped; the same command goes on from here
  ComparisonResult result;  ///< of a share: its own runs alone
};

/// Trains what has not been trained yet, evaluates what has not been evaluated so yet, and writes
/// results and report. Runs whose data agree are trained on the same batches, in waves of as many
/// runs as fit into memory, each batch drawn once a wave; several devices share the runs. Neither
/// changes a result. A run that diverges is recorded as failed and does not stop the others. What a
/// run or its evaluation could fail for at its end is looked at before the first step of any. Told
/// to stop while it trains, it saves every run and returns; interrupted otherwise, it throws
/// Interrupted, and what was finished is kept. With a `share` it does so for the share's runs
/// alone, and writes neither results nor report: who has the whole does, of all runs that are
/// there.
///
/// ConfigError if `folder` holds another comparison or is written by another process; DataError if
/// runs that are kept in it were trained on other data than the others are, or than the data are
/// now.
CompareOutcome compare(const ComparisonPlan& plan, const std::filesystem::path& folder,
                       const std::string& command, const CompareHooks& hooks = {},
                       const Share& share = {});

}  // namespace sae

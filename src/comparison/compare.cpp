#include "sae/comparison/compare.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/parallel.h"
#include "comparison/consistency.h"
#include "comparison/evaluation.h"
#include "comparison/folder.h"
#include "comparison/preflight.h"
#include "comparison/training.h"
#include "comparison/waves.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/interrupt.h"
#include "sae/base/version.h"
#include "sae/evaluation/ranking.h"
#include "sae/report/report.h"
#include "training/run_record.h"
#include "training/run_summary.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
RunResult result_of(const Entrant& entrant) {
  RunResult result;
  result.name = entrant.plan->name;
  result.member = entrant.plan->member;
  result.point = entrant.plan->point;
  result.seed = entrant.plan->options.basics.seed;
  result.history = thinned(read_metrics(entrant.folder / "metrics.jsonl"));
  if (!entrant.failure.empty()) {
    result.done = false;
    result.message = entrant.failure;
    return result;
  }
  RunSummary summary = read_summary(entrant.folder);
  result.metrics = std::move(summary.metrics);
  for (const auto& [name, value] : result.metrics) {
    if (renamed_to(name).empty()) continue;
    throw DataError(entrant.folder.string() +
                    ": was evaluated by an earlier version of sae, whose " + name + " is now " +
                    renamed_to(name) +
                    " and rests on other parent features; remove the folder to train and evaluate "
                    "it anew, or choose another --out");
  }
  result.firing = std::move(summary.firing);
  result.wall_s = summary.wall_s;
  // What training measured against a world's features.
  if (result.metrics.contains(metric::kTrueL0)) {
    const std::string why = why_degenerate(result.metrics, latents_of(result.firing));
    if (!why.empty()) result.unranked["truth"] = why;
  }
  return result;
}

ComparisonResult gather(const ComparisonPlan& plan, const std::vector<Entrant>& entrants,
                        const std::string& command) {
  ComparisonResult result;
  result.title = plan.basics.title;
  result.settings = plan.settings;
  result.command = command;
  result.versions = {{"sae", kVersion}, {"libtorch", kTorchVersion}};
  result.members = plan.members;
  for (const Entrant& entrant : entrants) {
    result.runs.push_back(entrant.ours ? result_of(entrant) : RunResult{});
  }
  return result;
}

void report_progress(const std::vector<Entrant>& entrants, const CompareHooks& hooks) {
  if (!hooks.on_progress) return;
  std::int64_t done = 0, total = 0, finished = 0;
  for (const Entrant& one : entrants) {
    if (!one.ours) continue;
    done += one.done;
    total += one.steps();
    finished += one.over() ? 1 : 0;
  }
  hooks.on_progress(done, total, finished);
}

}  // namespace

CompareOutcome compare(const ComparisonPlan& plan, const fs::path& folder,
                       const std::string& command, const CompareHooks& hooks, const Share& share) {
  const ComparisonFolder own(plan, folder, share);
  std::vector<Entrant> entrants;
  for (const PlannedRun& run : plan.runs) {
    entrants.push_back(make_entrant(run, folder / "runs" / run.name));
  }
  if (!share.is_whole()) {
    for (Entrant& one : entrants) one.ours = false;
    for (const std::size_t i : runs_of(plan, share)) entrants[i].ours = true;
  }
  const auto threads = static_cast<std::size_t>(threads_for(plan.basics.jobs));
  // Words that cannot be evaluated are found before hours of training, not after.
  std::optional<RunEvaluator> evaluator;
  if (plan.evaluation) {
    const OneThread one_thread;  // its ground truth is the same on every machine
    evaluator.emplace(*plan.evaluation);
  }
  const auto after_chunk = [&] {
    report_progress(entrants, hooks);
    return !interrupt_requested() && !(hooks.should_stop && hooks.should_stop());
  };
  const auto tell = [&](const Notice& notice) {
    if (hooks.on_notice) hooks.on_notice(notice);
  };
  ComparisonData data;
  const std::vector<Cohort> cohorts = make_cohorts(entrants, data);
  const std::string warning = check_memory(plan, cohorts);
  if (!warning.empty()) tell({Notice::Kind::kWarning, warning});
  for (const Notice& notice :
       check_before_training(folder, entrants, evaluator ? &*evaluator : nullptr, data)) {
    tell(notice);
  }
  own.claim();
  if (!train_in_waves(plan, cohorts, threads, after_chunk)) return {};
  CompareOutcome outcome{true, gather(plan, entrants, command)};
  if (evaluator &&
      !evaluate_runs(plan, *evaluator, entrants, data, folder, threads, hooks, outcome.result)) {
    return {};
  }
  if (!share.is_whole()) {
    std::erase_if(outcome.result.runs, [](const RunResult& run) { return run.name.empty(); });
    return outcome;
  }
  measure_consistency(entrants, data, folder, outcome.result);
  write_file_atomically(folder / "results.json", to_json(outcome.result) + "\n");
  write_file_atomically(folder / "results.csv", to_csv(outcome.result));
  write_file_atomically(folder / "results.md", to_markdown(outcome.result));
  write_file_atomically(folder / "report.html", render_report(outcome.result));
  for (const auto& [name, text] : axes_files(outcome.result)) {
    write_file_atomically(folder / name, text);
  }
  return outcome;
}

}  // namespace sae

#include "sae/comparison/compare.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/parallel.h"
#include "comparison/evaluation.h"
#include "comparison/preflight.h"
#include "comparison/training.h"
#include "comparison/waves.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/folder_lock.h"
#include "sae/base/interrupt.h"
#include "sae/base/version.h"
#include "sae/evaluation/ranking.h"
#include "sae/report/report.h"
#include "training/run_record.h"
#include "training/run_summary.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json read_json(const fs::path& path) {
  try {
    return Json::parse(read_file(path));
  } catch (const Json::exception& error) {
    throw DataError(path.string() + ": " + error.what());
  }
}

/// What all runs of a comparison share, which must agree for it to go on.
Json common_to_all(const Json& settings) {
  const Json base = settings.value("base", Json());
  return base.is_object() ? run_identity(base) : base;
}

fs::path record_of(const fs::path& folder) { return folder / "comparison.json"; }

/// Whether nothing is there but what those leave who were refused or killed before they trained:
/// folders of runs without anything in them that is seen.
bool nothing_begun(const fs::path& folder) {
  if (is_fresh(folder)) return true;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(".")) continue;
    if (name != "runs" || !entry.is_directory()) return false;
    const fs::directory_iterator runs(entry.path());
    const auto fresh = [](const auto& run) { return run.is_directory() && is_fresh(run.path()); };
    if (!std::all_of(begin(runs), end(runs), fresh)) return false;
  }
  return true;
}

/// ConfigError unless the folder is new, or one that this comparison was started in before.
/// Members, levels and seeds may come and go; that a run is what it was is looked at before
/// training.
void require_own_folder(const ComparisonPlan& plan, const fs::path& folder) {
  const fs::path record = record_of(folder);
  if (fs::exists(record)) {
    if (common_to_all(read_json(record)) != common_to_all(*plan.settings)) {
      throw ConfigError(folder.string() +
                        ": holds a comparison with another base; choose another --out");
    }
    return;
  }
  if (!nothing_begun(folder)) {
    throw ConfigError(folder.string() + ": exists and is no comparison; choose another --out");
  }
}

/// From here on the folder is this comparison's: not before, so that one that is refused leaves
/// nothing in the way of the next try.
void claim_folder(const ComparisonPlan& plan, const fs::path& folder) {
  remove_stale_staging(folder);  // of a process killed before the next line was done
  write_file_atomically(record_of(folder), plan.settings->dump(2) + "\n");
}

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
  for (const Entrant& entrant : entrants) result.runs.push_back(result_of(entrant));
  return result;
}

void report_progress(const std::vector<Entrant>& entrants, const CompareHooks& hooks) {
  if (!hooks.on_progress) return;
  std::int64_t done = 0, total = 0, finished = 0;
  for (const Entrant& one : entrants) {
    done += one.done;
    total += one.steps();
    finished += one.over() ? 1 : 0;
  }
  hooks.on_progress(done, total, finished);
}

}  // namespace

CompareOutcome compare(const ComparisonPlan& plan, const fs::path& folder,
                       const std::string& command, const CompareHooks& hooks) {
  const FolderLock lock(folder);
  require_own_folder(plan, folder);
  std::vector<Entrant> entrants;
  for (const PlannedRun& run : plan.runs) {
    entrants.push_back(make_entrant(run, folder / "runs" / run.name));
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
  const std::vector<Group> groups = make_groups(entrants, data);
  const std::string warning = check_memory(plan, groups);
  if (!warning.empty()) tell({Notice::Kind::kWarning, warning});
  for (const Notice& notice :
       check_before_training(folder, entrants, evaluator ? &*evaluator : nullptr, data)) {
    tell(notice);
  }
  claim_folder(plan, folder);
  if (!train_in_waves(plan, groups, threads, after_chunk)) return {};
  CompareOutcome outcome{true, gather(plan, entrants, command)};
  if (evaluator &&
      !evaluate_runs(plan, *evaluator, entrants, data, folder, threads, hooks, outcome.result)) {
    return {};
  }
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

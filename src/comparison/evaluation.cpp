#include "comparison/evaluation.h"

#include <torch/types.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "base/parallel.h"
#include "comparison/memory.h"
#include "config/fields_json.h"
#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/folder_lock.h"
#include "sae/base/sha256.h"
#include "sae/data/labelled.h"
#include "sae/metrics/metric_values.h"
#include "sae/models/sae_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kTokenJudge = "token";  // instead of a judge file's path

RunEvaluator::Record record_of(const std::vector<SuiteOutcome>& outcomes) {
  RunEvaluator::Record record;
  for (const SuiteOutcome& outcome : outcomes) {
    const std::string prefix = outcome.suite == "core" ? "" : outcome.suite + ".";
    for (const auto& [name, value] : outcome.mean) record.metrics[prefix + name] = value;
    for (const auto& [metric, classes] : outcome.by_class) {
      record.by_class[prefix + metric] = classes;
    }
    if (!outcome.unranked.empty()) record.unranked[outcome.suite] = outcome.unranked;
    if (outcome.suite == "interp") record.judge = outcome.details->front().at("judge");
  }
  return record;
}

/// The files that the options name.
SuiteInputs inputs_of(const CompareEvaluation& options) {
  SuiteInputs inputs{options.words, {}};
  if (!options.judge.empty() && options.judge != kTokenJudge) inputs.judge = options.judge;
  if (options.tasks.empty()) return inputs;
  inputs.tasks = fs::is_directory(options.tasks) ? labelled_files(options.tasks)
                                                 : std::vector<fs::path>{options.tasks};
  return inputs;
}

/// What records must agree in: the options, and checksums of the files.
Json settings_of(const CompareEvaluation& options, const SuiteInputs& inputs) {
  Json settings = write_fields(options);
  for (const char* key : {"words", "tasks", "judge", "controls", "controls_of"}) {
    settings.erase(key);
  }
  settings["words"] = options.words.empty() ? Json() : Json(sha256_of_file(options.words));
  settings["tasks"] = Json::object();
  for (const fs::path& task : inputs.tasks) {
    settings["tasks"][task.filename().string()] = sha256_of_file(task);
  }
  if (options.judge.empty()) {
    settings.erase("interp");
  } else {
    settings["judge"] = inputs.judge ? sha256_of_file(*inputs.judge) : options.judge;
  }
  return settings;
}

/// Core always, the others where there is something for them.
std::vector<std::string> suites_of(const CompareEvaluation& options) {
  std::vector<std::string> suites = {"core"};
  if (!options.words.empty()) suites.emplace_back("absorption");
  if (!options.tasks.empty()) suites.emplace_back("probing");
  if (!options.judge.empty()) suites.emplace_back("interp");
  return suites;
}

/// The suites of every finished run, and of the controls.
class SuitesOfRuns {
 public:
  SuitesOfRuns(const ComparisonPlan& plan, const RunEvaluator& evaluator,
               const std::vector<Entrant>& entrants, ComparisonData& data,
               const CompareHooks& hooks)
      : plan_(plan),
        options_(*plan.evaluation),
        evaluator_(evaluator),
        entrants_(entrants),
        data_(data),
        hooks_(hooks) {
    for (std::size_t i = 0; i < entrants.size(); ++i) {
      if (entrants[i].ours && entrants[i].failure.empty()) jobs_.push_back({i, std::nullopt});
    }
    add_controls();
  }

  /// False if it was told to stop. Adds what was measured to `result`.
  bool run(const fs::path& folder, std::size_t threads, ComparisonResult& result) {
    std::vector<RunEvaluator::Record> records(jobs_.size());
    std::atomic<std::int64_t> done = 0;
    std::atomic<bool> stop = false;
    std::mutex reporting;
    const std::size_t side_by_side = jobs_that_fit(plan_, largest_job(result), threads);
    run_jobs(jobs_.size(), side_by_side, [&](std::size_t i) {
      if (stop) return;
      records[i] = evaluate(jobs_[i], folder);
      ++done;
      const std::lock_guard lock(reporting);
      if (hooks_.on_evaluation) hooks_.on_evaluation(done, static_cast<std::int64_t>(jobs_.size()));
      if (hooks_.should_stop && hooks_.should_stop()) stop = true;
    });
    if (stop) return false;
    for (std::size_t i = 0; i < jobs_.size(); ++i) add(jobs_[i], std::move(records[i]), result);
    return true;
  }

 private:
  struct Job {
    std::size_t run;
    std::optional<Control> control;  // none: the run itself
  };

  /// The identity is the same for all runs; the others match the L0 of each level of one member.
  /// Each goes with the run that it is made from.
  void add_controls() {
    std::optional<std::int64_t> seed;
    std::vector<std::size_t> bases;
    for (std::size_t i = 0; i < entrants_.size(); ++i) {
      const PlannedRun& run = *entrants_[i].plan;
      if (run.member != options_.controls_of || !entrants_[i].failure.empty()) continue;
      if (!seed) seed = run.options.basics.seed;
      if (run.options.basics.seed == *seed) bases.push_back(i);
    }
    for (const Control control : options_.controls) {
      for (const std::size_t base : bases) {
        if (entrants_[base].ours) jobs_.push_back({base, control});
        if (control == Control::kIdentity) break;
      }
    }
  }

  /// Bytes that one job takes at most, about.
  std::int64_t largest_job(const ComparisonResult& result) const {
    std::int64_t most = 0;
    for (const Job& job : jobs_) {
      const RunOptions& options = entrants_[job.run].plan->options;
      const Data& data = data_.of(*entrants_[job.run].plan);
      const auto parameters = static_cast<std::int64_t>(size_of_files(options, data).sae);
      const std::int64_t d_sae = resolve_run(options)["model"]["d_sae"].get<std::int64_t>();
      const double l0 = result.runs[job.run].metrics.at("l0");
      // A control made of the autoencoder, and rows of norm 1 of both weights.
      most = std::max(most, 3 * parameters + estimate_evaluation(options, data) +
                                evaluator_.memory(data.d_in, d_sae, l0));
    }
    return most;
  }

  RunEvaluator::Record evaluate(const Job& job, const fs::path& folder) const {
    const Entrant& one = entrants_[job.run];
    const Data& data = data_.of(*one.plan);
    const SaeFolder loaded = load_sae(one.folder / "sae");
    loaded.sae->to(parse_device(one.plan->options.basics.device));
    if (!job.control) {
      const FolderLock lock(one.folder);
      return evaluator_.evaluate(*loaded.sae, data, one.plan->options.eval,
                                 one.folder / "evaluation.json");
    }
    create_directories(folder / "controls");
    return evaluator_.evaluate(
        *evaluator_.control(*job.control, loaded, data), data, one.plan->options.eval,
        folder / "controls" / (name_of(*job.control) + "-" + one.plan->name + ".json"));
  }

  void add(const Job& job, RunEvaluator::Record record, ComparisonResult& result) const {
    if (!record.judge.is_null()) result.judge = record.judge;
    if (!job.control) {
      RunResult& run = result.runs[job.run];
      run.metrics.merge(record.metrics);  // what training measured at its end stays
      run.by_class = std::move(record.by_class);
      run.unranked.merge(record.unranked);
      return;
    }
    const PlannedRun& base = *entrants_[job.run].plan;
    RunResult control;
    control.member = name_of(*job.control);
    control.name = control.member + "-" + base.name;
    control.point = base.point;
    control.seed = base.options.basics.seed;
    control.metrics = std::move(record.metrics);
    control.by_class = std::move(record.by_class);
    control.unranked = std::move(record.unranked);
    result.controls.push_back(std::move(control));
  }

  const ComparisonPlan& plan_;
  const CompareEvaluation& options_;
  const RunEvaluator& evaluator_;
  const std::vector<Entrant>& entrants_;
  ComparisonData& data_;
  const CompareHooks& hooks_;
  std::vector<Job> jobs_;
};

}  // namespace

RunEvaluator::RunEvaluator(CompareEvaluation options)
    : inputs_(inputs_of(options)),
      settings_(settings_of(options, inputs_)),
      runner_(suites_of(options), inputs_,
              {options.core, options.absorption, options.probing, options.interp, options.repeats},
              /*d_in=*/0) {}

std::int64_t RunEvaluator::memory(std::int64_t d_in, std::int64_t d_sae, double l0) const {
  const double entries = std::min(12 * l0, 4.0 * static_cast<double>(d_sae));  // bytes a row
  double bytes = 0;
  if (const AbsorptionSuite* absorption = runner_.absorption()) {
    const LabelledActivations& words = absorption->words();
    bytes += entries * static_cast<double>(words.train.x.size(0) + 2 * words.test.x.size(0));
  }
  double task = 0;
  for (const fs::path& place : runner_.tasks()) {
    const auto size = static_cast<double>(fs::file_size(place));
    task = std::max(task, 2 * size + entries * size / (2.0 * static_cast<double>(d_in)));
  }
  if (const InterpSuite* interp = runner_.interp()) {
    // Row and activation of each firing, those of the shuffled ones, and these once more by row.
    bytes += 40 * l0 * static_cast<double>(interp->rows());
  }
  return static_cast<std::int64_t>(bytes + task);
}

std::optional<RunEvaluator::Record> RunEvaluator::recorded(const fs::path& place,
                                                           const Data& data) const {
  if (!fs::exists(place)) return std::nullopt;
  try {
    const Json json = Json::parse(read_file(place));
    if (json.at("settings") != settings_) return std::nullopt;
    if (json.contains("data") && data.fingerprint &&
        !same_content(fingerprint_from_json(json.at("data")), *data.fingerprint)) {
      return std::nullopt;
    }
    const Json& own = json.at("comparison");
    Record record{metric_values_from_json(own.at("metrics")), {}, {}, {}};
    for (const auto& [metric, classes] : own.at("by_class").items()) {
      record.by_class[metric] = metric_values_from_json(classes);
    }
    record.unranked = own.at("not_ranked").get<std::map<std::string, std::string>>();
    if (json.contains("interp")) record.judge = json["interp"].at("judge");
    return record;
  } catch (const Json::exception&) {
    return std::nullopt;  // damaged: it is measured again
  }
}

RunEvaluator::Record RunEvaluator::evaluate(const Autoencoder& sae, const Data& data,
                                            const EvalOptions& eval, const fs::path& place) const {
  if (auto before = recorded(place, data)) return *std::move(before);
  const SubjectOutcome subject{"sae", runner_.run(sae, &data, eval)};
  const Record record = record_of(subject.suites);
  Json json = to_json({subject});
  json["settings"] = settings_;
  if (data.fingerprint) json["data"] = to_json(*data.fingerprint);
  Json& own = json["comparison"];
  own["metrics"] = to_json(record.metrics);
  own["by_class"] = Json::object();
  for (const auto& [metric, classes] : record.by_class) {
    own["by_class"][metric] = to_json(classes);
  }
  own["not_ranked"] = record.unranked;
  write_file_atomically(place, json.dump(1) + "\n");
  return record;
}

bool evaluate_runs(const ComparisonPlan& plan, const RunEvaluator& evaluator,
                   const std::vector<Entrant>& entrants, ComparisonData& data,
                   const fs::path& folder, std::size_t threads, const CompareHooks& hooks,
                   ComparisonResult& result) {
  return SuitesOfRuns(plan, evaluator, entrants, data, hooks).run(folder, threads, result);
}

}  // namespace sae

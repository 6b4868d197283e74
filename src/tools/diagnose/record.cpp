#include "tools/diagnose/record.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "config/fields_json.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/config/config_node.h"
#include "sae/training/checkpoint.h"
#include "sae/training/run.h"
#include "training/run_options.h"
#include "training/run_record.h"
#include "training/run_summary.h"

namespace sae::diagnose {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The configuration of the run, checked like one that is about to be trained.
void read_configuration(RunRecord& run) {
  const fs::path path = run.folder / "config.json";
  if (!fs::exists(run.folder)) throw DataError(run.folder.string() + ": no such folder");
  if (fs::exists(run.folder / "comparison.json")) {
    throw DataError(run.folder.string() +
                    ": got a comparison, expected a run; choose one of the folders in its runs/");
  }
  if (!fs::exists(path)) {
    throw DataError(run.folder.string() + ": got no config.json, expected the folder of a run");
  }
  try {
    const ConfigNode config = read_config(path.string());
    if (config.has("format") || !config.has("train")) {
      throw DataError(path.string() +
                      ": is no run's configuration; expected the folder that sae train made");
    }
    const RunOptions options = read_recorded_run(config);
    run.model = config.at("model").json();
    run.model.at("d_in").get<double>();  // written by every run, though read_run can do without
    run.train = options.train.train;
    run.total_steps = run.train.total_steps();
    if (config.at("model").has("mask") && !config.at("model").at("mask").is_null()) {
      run.mask = read_fields<AtmMaskOptions>(config.at("model").at("mask"));
    }
  } catch (const ConfigError& error) {
    throw DataError(error.what());
  } catch (const Json::exception& error) {
    throw DataError(path.string() + ": damaged: " + error.what());
  }
}

/// The training rows, and the latest evaluation that was made on the way.
void read_log(RunRecord& run) {
  const fs::path path = run.folder / "metrics.jsonl";
  if (!fs::exists(path)) {
    throw DataError(path.string() + ": is missing; a run has it from its first logged step on");
  }
  const std::string prefix = "eval.";
  for (MetricsRow& row : read_metrics(path)) {
    MetricValues evaluated;
    for (const auto& [name, value] : row.values) {
      if (name.starts_with(prefix)) evaluated[name.substr(prefix.size())] = value;
    }
    if (!evaluated.empty()) run.held_out = std::move(evaluated);
    run.step = std::max(run.step, row.step);
    if (row.values.contains("loss")) run.rows.push_back(std::move(row));
  }
  if (run.rows.empty()) {
    throw DataError(path.string() + ": holds no training step; train on, or log more often");
  }
}

void read_end(RunRecord& run) {
  const fs::path path = run.folder / "summary.json";
  run.finished = fs::exists(path);
  if (!run.finished) {
    const auto newest = newest_checkpoint(run.folder / "checkpoints");
    if (!newest) return;
    run.checkpoint = checkpoint_step(*newest);
    run.step = std::max(run.step, *run.checkpoint);
    return;
  }
  RunSummary summary = sae::read_summary(run.folder);
  run.step = summary.steps;
  run.held_out = std::move(summary.metrics);
  run.firing = std::move(summary.firing);
  if (run.firing->edges.size() != run.firing->counts.size() + 1) {
    throw DataError(path.string() + ": firing: got " + std::to_string(run.firing->edges.size()) +
                    " edges, expected one more than the " +
                    std::to_string(run.firing->counts.size()) + " counts");
  }
}

/// What `sae compare` leaves in the run's folder, in the form of `sae eval --json`.
void read_evaluation(RunRecord& run) {
  const fs::path path = run.folder / "evaluation.json";
  if (!fs::exists(path)) return;
  try {
    const Json json = Json::parse(read_file(path));
    if (!json.is_object()) throw DataError(path.string() + ": damaged: expected an object");
    if (!json.contains("absorption")) return;
    const Json& absorption = json.at("absorption");
    if (absorption.contains("repeats")) {
      run.words = metric_values_from_json(absorption.at("mean"));
      return;
    }
    run.words = metric_values_from_json(absorption.at("eval_result_metrics").at("mean"));
    for (const auto& [name, value] : absorption.at("more").items()) {
      if (value.is_number()) run.words[name] = value.get<double>();
    }
  } catch (const Json::exception& error) {
    throw DataError(path.string() + ": damaged: " + error.what());
  }
}

}  // namespace

std::optional<double> RunRecord::model_number(const char* name) const {
  const auto found = model.find(name);
  if (found == model.end() || !found->is_number()) return {};
  return found->get<double>();
}

RunRecord read_record(const fs::path& folder) {
  RunRecord run;
  run.folder = folder;
  read_configuration(run);
  read_log(run);
  read_end(run);
  read_evaluation(run);
  run.inputs = recorded_inputs(folder);
  return run;
}

std::vector<double> series(const std::vector<MetricsRow>& rows, const std::string& name) {
  std::vector<double> values;
  for (const MetricsRow& row : rows) {
    const double value = value_in(row.values, name);
    if (std::isfinite(value)) values.push_back(value);
  }
  return values;
}

std::vector<MetricsRow> tail(const std::vector<MetricsRow>& rows) {
  const auto count = static_cast<std::ptrdiff_t>((rows.size() + 3) / 4);
  return {rows.end() - count, rows.end()};
}

std::vector<MetricsRow> masked_rows(const RunRecord& run) {
  std::vector<MetricsRow> rows;
  for (const MetricsRow& row : run.rows) {
    if (row.step > run.mask->warmup_steps) rows.push_back(row);
  }
  return rows;
}

double value_in(const MetricValues& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? NAN : found->second;
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace sae::diagnose

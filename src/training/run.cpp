#include "sae/training/run.h"

#include <torch/types.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "base/parallel.h"
#include "config/fields_json.h"
#include "metrics/event_writer.h"
#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/version.h"
#include "sae/metrics/metric_values.h"
#include "sae/models/architectures.h"
#include "sae/models/sae_folder.h"
#include "training/run_options.h"
#include "training/run_summary.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

/// What must agree for a run to be continued: everything but where it is computed.
Json identity(Json config) {
  config.erase("device");
  config.erase("threads");
  return config;
}

/// The first path at which two configurations differ, for a message.
std::string first_difference(const Json& a, const Json& b, const std::string& path = "") {
  if (a == b) return "";
  if (a.is_object() && b.is_object()) {
    std::set<std::string> keys;
    for (const auto& item : a.items()) keys.insert(item.key());
    for (const auto& item : b.items()) keys.insert(item.key());
    for (const std::string& key : keys) {
      const Json left = a.value(key, Json());
      const Json right = b.value(key, Json());
      const std::string found =
          first_difference(left, right, path.empty() ? key : path + "." + key);
      if (!found.empty()) return found;
    }
  }
  return path + " is " + a.dump() + " there and " + b.dump() + " here";
}

void require_same(const fs::path& folder, const Json& before, const Json& config) {
  const std::string difference = first_difference(identity(before), identity(config));
  if (difference.empty()) return;
  throw ConfigError(folder.string() + ": is a run of another configuration: " + difference +
                    "; choose another --out");
}

bool is_fresh(const fs::path& folder) {
  if (!fs::exists(folder)) return true;
  if (!fs::is_directory(folder)) {
    throw ConfigError(folder.string() + ": exists and is no folder; choose another --out");
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!entry.path().filename().string().starts_with(".")) return false;
  }
  return true;
}

/// What a run that was finished before came to, from its summary.
RunOutcome finished_before(const RunOptions& options, const fs::path& folder) {
  const Json before = read_config((folder / "config.json").string()).json();
  Json config = resolve_run(options);
  if (config["model"]["d_in"].is_null()) config["model"]["d_in"] = before.at("model").at("d_in");
  require_same(folder, before, config);
  RunSummary summary = read_summary(folder);
  return {true, summary.steps, std::move(summary.metrics)};
}

}  // namespace

TrainingRun::TrainingRun(RunOptions options, Data data, fs::path folder, bool resume)
    : options_(std::move(options)), data_(std::move(data)), folder_(std::move(folder)) {
  options_.model = complete_model(options_.model, data_.d_in);
  auto sae = make_autoencoder(options_.model);
  sae->initialise(static_cast<std::uint64_t>(options_.basics.seed));
  sae->to(parse_device(options_.basics.device));
  trainer_ = std::make_unique<Trainer>(std::move(sae), options_.train.train,
                                       static_cast<std::uint64_t>(options_.basics.seed),
                                       options_.basics.precision);
  open_folder(resume);
  saved_at_ = Clock::now();
}

TrainingRun::~TrainingRun() = default;

Json TrainingRun::resolved() const { return resolve_run(options_); }

bool TrainingRun::is_complete(const fs::path& folder) {
  return fs::exists(folder / "summary.json");
}

void TrainingRun::open_folder(bool resume) {
  const Json config = resolved();
  const fs::path config_path = folder_ / "config.json";
  if (is_fresh(folder_)) {
    create_output_folder(folder_);
    write_file_atomically(config_path, config.dump(2) + "\n");
  } else if (!resume) {
    throw ConfigError(folder_.string() +
                      ": exists already; go on with --resume, or choose another --out");
  } else {
    if (!fs::exists(config_path)) {
      throw ConfigError(folder_.string() + ": exists and is no run; choose another --out");
    }
    require_same(folder_, read_config(config_path.string()).json(), config);
    remove_stale_staging(folder_);
    const auto checkpoint = newest_checkpoint(folder_ / "checkpoints");
    if (checkpoint) load_checkpoint(*checkpoint, *trainer_);
    truncate_metrics_after(folder_ / "metrics.jsonl", trainer_->steps_done());
  }
  metrics_ = std::make_unique<MetricsLog>(folder_ / "metrics.jsonl");
}

void TrainingRun::calibrate() {
  if (trainer_->calibrated()) return;
  trainer_->calibrate(data_.train()->next(options_.train.train.calibration_tokens));
}

StepReport TrainingRun::step(const at::Tensor& x) {
  const auto began = Clock::now();
  StepReport report = trainer_->step(x);
  const EvalOptions& eval = options_.eval;
  if (eval.every > 0 && report.step % eval.every == 0) {
    const MetricValues held_out = evaluate_reconstruction(
        *trainer_->autoencoder(), data_, eval.every_tokens, eval.batch, trainer_->input_scale());
    for (const auto& [name, value] : held_out) report.values["eval." + name] = value;
  }
  if (!report.values.empty()) log(report);
  wall_s_ += std::chrono::duration<double>(Clock::now() - began).count();
  const CheckpointOptions& checkpoint = options_.train.checkpoint;
  const double minutes = std::chrono::duration<double>(Clock::now() - saved_at_).count() / 60;
  if ((checkpoint.checkpoint_every > 0 && report.step % checkpoint.checkpoint_every == 0) ||
      (checkpoint.checkpoint_minutes > 0 && minutes >= checkpoint.checkpoint_minutes)) {
    save_checkpoint();
  }
  return report;
}

void TrainingRun::log(const StepReport& report) {
  metrics_->append({report.step, report.values});
  if (!events_) {
    const std::int64_t first = trainer_->steps_done();
    events_ = std::make_unique<EventWriter>(folder_, first);
  }
  for (const auto& [name, value] : report.values) {
    if (std::isfinite(value)) events_->scalar(name, value, report.step);
  }
}

void TrainingRun::save_checkpoint() {
  sae::save_checkpoint(folder_ / "checkpoints", *trainer_,
                       options_.train.checkpoint.keep_checkpoints);
  saved_at_ = Clock::now();
}

Evaluation TrainingRun::finish() {
  const Json config = resolved();
  const fs::path result = folder_ / "sae";
  // A kill between this and the summary leaves a complete sae/ of these very parameters.
  if (!fs::exists(result)) {
    save_sae(result, *trainer_->autoencoder(), config["model"], trainer_->input_scale(),
             {{"source", *data_.source}, {"training", config}});
  }
  const SaeFolder saved = load_sae(result);
  saved.sae->to(trainer_->autoencoder()->W_enc.device());
  Evaluation evaluation = evaluate(*saved.sae, data_, options_.eval);
  const Json summary{{"format", "sae-summary"},
                     {"version", 1},
                     {"seed", options_.basics.seed},
                     {"steps", trainer_->steps_done()},
                     {"tokens", trainer_->steps_done() * options_.train.train.batch},
                     {"metrics", to_json(evaluation.values)},
                     {"firing", to_json(evaluation.firing)},
                     {"wall_s", wall_s_},
                     {"sae", kVersion},
                     {"libtorch", kTorchVersion}};
  write_file_atomically(folder_ / "summary.json", summary.dump(2) + "\n");
  return evaluation;
}

RunOutcome train(const RunOptions& options, const fs::path& folder, bool resume,
                 const RunHooks& hooks) {
  if (resume && TrainingRun::is_complete(folder)) return finished_before(options, folder);
  use_threads(options.basics.threads);
  TrainingRun run(options, open_data(options.data, static_cast<std::uint64_t>(options.basics.seed)),
                  folder, resume);
  run.calibrate();
  const std::int64_t batch = options.train.train.batch;
  const auto source = run.data().train();
  source->seek(run.trainer().steps_done() * batch);
  while (!run.finished()) {
    const StepReport report = run.step(source->next(batch));
    if (hooks.on_step) hooks.on_step(report, run.trainer().total_steps());
    if (hooks.should_stop && hooks.should_stop() && !run.finished()) {
      run.save_checkpoint();
      return {.finished = false, .step = report.step, .metrics = {}};
    }
  }
  const Evaluation evaluation = run.finish();
  return {.finished = true, .step = run.trainer().steps_done(), .metrics = evaluation.values};
}

}  // namespace sae

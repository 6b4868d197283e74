#include "sae/training/run.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/parallel.h"
#include "data/device_batches.h"
#include "data/shared_source.h"
#include "distributed/agreement.h"
#include "distributed/backend.h"
#include "metrics/event_writer.h"
#include "models/interchange/start.h"
#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/text.h"
#include "sae/metrics/metric_values.h"
#include "sae/models/architectures.h"
#include "sae/models/sae_folder.h"
#include "training/calibration.h"
#include "training/disk_room.h"
#include "training/run_notices.h"
#include "training/run_options.h"
#include "training/run_over_ranks.h"
#include "training/run_record.h"
#include "training/run_summary.h"
#include "training/start.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

/// What a run that was finished before came to, from its summary; nothing if it is to go on.
std::optional<RunOutcome> finished_before(const RunOptions& options, const fs::path& folder,
                                          const RunHooks& hooks) {
  std::optional<DataFingerprint> data;
  try {
    if (recorded_data(folder)) data = fingerprint_of(options.data);
  } catch (const DataError& error) {
    if (hooks.on_notice) {
      hooks.on_notice(
          {Notice::Kind::kNote,
           folder.string() + ": is finished; its data cannot be looked at: " + error.what()});
    }
  }
  require_same_run(folder, resolve_run(options), data);
  RunSummary summary = read_summary(folder);
  if (options.train.train.total_steps() > summary.steps) return std::nullopt;
  return RunOutcome{true, summary.steps, std::move(summary.metrics)};
}

/// Whether an autoencoder's folder is the result of exactly this configuration.
bool holds_result_of(const fs::path& result, const Json& config) {
  try {
    return Json::parse(read_file(result / "config.json")).at("training") == config;
  } catch (const std::exception&) {
    return false;  // damaged: made anew
  }
}

[[noreturn]] void fail_exists(const fs::path& folder) {
  throw ConfigError(folder.string() +
                    ": exists already; go on with --resume, or choose another --out");
}

/// What has been trained is kept in a checkpoint.
RunOutcome stopped(TrainingRun& run) {
  run.save_checkpoint();
  return {.finished = false, .step = run.trainer().steps_done(), .metrics = {}};
}

}  // namespace

void require_trainable(const RunOptions& options, const Data& data) {
  complete_model(options.model, data.d_in);
  const at::Device device = parse_device(options.basics.device);
  if (options.basics.precision == Precision::kTf32 && !device.is_cuda()) {
    throw ConfigError("precision: got tf32, but the device here is " + device.str() +
                      ", which has no such products; expected fp32 or bf16");
  }
  const EvalOptions& eval = options.eval;
  const bool on_the_way = eval.every > 0 && eval.every <= options.train.train.total_steps();
  require_finite_held_out(data, on_the_way ? std::max(eval.tokens, eval.every_tokens) : eval.tokens,
                          eval.batch);
}

TrainingRun::TrainingRun(RunOptions options, Data data, fs::path folder, bool resume,
                         FolderLock lock, Mesh mesh)
    : options_(std::move(options)),
      data_(std::move(data)),
      folder_(std::move(folder)),
      lock_(std::move(lock)),
      mesh_(std::move(mesh)) {
  require_trainable(options_, data_);
  options_.model = complete_model(options_.model, data_.d_in);
  agree(resume);
  bool fresh = true;
  if (leads()) {
    if (!lock_.held()) lock_ = FolderLock(folder_);
    fresh = is_fresh(folder_);
    if (!fresh && !resume) fail_exists(folder_);
    require_room(folder_, bytes_to_write(options_, data_, folder_));
  }
  fresh = told(mesh_.world, fresh);
  use_device_kernels(options_.basics.kernels);
  auto sae = make_autoencoder(options_.model, mesh_);
  sae->initialise(static_cast<std::uint64_t>(options_.basics.seed));
  sae->to(parse_device(options_.basics.device));
  trainer_ = std::make_unique<Trainer>(std::move(sae), options_.train.train,
                                       static_cast<std::uint64_t>(options_.basics.seed),
                                       options_.basics.precision);
  notices_ = notices_about(options_, data_);
  if (!mesh_.world.is_one() && !has_nccl() && trainer_->autoencoder()->W_enc.is_cuda()) {
    note(Notice::Kind::kNote,
         "this build has no NCCL (CMake's SAE_NCCL): what ranks send travels by their hosts");
  }
  if (fresh) {
    start();
  } else {
    go_on();
  }
  if (leads()) metrics_ = std::make_unique<MetricsLog>(folder_ / "metrics.jsonl");
  saved_at_ = Clock::now();
}

TrainingRun::~TrainingRun() = default;

Json TrainingRun::resolved() const { return resolve_run(options_); }

bool TrainingRun::is_complete(const fs::path& folder) {
  return fs::exists(folder / "summary.json");
}

void TrainingRun::note(Notice::Kind kind, const std::string& text) {
  notices_.push_back({kind, folder_.string() + ": " + text});
}

void TrainingRun::agree(bool resume) const {
  if (mesh_.world.is_one()) return;
  require_sharable(options_, mesh_);
  mesh_.world.agree(facts_of_run(resolved(), data_.fingerprint, resume));
}

void TrainingRun::start() {
  calibrate();  // data that cannot be read leave no folder behind
  if (leads()) record_run(folder_, resolved(), data_.fingerprint, inputs_);
  mesh_.world.meet();
  look_at_inputs();
  keep_start();
}

void TrainingRun::take_start() {
  const std::optional<Start> start = read_start(options_, data_.d_in);
  if (!start) return;
  if (!mesh_.world.is_one()) mesh_.world.agree(facts_of_start(start->from));
  start_from(*trainer_->autoencoder(), start->plain, trainer_->input());
  for (const Notice& notice : start->notices) notices_.push_back(notice);
  started_from_ = start->from;
}

void TrainingRun::keep_start() {
  if (started_from_ && trainer_->steps_done() == 0) save_checkpoint();
}

void TrainingRun::look_at_inputs() {
  if (!inputs_) return;
  for (Notice& notice : notices_about(*inputs_, options_, data_)) {
    notices_.push_back(std::move(notice));
  }
}

void TrainingRun::go_on() {
  const std::int64_t planned = planned_steps(recorded_config(folder_));
  std::string checkpoint;  // its name
  if (leads()) {
    const auto known = require_same_run(folder_, resolved(), data_.fingerprint);
    if (!known && data_.fingerprint) {
      note(Notice::Kind::kWarning, "does not say which data it was trained on; goes on with " +
                                       data_.fingerprint->train.name + " as it is now");
    }
    remove_stale_staging(folder_);
    if (const auto newest = newest_checkpoint(folder_ / "checkpoints")) {
      checkpoint = newest->filename().string();
    }
  }
  checkpoint = told(mesh_.world, checkpoint);
  if (!checkpoint.empty()) {
    const CheckpointRecord record =
        load_checkpoint(folder_ / "checkpoints" / checkpoint, *trainer_);
    replanned_ = record.replanned;
    started_from_ = record.started_from;
    replan(record.planned_steps > 0 ? record.planned_steps : planned);
  } else if (fs::exists(folder_ / "metrics.jsonl")) {
    note(Notice::Kind::kNote, "has no checkpoint to go on from; it is trained from the beginning");
  }
  if (!options_.train.start.from.empty()) calibrate();  // there was no checkpoint of step 0
  mesh_.world.meet();                                   // all have read what is changed now
  if (const auto known = recorded_inputs(folder_)) inputs_ = known;
  if (leads()) {
    truncate_metrics_after(folder_ / "metrics.jsonl", trainer_->steps_done());
    record_run(folder_, resolved(), data_.fingerprint, inputs_);
  }
  look_at_inputs();
  keep_start();
}

void TrainingRun::replan(std::int64_t planned_before) {
  const std::int64_t done = trainer_->steps_done();
  const std::int64_t total = trainer_->total_steps();
  if (planned_before == total || done == 0) return;
  std::vector<std::string> changed;
  const auto compare = [&](const std::string& what, const auto& at) {
    const double before = at(done - 1, planned_before);
    if (before == at(done - 1, total)) return;  // the same up to here
    const double after = at(done, total);
    changed.push_back("its " + what + (before > after ? " had risen to " : " had fallen to ") +
                      brief(before) + " and goes on at " + brief(after));
  };
  compare("learning rate", [&](std::int64_t step, std::int64_t steps) {
    return learning_rate(options_.train.train.schedule, step, steps);
  });
  const auto& mask = trainer_->autoencoder()->mask();
  if (mask && mask->options().draw == MaskDraw::kExpected) {
    compare("nested weight", [&](std::int64_t step, std::int64_t steps) {
      return mask->nested_weight({step, 0, steps});
    });
  }
  if (changed.empty()) return;
  replanned_.push_back({done, planned_before});
  note(Notice::Kind::kNote,
       "goes on from step " + std::to_string(done) + " to " + std::to_string(total) + ", where " +
           std::to_string(planned_before) + " were planned: " + joined(changed) +
           ", so that it is not what a run planned for " + std::to_string(total) +
           " steps would be");
}

void TrainingRun::calibrate() {
  if (trainer_->calibrated()) return;
  const at::Tensor x = calibration_rows(options_.train.train, data_);
  inputs_ = input_statistics(x);
  trainer_->calibrate(x);
  take_start();
}

StepReport TrainingRun::step(const at::Tensor& x, double waited) {
  const auto began = Clock::now();
  waited_s_ += waited;
  ++waits_;
  if (!unsaved_) unsaved_.emplace();
  StepReport report = trainer_->step(x);
  const EvalOptions& eval = options_.eval;
  if (eval.every > 0 && report.step % eval.every == 0) {
    const MetricValues held_out = evaluate_reconstruction(
        *trainer_->autoencoder(), data_, eval.every_tokens, eval.batch, trainer_->input());
    for (const auto& [name, value] : held_out) report.values["eval." + name] = value;
  }
  if (!report.values.empty() && !mesh_.world.is_one()) {
    report.values["data_s"] = waited_s_ / static_cast<double>(waits_);
    waited_s_ = 0;
    waits_ = 0;
  }
  if (!report.values.empty() && leads()) log(report);
  wall_s_ += std::chrono::duration<double>(Clock::now() - began).count();
  const CheckpointOptions& checkpoint = options_.train.checkpoint;
  const double minutes = std::chrono::duration<double>(Clock::now() - saved_at_).count() / 60;
  bool due = checkpoint.checkpoint_every > 0 && report.step % checkpoint.checkpoint_every == 0;
  if (checkpoint.checkpoint_minutes > 0) {
    due = told(mesh_.world, due || minutes >= checkpoint.checkpoint_minutes);
  }
  if (due) save_checkpoint();
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
  trainer_->require_finite();
  sae::save_checkpoint(folder_ / "checkpoints", *trainer_,
                       options_.train.checkpoint.keep_checkpoints,
                       {trainer_->total_steps(), data_.fingerprint, replanned_, started_from_});
  saved_at_ = Clock::now();
  unsaved_.reset();
}

Evaluation TrainingRun::finish() {
  const Json config = resolved();
  const fs::path result = folder_ / "sae";
  const fs::path next = folder_ / ".sae-next";  // in place of one of fewer steps
  const bool replaces = told(mesh_.world, fs::exists(result) && !holds_result_of(result, config));
  const fs::path place = replaces ? next : result;
  if (leads()) fs::remove_all(next);
  // A kill between this and the summary leaves a complete sae/ of these very parameters.
  if (!told(mesh_.world, fs::exists(place))) {
    const auto whole = whole_autoencoder(trainer_->autoencoder(), config["model"]);
    if (leads()) save_sae(place, *whole, config["model"], trainer_->input(), provenance(config));
    mesh_.world.meet();
  }
  const std::shared_ptr<Autoencoder> saved = saved_part(place, config["model"], mesh_);
  saved->to(trainer_->autoencoder()->W_enc.device());
  Evaluation evaluation;
  try {
    evaluation = evaluate(*saved, data_, options_.eval);
  } catch (...) {  // interrupted
    if (leads()) fs::remove_all(next);
    throw;
  }
  if (leads()) {
    if (replaces) replace_folder(next, result);
    if (events_) events_->flush();  // closing would not say that the disk is full
    write_summary(evaluation);
  }
  unsaved_.reset();
  return evaluation;
}

Json TrainingRun::provenance(const Json& config) const {
  Json provenance{{"source", *data_.source}, {"training", config}};
  if (data_.fingerprint) provenance["data"] = to_json(*data_.fingerprint);
  if (started_from_) provenance["started_from"] = to_json(*started_from_);
  return provenance;
}

void TrainingRun::write_summary(const Evaluation& evaluation) const {
  RunSummary summary;
  summary.seed = options_.basics.seed;
  summary.steps = trainer_->steps_done();
  summary.tokens = trainer_->steps_done() * options_.train.train.batch;
  summary.distinct_tokens = summary.tokens;
  if (data_.train_tokens) {
    summary.distinct_tokens = std::min(summary.tokens, *data_.train_tokens);
    summary.passes = static_cast<double>(summary.tokens) / static_cast<double>(*data_.train_tokens);
  }
  summary.held_out_tokens = evaluation.tokens;
  summary.metrics = evaluation.values;
  summary.firing = evaluation.firing;
  summary.wall_s = wall_s_;
  summary.data = data_.fingerprint;
  summary.replanned = replanned_;
  summary.started_from = started_from_;
  sae::write_summary(folder_, summary);
}

RunOutcome train(const RunOptions& options, const fs::path& folder, bool resume,
                 const RunHooks& hooks, const Mesh& mesh) {
  const Group& world = mesh.world;
  if (told(world, resume && TrainingRun::is_complete(folder))) {
    if (auto outcome = finished_before(options, folder, hooks)) return *std::move(outcome);
  }
  // Before the data, so that a second process is refused at once.
  FolderLock lock;
  if (world.rank() == 0) {
    lock = FolderLock(folder);
    if (!resume && !is_fresh(folder)) fail_exists(folder);
  }
  use_threads(options.basics.threads);
  TrainingRun run(options, open_data(options.data, static_cast<std::uint64_t>(options.basics.seed)),
                  folder, resume, std::move(lock), mesh);
  if (hooks.on_notice) {
    for (const Notice& notice : run.notices()) hooks.on_notice(notice);
  }
  run.calibrate();
  const std::int64_t batch = options.train.train.batch;
  const auto source = run.data().train();
  source->seek(run.trainer().steps_done() * batch);
  check_interrupt(world);
  std::optional<SharedSource> shared;
  if (!world.is_one()) shared.emplace(*source, mesh, batch);
  DeviceBatches batches(shared ? *shared : *source, run.trainer().autoencoder()->W_enc.device(),
                        batch, (run.trainer().total_steps() - run.trainer().steps_done()) * batch);
  while (!run.finished()) {
    const auto asked = Clock::now();
    at::Tensor x;
    try {
      x = batches.next();
    } catch (const Interrupted&) {  // a stream that is waited for
      if (run.trainer().steps_done() == 0) throw;
      return stopped(run);
    }
    const StepReport report =
        run.step(x, std::chrono::duration<double>(Clock::now() - asked).count());
    if (hooks.on_step) hooks.on_step(report, run.trainer().total_steps());
    const bool stop =
        on_any(world, interrupt_requested() || (hooks.should_stop && hooks.should_stop()));
    if (stop && !run.finished()) return stopped(run);
  }
  try {
    const Evaluation evaluation = run.finish();
    return {.finished = true, .step = run.trainer().steps_done(), .metrics = evaluation.values};
  } catch (const Interrupted&) {
    return stopped(run);
  }
}

}  // namespace sae

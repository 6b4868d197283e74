// A training run: one configuration, one folder.
//
//     config.json      the resolved configuration: every option, no default left implicit
//     data.json        what the data were, by their content, and what their first tokens were like
//     metrics.jsonl    one object per logged step;  events.out.tfevents.*  the same for TensorBoard
//     checkpoints/     see checkpoint.h
//     sae/             the result, see sae_file.h
//     summary.json     final metrics, the tokens they rest on, wall time, versions; written last
//
// One process writes it at a time (folder_lock.h), always about the same data (fingerprint.h).
// Where a run is trained over many, that is rank 0, and all must see the folder.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sae/base/folder_lock.h"
#include "sae/base/interrupt.h"
#include "sae/base/notice.h"
#include "sae/config/config_node.h"
#include "sae/cuda/device_kernels.h"
#include "sae/data/data.h"
#include "sae/distributed/group.h"
#include "sae/evaluation/evaluation.h"
#include "sae/metrics/metrics_log.h"
#include "sae/training/checkpoint.h"
#include "sae/training/distributed_options.h"
#include "sae/training/input_statistics.h"
#include "sae/training/start.h"
#include "sae/training/trainer.h"

namespace sae {

/// The options that do not belong to a group.
struct RunBasics {
  std::int64_t seed = 0;
  std::string device = "auto";
  std::int64_t threads = 0;
  Precision precision = Precision::kFp32;
  DeviceKernels kernels = DeviceKernels::kAuto;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("seed", self.seed, at_least(0), "initialisation, order of the data and masks follow it");
    visit("device", self.device, non_empty, "auto, cpu, cuda or cuda:N");
    visit("threads", self.threads, at_least(0), "CPU threads; 0: all cores");
    visit("precision", self.precision, any,
          "of dense products, weights stay fp32; bf16: under autocast; tf32: on GPUs");
    visit("kernels", self.kernels, any,
          "own CUDA kernels, compiled at first use: where they can be, or never");
  }

  void check(Findings& findings) const;
};

/// The train group: the trainer's options, when to save, and what to start from.
struct RunTrainOptions {
  TrainOptions train;
  CheckpointOptions checkpoint;
  StartOptions start;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    TrainOptions::fields(self.train, visit);
    CheckpointOptions::fields(self.checkpoint, visit);
    StartOptions::fields(self.start, visit);
  }

  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;
};

/// A configuration: {seed, device, threads, precision, model {}, data {}, train {}, eval {},
/// distributed {}}.
struct RunOptions {
  RunBasics basics;
  ConfigNode model;  ///< checked; see make_autoencoder
  ConfigNode data;   ///< checked; see open_data
  RunTrainOptions train;
  EvalOptions eval;
  DistributedOptions distributed;  ///< no part of what a run is
  std::vector<Notice> notices;     ///< what is probably not meant so
};

/// Reads all of it strictly, ConfigError for options that contradict each other or the data.
/// `model.d_in` may be left out: it is then the data's.
RunOptions read_run(const ConfigNode& document);
/// The same of a run that has been made: what contradicts itself may have been let pass then.
RunOptions read_recorded_run(const ConfigNode& document);
/// Every option explicit, but `distributed` only where it is not as by default.
nlohmann::ordered_json resolve_run(const RunOptions& options);

/// Throws what training these options on these data would fail for at any time: a width other than
/// the data's (ConfigError), a device that is not there, held-out data that are not finite.
void require_trainable(const RunOptions& options, const Data& data);

class EventWriter;  // src/metrics/event_writer.h

/// One run in its folder. Drive it with batches from `data().train()`, in order, starting at
/// `trainer().steps_done()` batches.
class TrainingRun {
 public:
  /// A new folder, or with `resume` one that may exist: it goes on from its newest checkpoint, as
  /// if it had never stopped. It may be given more steps than it was planned for: where its
  /// learning rate had not begun to fall that is as if they had been planned from the beginning;
  /// else the schedule is made anew from here, and notices() and summary say so. What only the end
  /// needs is looked at before: held-out data, room on the disk.
  ///
  /// ConfigError if the folder exists without `resume`, holds a run of another configuration or of
  /// more steps, or is written by another process; DataError if it was trained on other data.
  /// `lock` is that of the folder, if the caller holds it.
  ///
  /// Over the ranks of `mesh`, which all make the same calls, each steps on its tokens of a batch.
  /// ConfigError if another rank has other options or data, or another kind of CPU.
  TrainingRun(RunOptions options, Data data, std::filesystem::path folder, bool resume,
              FolderLock lock = {}, Mesh mesh = {});
  ~TrainingRun();

  Trainer& trainer() { return *trainer_; }
  const Data& data() const { return data_; }
  const std::filesystem::path& folder() const { return folder_; }
  bool finished() const { return trainer_->finished(); }

  /// What its numbers rest on and what was left out, known before the first step.
  const std::vector<Notice>& notices() const { return notices_; }

  /// Input map and b_dec, if they have not been found yet, from the beginning of the data; then
  /// takes the weights that the run is to start from, if it is.
  void calibrate();

  /// One training step; logs, evaluates and saves a checkpoint where due. `waited` seconds were
  /// spent on getting x: over ranks their mean since the last report is logged as data_s.
  StepReport step(const at::Tensor& x, double waited = 0);

  void save_checkpoint();

  /// Final evaluation, sae/ and summary.json. Returns what the summary says. Those of a run that
  /// had been finished with fewer steps are kept until the new ones are complete.
  Evaluation finish();

  static bool is_complete(const std::filesystem::path& folder);

 private:
  bool leads() const { return mesh_.world.rank() == 0; }
  void agree(bool resume) const;
  void start();
  void go_on();
  void take_start();
  void keep_start();
  void replan(std::int64_t planned_before);
  void look_at_inputs();
  void note(Notice::Kind kind, const std::string& text);
  void log(const StepReport& report);
  void write_summary(const Evaluation& evaluation) const;
  nlohmann::ordered_json resolved() const;
  nlohmann::ordered_json provenance(const nlohmann::ordered_json& config) const;

  RunOptions options_;
  Data data_;
  std::filesystem::path folder_;
  FolderLock lock_;
  Mesh mesh_;
  std::vector<Notice> notices_;
  std::vector<Replanned> replanned_;
  std::optional<InputStatistics> inputs_;  // of what it is calibrated on
  std::optional<StartedFrom> started_from_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<MetricsLog> metrics_;
  std::unique_ptr<EventWriter> events_;
  std::chrono::steady_clock::time_point saved_at_;
  std::optional<UnsavedWork> unsaved_;  // since the first step after a checkpoint
  double wall_s_ = 0;                   // of the steps taken by this process
  double waited_s_ = 0;                 // since the last report
  std::int64_t waits_ = 0;
};

struct RunHooks {
  std::function<void(const StepReport&, std::int64_t total_steps)> on_step = {};
  std::function<bool()> should_stop = {};  ///< asked after every step, as is interrupt_requested()
  NoticeHandler on_notice = {};            ///< before the first step
};

struct RunOutcome {
  bool finished = false;  ///< false: stopped by the hook; a checkpoint holds everything
  std::int64_t step = 0;
  MetricValues metrics;  ///< final ones, if finished
};

/// Trains to the end, or until it is told to stop. Interrupted before its first step it throws;
/// after that it ends the step, saves and returns. With `resume`, a run that is finished stays as
/// it is and its outcome is returned, unless more steps are asked for.
///
/// Over the ranks of `mesh` each reads its part of the batches. All stop, at the same step, when
/// one is told to.
RunOutcome train(const RunOptions& options, const std::filesystem::path& folder, bool resume,
                 const RunHooks& hooks = {}, const Mesh& mesh = {});

/// The options for one rank: `device: auto` is the GPU of its number on its machine, where there
/// are GPUs, and threads that are not given are its share of the cores.
RunOptions on_rank(RunOptions options, const Membership& member);

}  // namespace sae

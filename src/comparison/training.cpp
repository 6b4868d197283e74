#include "comparison/training.h"

#include <torch/types.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/parallel.h"
#include "comparison/preflight.h"
#include "data/device_batches.h"
#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/interrupt.h"
#include "sae/training/checkpoint.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFailure = "failure.txt";

/// Trains a wave chunk by chunk: batches are drawn once, while the previous chunk is trained on.
class WaveTraining {
 public:
  WaveTraining(const Cohort& cohort, const std::vector<Entrant*>& wave, std::size_t threads)
      : cohort_(cohort),
        wave_(wave),
        threads_(threads),
        chunk_(cohort.chunk()),
        source_(cohort.data.train()) {
    const auto device_of = [](const Entrant* one) {
      return parse_device(one->plan->options.basics.device);
    };
    if (wave.empty()) return;
    const at::Device device = device_of(wave.front());
    const bool shared = std::all_of(wave.begin(), wave.end(),
                                    [&](const Entrant* one) { return device_of(one) == device; });
    if (device.is_cpu() || !shared) return;
    source_->set_form(batch_form_for(device));
    device_ = device;
  }

  void open() {
    run_jobs(wave_.size(), threads_, [&](std::size_t i) {
      Entrant& one = *wave_[i];
      one.run = std::make_unique<TrainingRun>(one.plan->options, cohort_.data, one.folder,
                                              /*resume=*/true);
      one.run->calibrate();
    });
  }

  /// False if it was told to stop, or could not go on.
  bool train(const std::function<bool()>& after_chunk) {
    bool whole = false;
    attempt([&] { whole = train_chunks(after_chunk); });
    return whole;
  }

  /// Whatever happened, no step that was taken is lost.
  void close() {
    run_jobs(wave_.size(), threads_, [&](std::size_t i) {
      Entrant& one = *wave_[i];
      if (one.run && one.failure.empty()) {
        const bool ended = one.run->finished() && attempt([&] { one.run->finish(); });
        if (!ended && one.run->trainer().steps_done() > 0) {
          attempt([&] { one.run->save_checkpoint(); });
        }
      }
      one.run.reset();
    });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  bool train_chunks(const std::function<bool()>& after_chunk) {
    std::int64_t chunk = first_chunk();
    std::vector<at::Tensor> batches = draw(chunk);
    while (std::any_of(wave_.begin(), wave_.end(),
                       [](const Entrant* one) { return one->training(); })) {
      std::vector<at::Tensor> next;
      run_jobs(wave_.size() + 1, threads_, [&](std::size_t job) {
        if (job == 0) {
          attempt([&] { next = draw(chunk + 1); });
        } else {
          advance(*wave_[job - 1], chunk, batches);
        }
      });
      batches = std::move(next);
      ++chunk;
      if (!after_chunk() || error_) return false;
    }
    return true;
  }

  std::int64_t first_chunk() const {
    std::int64_t step = INT64_MAX;
    for (const Entrant* one : wave_) {
      if (one->training()) step = std::min(step, one->run->trainer().steps_done());
    }
    return step == INT64_MAX ? 0 : step / chunk_;
  }

  std::vector<at::Tensor> draw(std::int64_t chunk) {
    std::vector<at::Tensor> batches;
    source_->seek(chunk * chunk_ * cohort_.batch);
    // Once a stop was asked for, nobody trains on them.
    for (std::int64_t i = 0; i < chunk_ && !interrupt_requested(); ++i) {
      batches.push_back(source_->next(cohort_.batch));
      // Once for all runs, on the stream that they all train on.
      if (device_) batches.back() = batches.back().to(*device_, /*non_blocking=*/true);
    }
    return batches;
  }

  void advance(Entrant& entrant, std::int64_t chunk, const std::vector<at::Tensor>& batches) {
    const bool sound = attempt([&] {
      try {
        while (entrant.training() && !interrupt_requested()) {
          const std::int64_t place = entrant.run->trainer().steps_done() - chunk * chunk_;
          if (place >= chunk_) return;
          entrant.run->step(batches[static_cast<std::size_t>(place)]);
        }
      } catch (const DivergenceError& error) {
        entrant.failure = error.what();
        write_file_atomically(entrant.folder / kFailure, entrant.failure + "\n");
      }
    });
    if (!sound) entrant.run.reset();  // in the middle of a step: not to be saved
  }

  /// Does something that may throw; what it throws is kept for later, the first of all.
  bool attempt(const std::function<void()>& work) {
    try {
      work();
      return true;
    } catch (...) {
      const std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
      return false;
    }
  }

  const Cohort& cohort_;
  const std::vector<Entrant*>& wave_;
  std::size_t threads_;
  std::int64_t chunk_;
  std::unique_ptr<ActivationSource> source_;
  std::optional<at::Device> device_;  // that all runs are on; none: the CPU, or several
  std::exception_ptr error_;
  std::mutex error_mutex_;
};

/// How far a run had come that was stopped, as its checkpoints are called.
std::int64_t steps_before(const std::filesystem::path& folder) {
  std::int64_t step = 0;
  if (!std::filesystem::is_directory(folder / "checkpoints")) return step;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "checkpoints")) {
    step = std::max(step, checkpoint_step(entry.path()));
  }
  return step;
}

}  // namespace

std::string data_key(const PlannedRun& run) {
  Json data = resolve_data(run.options.data);
  if (data["stream_seed"].is_null()) data["stream_seed"] = run.options.basics.seed;
  return data.dump() + "/" + std::to_string(run.options.train.train.batch);
}

std::int64_t Cohort::chunk() const {
  const std::int64_t bytes = batch * data.d_in * 4;
  return std::clamp<std::int64_t>((32 << 20) / bytes, 1, 64);
}

Entrant make_entrant(const PlannedRun& run, const std::filesystem::path& folder) {
  Entrant entrant{&run, folder, nullptr, "", 0};
  if (const auto place = folder / kFailure; std::filesystem::exists(place)) {
    entrant.failure = read_file(place);
    while (entrant.failure.ends_with('\n')) entrant.failure.pop_back();
  }
  const bool over = !entrant.failure.empty() || TrainingRun::is_complete(folder);
  entrant.done = over ? entrant.steps() : std::min(steps_before(folder), entrant.steps() - 1);
  return entrant;
}

std::vector<Cohort> make_cohorts(std::vector<Entrant>& entrants, ComparisonData& data) {
  std::vector<Cohort> cohorts;
  std::map<std::string, std::size_t> known;
  for (Entrant& entrant : entrants) {
    if (!entrant.ours || entrant.over()) continue;
    const auto [place, is_new] = known.emplace(data_key(*entrant.plan), cohorts.size());
    if (is_new) {
      cohorts.push_back({data.of(*entrant.plan), entrant.plan->options.train.train.batch, {}});
    }
    cohorts[place->second].entrants.push_back(&entrant);
  }
  return cohorts;
}

bool train_wave(const Cohort& cohort, const std::vector<Entrant*>& wave, std::size_t threads,
                const std::function<bool()>& after_chunk) {
  WaveTraining training(cohort, wave, threads);
  training.open();
  const bool whole = training.train(after_chunk);
  training.close();
  return whole;
}

}  // namespace sae

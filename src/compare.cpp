#include "sae/compare.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "sae/error.h"
#include "sae/files.h"
#include "sae/report.h"
#include "sae/version.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Runs `job(i)` for i in [0, count) on `threads` threads, each with one intra-op thread, so that
/// what a job computes does not depend on how many run beside it. The first exception is rethrown.
void run_jobs(std::size_t count, std::size_t threads, const std::function<void(std::size_t)>& job) {
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto work = [&] {
    at::set_num_threads(1);
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        job(i);
      } catch (...) {
        const std::lock_guard lock(failure_mutex);
        if (!failure) failure = std::current_exception();
        next = count;
      }
    }
  };
  std::vector<std::thread> pool;
  for (std::size_t t = 0; t < std::min(threads, count); ++t) pool.emplace_back(work);
  for (std::thread& thread : pool) thread.join();
  if (failure) std::rethrow_exception(failure);
}

/// A planned run while it is being trained.
struct Entrant {
  const PlannedRun* plan = nullptr;
  fs::path folder;
  std::unique_ptr<TrainingRun> run;
  std::string failure;

  bool training() const { return run && failure.empty() && !run->finished(); }
  std::int64_t steps() const { return plan->options.train.train.total_steps(); }
};

/// Runs that can be fed the same batches.
struct Group {
  Data data;
  std::int64_t batch = 0;
  std::vector<Entrant*> entrants;
};

std::string data_key(const PlannedRun& run) {
  Json data = resolve_data(run.options.data);
  if (data["stream_seed"].is_null()) data["stream_seed"] = run.options.basics.seed;
  return data.dump() + "/" + std::to_string(run.options.train.train.batch);
}

Json read_json(const fs::path& path) {
  try {
    return Json::parse(read_file(path));
  } catch (const Json::exception& error) {
    throw DataError(path.string() + ": " + error.what());
  }
}

/// What must agree for a comparison to go on: everything but where and how it is computed.
Json identity(Json settings) {
  settings.erase("jobs");
  if (!settings["base"].is_object()) return settings;
  settings["base"].erase("threads");
  settings["base"].erase("device");
  return settings;
}

/// A folder for this comparison: new, or one that it was started in before.
void claim_folder(const ComparisonPlan& plan, const fs::path& folder) {
  const fs::path record = folder / "comparison.json";
  if (fs::exists(record)) {
    if (identity(read_json(record)) == identity(Json::parse(plan.settings))) return;
    throw ConfigError(folder.string() + ": holds another comparison; choose another --out");
  }
  remove_stale_staging(folder);  // of a process killed between the next two lines
  if (fs::exists(folder) && !fs::is_empty(folder)) {
    throw ConfigError(folder.string() + ": exists and is no comparison; choose another --out");
  }
  create_output_folder(folder);
  write_file_atomically(record, plan.settings + "\n");
}

/// Trains a group chunk by chunk: batches are drawn once, while the previous chunk is trained on.
class GroupTraining {
 public:
  GroupTraining(Group& group, std::size_t threads, std::function<bool()> after_chunk)
      : group_(group), threads_(threads), after_chunk_(std::move(after_chunk)) {
    const std::int64_t bytes = group.batch * group.data.d_in * 4;
    chunk_ = std::clamp<std::int64_t>((32 << 20) / bytes, 1, 64);
    source_ = group.data.train();
  }

  /// False if it was told to stop.
  bool run() {
    std::int64_t chunk = first_chunk();
    std::vector<at::Tensor> batches = draw(chunk);
    while (std::any_of(group_.entrants.begin(), group_.entrants.end(),
                       [](const Entrant* one) { return one->training(); })) {
      std::vector<at::Tensor> next;
      run_jobs(group_.entrants.size() + 1, threads_, [&](std::size_t job) {
        if (job == 0) {
          next = draw(chunk + 1);
        } else {
          advance(*group_.entrants[job - 1], chunk, batches);
        }
      });
      batches = std::move(next);
      ++chunk;
      if (!after_chunk_()) return false;
    }
    return true;
  }

 private:
  std::int64_t first_chunk() const {
    std::int64_t step = INT64_MAX;
    for (const Entrant* one : group_.entrants) {
      if (one->training()) step = std::min(step, one->run->trainer().steps_done());
    }
    return step == INT64_MAX ? 0 : step / chunk_;
  }

  std::vector<at::Tensor> draw(std::int64_t chunk) {
    std::vector<at::Tensor> batches;
    source_->seek(chunk * chunk_ * group_.batch);
    for (std::int64_t i = 0; i < chunk_; ++i) batches.push_back(source_->next(group_.batch));
    return batches;
  }

  void advance(Entrant& entrant, std::int64_t chunk, const std::vector<at::Tensor>& batches) {
    try {
      while (entrant.training()) {
        const std::int64_t place = entrant.run->trainer().steps_done() - chunk * chunk_;
        if (place >= chunk_) return;
        entrant.run->step(batches[static_cast<std::size_t>(place)]);
      }
    } catch (const DivergenceError& error) {
      entrant.failure = error.what();
    }
  }

  Group& group_;
  std::size_t threads_;
  std::function<bool()> after_chunk_;
  std::int64_t chunk_ = 1;
  std::unique_ptr<ActivationSource> source_;
};

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
  const Json summary = read_json(entrant.folder / "summary.json");
  for (const auto& [name, value] : summary.at("metrics").items()) {
    result.metrics[name] = value.is_null() ? NAN : value.get<double>();
  }
  const Json& firing = summary.at("firing");
  result.firing = {firing.at("edges").get<std::vector<double>>(),
                   firing.at("counts").get<std::vector<std::int64_t>>(),
                   firing.at("never").get<std::int64_t>()};
  result.wall_s = summary.at("wall_s").get<double>();
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

std::vector<Group> make_groups(std::vector<Entrant>& entrants) {
  std::vector<Group> groups;
  std::map<std::string, std::size_t> known;
  for (Entrant& entrant : entrants) {
    if (TrainingRun::is_complete(entrant.folder)) continue;
    const auto [place, is_new] = known.emplace(data_key(*entrant.plan), groups.size());
    if (is_new) {
      const RunOptions& options = entrant.plan->options;
      groups.push_back({open_data(options.data, static_cast<std::uint64_t>(options.basics.seed)),
                        options.train.train.batch,
                        {}});
    }
    groups[place->second].entrants.push_back(&entrant);
  }
  return groups;
}

}  // namespace

CompareOutcome compare(const ComparisonPlan& plan, const fs::path& folder,
                       const std::string& command, const CompareHooks& hooks) {
  claim_folder(plan, folder);
  std::vector<Entrant> entrants;
  std::int64_t total = 0;
  for (const PlannedRun& run : plan.runs) {
    entrants.push_back({&run, folder / "runs" / run.name, nullptr, ""});
    total += entrants.back().steps();
  }
  const auto threads = static_cast<std::size_t>(
      plan.basics.jobs > 0 ? plan.basics.jobs : std::max(1U, std::thread::hardware_concurrency()));
  const auto after_chunk = [&] {
    std::int64_t done = 0;
    std::int64_t finished = 0;
    for (const Entrant& one : entrants) {
      const bool over = !one.failure.empty() ||
                        (one.run ? one.run->finished() : TrainingRun::is_complete(one.folder));
      done += over ? one.steps() : one.run ? one.run->trainer().steps_done() : 0;
      finished += over;
    }
    if (hooks.on_progress) hooks.on_progress(done, total, finished);
    return !(hooks.should_stop && hooks.should_stop());
  };
  for (Group& group : make_groups(entrants)) {
    run_jobs(group.entrants.size(), threads, [&](std::size_t i) {
      Entrant& one = *group.entrants[i];
      one.run =
          std::make_unique<TrainingRun>(one.plan->options, group.data, one.folder, /*resume=*/true);
      one.run->calibrate();
    });
    const bool whole = GroupTraining(group, threads, after_chunk).run();
    run_jobs(group.entrants.size(), threads, [&](std::size_t i) {
      Entrant& one = *group.entrants[i];
      if (one.failure.empty() && one.run->finished()) {
        one.run->finish();
      } else if (!whole && one.failure.empty()) {
        one.run->save_checkpoint();
      }
      if (whole) one.run.reset();  // the next group needs the memory
    });
    if (!whole) return {};
  }
  CompareOutcome outcome{true, gather(plan, entrants, command)};
  write_file_atomically(folder / "results.json", to_json(outcome.result) + "\n");
  write_file_atomically(folder / "results.csv", to_csv(outcome.result));
  write_file_atomically(folder / "report.html", render_report(outcome.result));
  return outcome;
}

}  // namespace sae

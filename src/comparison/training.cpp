#include "comparison/training.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/parallel.h"
#include "sae/base/error.h"
#include "sae/base/files.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFailure = "failure.txt";

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
      write_file_atomically(entrant.folder / kFailure, entrant.failure + "\n");
    }
  }

  Group& group_;
  std::size_t threads_;
  std::function<bool()> after_chunk_;
  std::int64_t chunk_ = 1;
  std::unique_ptr<ActivationSource> source_;
};

}  // namespace

std::string data_key(const PlannedRun& run) {
  Json data = resolve_data(run.options.data);
  if (data["stream_seed"].is_null()) data["stream_seed"] = run.options.basics.seed;
  return data.dump() + "/" + std::to_string(run.options.train.train.batch);
}

Entrant make_entrant(const PlannedRun& run, const std::filesystem::path& folder) {
  Entrant entrant{&run, folder, nullptr, ""};
  if (const auto place = folder / kFailure; std::filesystem::exists(place)) {
    entrant.failure = read_file(place);
    while (entrant.failure.ends_with('\n')) entrant.failure.pop_back();
  }
  return entrant;
}

std::vector<Group> make_groups(std::vector<Entrant>& entrants) {
  std::vector<Group> groups;
  std::map<std::string, std::size_t> known;
  for (Entrant& entrant : entrants) {
    if (!entrant.failure.empty() || TrainingRun::is_complete(entrant.folder)) continue;
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

bool train_group(Group& group, std::size_t threads, std::function<bool()> after_chunk) {
  run_jobs(group.entrants.size(), threads, [&](std::size_t i) {
    Entrant& one = *group.entrants[i];
    one.run =
        std::make_unique<TrainingRun>(one.plan->options, group.data, one.folder, /*resume=*/true);
    one.run->calibrate();
  });
  const bool whole = GroupTraining(group, threads, std::move(after_chunk)).run();
  run_jobs(group.entrants.size(), threads, [&](std::size_t i) {
    Entrant& one = *group.entrants[i];
    if (one.failure.empty() && one.run->finished()) {
      one.run->finish();
    } else if (!whole && one.failure.empty()) {
      one.run->save_checkpoint();
    }
    if (whole) one.run.reset();  // the next group needs the memory
  });
  return whole;
}

}  // namespace sae

#include "comparison/preflight.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "comparison/evaluation.h"
#include "sae/base/error.h"
#include "sae/base/folder_lock.h"
#include "training/calibration.h"
#include "training/disk_room.h"
#include "training/run_notices.h"
#include "training/run_record.h"
#include "training/start.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

/// "a, b, c and 4 more"
std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 3;
  std::string text;
  for (std::size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    text += (i > 0 ? ", " : "") + names[i];
  }
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

/// Each thing once, however many runs say it.
struct Notices {
  std::vector<Notice> all;

  void add(const std::vector<Notice>& more) {
    for (const Notice& one : more) {
      if (std::find(all.begin(), all.end(), one) == all.end()) all.push_back(one);
    }
  }
};

/// Sees to it that what is meant by the same words is the same data: for all runs that are kept,
/// and as the data are now.
class OneState {
 public:
  void is(const std::string& meant, const DataIdentity& now) { now_.emplace(meant, now); }
  void was(const std::string& meant, const DataIdentity& then, const std::string& run) {
    kept_.push_back({meant, then, run});
  }

  void require(const fs::path& folder) const {
    for (const Kept& one : kept_) {
      const auto found = now_.find(one.meant);
      const DataIdentity& reference = found != now_.end() ? found->second : first(one.meant);
      if (reference.digest != one.then.digest) refuse(folder, one, reference);
    }
  }

 private:
  struct Kept {
    std::string meant;
    DataIdentity then;
    std::string run;
  };

  const DataIdentity& first(const std::string& meant) const {
    return std::find_if(kept_.begin(), kept_.end(),
                        [&](const Kept& one) { return one.meant == meant; })
        ->then;
  }

  [[noreturn]] void refuse(const fs::path& folder, const Kept& kept,
                           const DataIdentity& other) const {
    std::vector<std::string> runs;
    for (const Kept& one : kept_) {
      const bool same = one.meant == kept.meant && one.then.digest == kept.then.digest;
      if (same && std::find(runs.begin(), runs.end(), one.run) == runs.end()) {
        runs.push_back(one.run);
      }
    }
    throw DataError(folder.string() + ": runs on different data cannot be compared: " +
                    change_of_data({kept.then, kept.then}, {other, other}) + "; of before are " +
                    listed(runs) + ": put those data back, remove these folders in " +
                    (folder / "runs").string() + " to train them anew, or choose another --out");
  }

  std::map<std::string, DataIdentity> now_;
  std::vector<Kept> kept_;
};

/// What a run's configuration means by its training and by its held-out data.
struct Meant {
  std::string train, held_out;

  explicit Meant(const PlannedRun& run) {
    nlohmann::ordered_json data = resolve_data(run.options.data);
    if (data.at("kind") == "store") {
      const auto& other = data.at("held_out_path");
      train = data.at("path").get<std::string>();
      held_out = other.is_null() ? train : other.get<std::string>();
    } else {
      data.erase("stream_seed");
      train = held_out = data.dump();
    }
  }
};

class Preflight {
 public:
  Preflight(const fs::path& folder, RunEvaluator* evaluator, ComparisonData& data)
      : folder_(folder), evaluator_(evaluator), data_(data) {}

  void look_at(const Entrant& one) {
    if (!one.ours) {  // who trains it looks at it; of one that is there its data must agree
      if (TrainingRun::is_complete(one.folder)) recall(one);
      return;
    }
    const bool trains = one.failure.empty() && !TrainingRun::is_complete(one.folder);
    if (trains || (evaluator_ != nullptr && one.failure.empty())) open_data_of(one, trains);
    if (!is_fresh(one.folder)) recall(one);
  }

  std::vector<Notice> finish() {
    state_.require(folder_);
    require_room(folder_, bytes_);
    if (!silent_.empty()) {
      notices_.add({{Notice::Kind::kWarning,
                     folder_.string() + ": which data they were trained on is not known of " +
                         listed(silent_) + "; they are taken to be those of now"}});
    }
    return notices_.all;
  }

 private:
  void open_data_of(const Entrant& one, bool trains) {
    const RunOptions& options = one.plan->options;
    const Data& opened = data_.of(*one.plan);
    require_trainable(options, opened);
    if (evaluator_ != nullptr && widths_.insert(opened.d_in).second) {
      evaluator_->check_input(opened.d_in);
    }
    if (evaluator_ != nullptr) evaluator_->check_data(opened);
    if (trains) look_at_start(one, opened);
    if (trains) {
      const FolderLock free(one.folder);  // or somebody trains it by itself
      bytes_ += bytes_to_write(options, opened, one.folder);
      notices_.add(notices_about(options, opened));
    } else if (const auto notice = kernels_for(options)) {
      notices_.add({*notice});
    }
    const Meant meant(*one.plan);
    if (trains) look_at_inputs(meant.train, options, opened);
    state_.is(meant.train, opened.fingerprint->train);
    state_.is(meant.held_out, opened.fingerprint->held_out);
  }

  void look_at_start(const Entrant& one, const Data& opened) {
    const RunOptions& options = one.plan->options;
    if (options.train.start.from.empty() || !needs_start(one.folder)) return;
    notices_.add(read_start(options, opened.d_in)->notices);
  }

  /// Runs on the same data have the same to say about them: looked at once.
  void look_at_inputs(const std::string& data, const RunOptions& options, const Data& opened) {
    const TrainOptions& train = options.train.train;
    const auto [place, is_new] = inputs_.try_emplace({data, train.calibration_tokens});
    if (is_new) place->second = input_statistics(calibration_rows(train, opened));
    notices_.add(notices_about(place->second, options, opened));
  }

  /// What the run's folder says of how it went before.
  void recall(const Entrant& one) {
    const auto then = require_same_run(one.folder, resolve_run(one.plan->options), {});
    if (then) {
      const Meant meant(*one.plan);
      state_.was(meant.train, then->train, one.plan->name);
      state_.was(meant.held_out, then->held_out, one.plan->name);
    } else {
      silent_.push_back(one.plan->name);
    }
  }

  const fs::path& folder_;
  RunEvaluator* evaluator_;
  ComparisonData& data_;
  OneState state_;
  Notices notices_;
  std::map<std::pair<std::string, std::int64_t>, InputStatistics> inputs_;
  std::set<std::int64_t> widths_;    // that the evaluator has been asked about
  std::vector<std::string> silent_;  // runs that do not say what they were trained on
  double bytes_ = 0;
};

}  // namespace

const Data& ComparisonData::of(const PlannedRun& run) {
  const std::lock_guard lock(mutex_);
  const std::string key = data_key(run);
  const auto found = opened_.find(key);
  if (found != opened_.end()) return found->second;
  const RunOptions& options = run.options;
  return opened_
      .emplace(key, open_data(options.data, static_cast<std::uint64_t>(options.basics.seed)))
      .first->second;
}

std::vector<Notice> check_before_training(const fs::path& folder,
                                          const std::vector<Entrant>& entrants,
                                          RunEvaluator* evaluator, ComparisonData& data) {
  Preflight preflight(folder, evaluator, data);
  for (const Entrant& one : entrants) preflight.look_at(one);
  return preflight.finish();
}

}  // namespace sae

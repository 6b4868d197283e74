#include "comparison/folder.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/interrupt.h"
#include "training/run_record.h"

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

fs::path place_of(const fs::path& folder, const Share& share) {
  return folder / ("share-" + std::to_string(share.index) + "-of-" + std::to_string(share.count));
}

/// ConfigError if a process has a share; locks that ended processes left behind go.
void require_no_shares(const fs::path& folder) {
  std::vector<fs::path> places;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string end = ".lock";
    if (!name.starts_with(".share-") || !name.ends_with(end)) continue;
    places.push_back(folder / name.substr(1, name.size() - 1 - end.size()));
  }
  for (const fs::path& place : places) FolderLock::beside(place);
}

/// The folder's lock, once other shares have let go of it, which hold it for an instant.
FolderLock lock_in_turn(const fs::path& folder) {
  using namespace std::chrono_literals;
  for (const auto end = std::chrono::steady_clock::now() + 5s;;) {
    try {
      return FolderLock(folder);
    } catch (const ConfigError&) {
      check_interrupt();
      if (std::chrono::steady_clock::now() > end) throw;
    }
    std::this_thread::sleep_for(20ms);
  }
}

}  // namespace

ComparisonFolder::ComparisonFolder(const ComparisonPlan& plan, fs::path folder, const Share& share)
    : plan_(plan), folder_(std::move(folder)), whole_(share.is_whole()) {
  if (whole_) {
    lock_ = FolderLock(folder_);
    require_no_shares(folder_);
    require_own();
  } else {
    lock_ = FolderLock::beside(place_of(folder_, share));
    const FolderLock turn = lock_in_turn(folder_);  // nobody has the whole of it
    require_own();
  }
}

void ComparisonFolder::require_own() const {
  const fs::path record = record_of(folder_);
  if (fs::exists(record)) {
    if (common_to_all(read_json(record)) != common_to_all(*plan_.settings)) {
      throw ConfigError(folder_.string() +
                        ": holds a comparison with another base; choose another --out");
    }
    return;
  }
  if (!nothing_begun(folder_)) {
    throw ConfigError(folder_.string() + ": exists and is no comparison; choose another --out");
  }
}

void ComparisonFolder::claim() const {
  FolderLock turn;
  if (!whole_) {
    turn = lock_in_turn(folder_);
    require_own();  // since the first look another one may have begun
  }
  remove_stale_staging(folder_);  // of a process killed before the next line was done
  write_file_atomically(record_of(folder_), plan_.settings->dump(2) + "\n");
}

}  // namespace sae

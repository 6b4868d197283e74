#include "sae/training/checkpoint.h"

#include <torch/types.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "distributed/agreement.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/sha256.h"
#include "sae/base/version.h"
#include "sae/config/findings.h"
#include "sae/models/sae_folder.h"
#include "training/calibration.h"
#include "training/shards.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kSae = "sae";
constexpr const char* kOptimizer = "optimizer";
constexpr const char* kState = "state.json";
constexpr const char* kManifest = "MANIFEST.json";

fs::path step_folder(std::int64_t step) {
  std::string digits = std::to_string(step);
  digits.insert(0, digits.size() < 8 ? 8 - digits.size() : 0, '0');
  return "step-" + digits;
}

/// Checkpoint folders, newest first.
std::vector<fs::path> checkpoints_in(const fs::path& folder) {
  std::vector<fs::path> found;
  if (!fs::is_directory(folder)) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("step-")) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) {
    return checkpoint_step(a) > checkpoint_step(b);
  });
  return found;
}

}  // namespace

Json to_json(const std::vector<Replanned>& replanned) {
  Json list = Json::array();
  for (const Replanned& one : replanned) {
    list.push_back({{"step", one.step}, {"before", one.before}});
  }
  return list;
}

std::vector<Replanned> replanned_from_json(const Json& list) {
  std::vector<Replanned> replanned;
  for (const Json& one : list) {
    replanned.push_back({one.at("step").get<std::int64_t>(), one.at("before").get<std::int64_t>()});
  }
  return replanned;
}

void CheckpointOptions::check(Findings& findings, const RunLength& run) const {
  if (checkpoint_every > run.steps && checkpoint_every != CheckpointOptions{}.checkpoint_every) {
    findings.warn("checkpoint_every", "got " + std::to_string(checkpoint_every) + ", the run has " +
                                          std::to_string(run.steps) +
                                          " steps: none is written by steps");
  }
}

bool is_intact(const fs::path& checkpoint) {
  try {
    const Json manifest = Json::parse(read_file(checkpoint / kManifest));
    std::vector<std::string> names;
    for (const auto& [name, entry] : manifest.at("files").items()) {
      if (fs::path(name).filename() != name) return false;
      if (fs::file_size(checkpoint / name) != entry.at("size").get<std::uintmax_t>()) return false;
      if (sha256_of_file(checkpoint / name) != entry.at("sha256").get<std::string>()) return false;
      names.push_back(name);
    }
    return !shards_among(names, kSae).empty() && !shards_among(names, kOptimizer).empty() &&
           std::find(names.begin(), names.end(), kState) != names.end();
  } catch (const std::exception&) {
    return false;  // unreadable in whatever way: not a checkpoint to go on from
  }
}

std::int64_t checkpoint_step(const fs::path& checkpoint) {
  const std::string name = checkpoint.filename().string();
  std::int64_t step = -1;
  if (name.size() > 5) std::from_chars(name.data() + 5, name.data() + name.size(), step);
  return step;
}

namespace {

/// {"sae.safetensors": {"size": .., "sha256": ".."}}
Json described(const fs::path& folder, const std::vector<std::string>& names) {
  Json files = Json::object();
  for (const std::string& name : names) {
    files[name] = {{"size", fs::file_size(folder / name)},
                   {"sha256", sha256_of_file(folder / name)}};
  }
  return files;
}

/// What this rank has, into a folder that one rank has made; which files these are.
std::vector<std::string> write_shards(const fs::path& folder, const Trainer& trainer) {
  const Autoencoder& sae = *trainer.autoencoder();
  const Spread& spread = sae.spread();
  const auto& [world, data, latents] = spread.mesh();
  std::vector<std::string> names;
  if (data.rank() == 0) {
    names.push_back(shard_name(kSae, latents.rank() + 1, latents.size()));
    write_shard(folder / names.back(), state_of(sae), spread.ids(), spread.d_sae());
  }
  names.push_back(shard_name(kOptimizer, world.rank() + 1, world.size()));
  write_shard(folder / names.back(), trainer.state(), trainer.latents_of_state(), spread.d_sae());
  return names;
}

void write_manifest(const fs::path& folder, const Json& files) {
  const Json manifest{{"format", "sae-manifest"}, {"version", 1}, {"files", files}};
  write_file_atomically(folder / kManifest, manifest.dump(2) + "\n");
}

Json state_json(const Trainer& trainer, const CheckpointRecord& record) {
  Json state{{"format", "sae-checkpoint"},
             {"version", 1},
             {"sae", kVersion},
             {"libtorch", kTorchVersion},
             {"step", trainer.steps_done()},
             {"input_scale", trainer.input_scale()}};
  if (record.planned_steps > 0) state["planned_steps"] = record.planned_steps;
  if (record.data) state["data"] = to_json(*record.data);
  if (!record.replanned.empty()) state["replanned"] = to_json(record.replanned);
  if (record.started_from) state["started_from"] = to_json(*record.started_from);
  return state;
}

/// Deletes all but the newest `keep`, and what claims to be newer than `step`: it was found damaged
/// when training went on from an older one.
void tidy(const fs::path& folder, std::int64_t step, std::int64_t keep) {
  std::int64_t kept = 0;
  for (const fs::path& checkpoint : checkpoints_in(folder)) {
    const bool newer = checkpoint_step(checkpoint) > step;
    if (newer || ++kept > keep) fs::remove_all(checkpoint);
  }
}

}  // namespace

void save_checkpoint(const fs::path& folder, const Trainer& trainer, std::int64_t keep,
                     const CheckpointRecord& record) {
  const fs::path target = folder / step_folder(trainer.steps_done());
  const Group& world = trainer.autoencoder()->spread().mesh().world;
  std::optional<StagedDirectory> staged;  // of rank 0, which alone makes and renames folders
  if (world.rank() == 0 && !(fs::exists(target) && is_intact(target))) {
    fs::remove_all(target);
    staged.emplace(target);
  }
  const std::string name = told(world, staged ? staged->path().filename().string() : "");
  if (name.empty()) return;
  const fs::path place = target.parent_path() / name;
  const std::vector<std::string> written = write_shards(place, trainer);
  const std::vector<std::string> all = told_by_all(world, described(place, written).dump());
  if (staged) {
    std::map<std::string, Json> shards;  // in their order
    for (const std::string& of_rank : all) {
      const Json own = Json::parse(of_rank);
      for (const auto& [file, entry] : own.items()) shards[file] = entry;
    }
    Json files = Json::object();
    for (const char* stem : {kSae, kOptimizer}) {
      for (const auto& [file, entry] : shards) {
        if (file.starts_with(stem)) files[file] = entry;
      }
    }
    write_file_atomically(place / kState, state_json(trainer, record).dump(2) + "\n");
    files.update(described(place, {kState}));
    write_manifest(place, files);
    staged->commit();
    tidy(folder, trainer.steps_done(), keep);
  }
  world.meet();
}

std::optional<fs::path> newest_checkpoint(const fs::path& folder) {
  for (const fs::path& checkpoint : checkpoints_in(folder)) {
    if (is_intact(checkpoint)) return checkpoint;
  }
  return std::nullopt;
}

CheckpointState read_checkpoint_state(const fs::path& checkpoint) {
  const std::string place = (checkpoint / kState).string();
  try {
    const Json state = Json::parse(read_file(place));
    if (state.at("format") != "sae-checkpoint" || state.at("version") != 1) {
      throw DataError(place + ": got format " + state.at("format").dump() + " version " +
                      state.at("version").dump() + ", expected \"sae-checkpoint\" version 1");
    }
    CheckpointState out;
    out.step = state.at("step").get<std::int64_t>();
    out.input.scale = state.at("input_scale").get<double>();
    const Shards tensors(checkpoint, kOptimizer);
    if (tensors.contains(kInputMean)) out.input.mean = tensors.shared(kInputMean);
    out.record.planned_steps = state.value("planned_steps", std::int64_t{0});
    if (state.contains("data")) out.record.data = fingerprint_from_json(state.at("data"));
    if (state.contains("replanned")) {
      out.record.replanned = replanned_from_json(state.at("replanned"));
    }
    if (state.contains("started_from")) {
      out.record.started_from = started_from_json(state.at("started_from"));
    }
    return out;
  } catch (const nlohmann::json::exception& error) {
    throw DataError(place + ": " + error.what());
  }
}

CheckpointRecord load_checkpoint(const fs::path& checkpoint, Trainer& trainer) {
  const CheckpointState state = read_checkpoint_state(checkpoint);
  const Spread& spread = trainer.autoencoder()->spread();
  // Everything is checked before anything is changed.
  const Shards optimizer(checkpoint, kOptimizer);
  const auto moments = trainer.state();
  optimizer.check(moments, trainer.latents_of_state(), spread.d_sae());
  load_autoencoder(checkpoint, *trainer.autoencoder());
  optimizer.read(moments, trainer.latents_of_state(), spread.d_sae());
  trainer.restore(state.step, state.input.scale);
  return state.record;
}

void load_autoencoder(const fs::path& folder, Autoencoder& sae) {
  Shards(folder, kSae).read(state_of(sae), sae.spread().ids(), sae.spread().d_sae());
}

}  // namespace sae

#include "sae/training/checkpoint.h"

#include <torch/types.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/sha256.h"
#include "sae/base/version.h"
#include "sae/config/findings.h"
#include "sae/models/sae_folder.h"
#include "training/calibration.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kFiles[] = {"sae.safetensors", "optimizer.safetensors", "state.json"};

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
    const Json manifest = Json::parse(read_file(checkpoint / "MANIFEST.json"));
    for (const char* name : kFiles) {
      const Json& entry = manifest.at("files").at(name);
      if (fs::file_size(checkpoint / name) != entry.at("size").get<std::uintmax_t>()) return false;
      if (sha256_of_file(checkpoint / name) != entry.at("sha256").get<std::string>()) return false;
    }
    return true;
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

void save_checkpoint(const fs::path& folder, const Trainer& trainer, std::int64_t keep,
                     const CheckpointRecord& record) {
  const fs::path target = folder / step_folder(trainer.steps_done());
  if (fs::exists(target)) {
    if (is_intact(target)) return;
    fs::remove_all(target);
  }
  StagedDirectory staged(target);
  write_safetensors(staged.path() / kFiles[0], state_of(*trainer.autoencoder()));
  write_safetensors(staged.path() / kFiles[1], trainer.state());
  Json state{{"format", "sae-checkpoint"},
             {"version", 1},
             {"sae", kVersion},
             {"libtorch", kTorchVersion},
             {"step", trainer.steps_done()},
             {"input_scale", trainer.input_scale()}};
  if (record.planned_steps > 0) state["planned_steps"] = record.planned_steps;
  if (record.data) state["data"] = to_json(*record.data);
  if (!record.replanned.empty()) state["replanned"] = to_json(record.replanned);
  write_file_atomically(staged.path() / kFiles[2], state.dump(2) + "\n");
  Json files = Json::object();
  for (const char* name : kFiles) {
    files[name] = {{"size", fs::file_size(staged.path() / name)},
                   {"sha256", sha256_of_file(staged.path() / name)}};
  }
  const Json manifest{{"format", "sae-manifest"}, {"version", 1}, {"files", files}};
  write_file_atomically(staged.path() / "MANIFEST.json", manifest.dump(2) + "\n");
  staged.commit();

  // What claims to be newer was found damaged when training went on from an older one.
  std::int64_t kept = 0;
  for (const fs::path& checkpoint : checkpoints_in(folder)) {
    const bool newer = checkpoint_step(checkpoint) > trainer.steps_done();
    if (newer || ++kept > keep) fs::remove_all(checkpoint);
  }
}

std::optional<fs::path> newest_checkpoint(const fs::path& folder) {
  for (const fs::path& checkpoint : checkpoints_in(folder)) {
    if (is_intact(checkpoint)) return checkpoint;
  }
  return std::nullopt;
}

CheckpointState read_checkpoint_state(const fs::path& checkpoint) {
  const std::string place = (checkpoint / "state.json").string();
  try {
    const Json state = Json::parse(read_file(place));
    if (state.at("format") != "sae-checkpoint" || state.at("version") != 1) {
      throw DataError(place + ": got format " + state.at("format").dump() + " version " +
                      state.at("version").dump() + ", expected \"sae-checkpoint\" version 1");
    }
    CheckpointState out;
    out.step = state.at("step").get<std::int64_t>();
    out.input.scale = state.at("input_scale").get<double>();
    const SafetensorsFile tensors(checkpoint / kFiles[1]);
    if (tensors.contains(kInputMean)) out.input.mean = tensors.tensor(kInputMean).clone();
    out.record.planned_steps = state.value("planned_steps", std::int64_t{0});
    if (state.contains("data")) out.record.data = fingerprint_from_json(state.at("data"));
    if (state.contains("replanned")) {
      out.record.replanned = replanned_from_json(state.at("replanned"));
    }
    return out;
  } catch (const nlohmann::json::exception& error) {
    throw DataError(place + ": " + error.what());
  }
}

CheckpointRecord load_checkpoint(const fs::path& checkpoint, Trainer& trainer) {
  const at::NoGradGuard no_grad;
  const CheckpointState state = read_checkpoint_state(checkpoint);
  // Everything is checked before anything is changed.
  const SafetensorsFile optimizer(checkpoint / kFiles[1]);
  const auto moments = trainer.state();
  std::vector<std::string> names;
  std::vector<at::Tensor> stored;
  for (const auto& [name, tensor] : moments) names.push_back(name);
  optimizer.expect_names(names);
  for (const auto& [name, tensor] : moments) {
    stored.push_back(optimizer.expect(name, tensor.sizes(), tensor.scalar_type()));
  }
  load_state(*trainer.autoencoder(), SafetensorsFile(checkpoint / kFiles[0]));
  for (std::size_t i = 0; i < moments.size(); ++i) moments[i].second.copy_(stored[i]);
  trainer.restore(state.step, state.input.scale);
  return state.record;
}

}  // namespace sae

#include "sae/training/open.h"

#include <torch/types.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "models/interchange/formats.h"
#include "models/interchange/tool_config.h"
#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/data/data.h"
#include "sae/models/architectures.h"
#include "sae/training/checkpoint.h"
#include "sae/training/run.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Whether config.json is a run's: resolved options, and no `format`.
bool is_run_config(const fs::path& file) {
  Notes unread;
  const auto config = ToolConfig::informing(file, unread);
  if (!config || config->has("format")) return false;
  return config->json().value("model", Json()).is_object() &&
         config->json().value("train", Json()).is_object();
}

/// The folder of a checkpoint's run.
fs::path run_of(const fs::path& checkpoint) {
  fs::path place = fs::absolute(checkpoint).lexically_normal();
  if (!place.has_filename()) place = place.parent_path();
  return place.parent_path().parent_path();
}

/// Where the activations of a run came from, as training writes it into the result. Data that are
/// gone since leave it unknown.
void add_source(Json& config, const Json& training, Notes& notes) {
  try {
    Json group = training.at("data");
    if (group.at("kind") == "stream") {  // opened it would be made
      config["source"] = {{"kind", "stream"}, {"command", group.at("command")}};
      return;
    }
    if (group.at("kind") == "store") group["verify"] = false;  // nothing of it is used
    const Data data = open_data(config_from_json(group, "data"), /*seed=*/0);
    config["source"] = *data.source;
  } catch (const std::exception& error) {
    notes.push_back(std::string("the data of the run cannot be opened, so that their source is ") +
                    "not known: " + error.what());
  }
}

OpenedSae open_checkpoint(const fs::path& checkpoint) {
  const at::NoGradGuard no_grad;
  const fs::path run_config = run_of(checkpoint) / "config.json";
  if (!is_intact(checkpoint)) {
    throw DataError(checkpoint.string() +
                    ": is damaged: its files are not those that MANIFEST.json lists");
  }
  if (!is_run_config(run_config)) {
    throw DataError(checkpoint.string() + ": is a checkpoint, and " + run_config.string() +
                    ", which says of what, is not there; move it back into its run");
  }
  OpenedSae opened;
  opened.format = "sae";
  try {
    const ConfigNode training = read_config(run_config.string());
    const CheckpointState state = read_checkpoint_state(checkpoint);
    opened.folder.sae = make_autoencoder(training.at("model"));
    load_autoencoder(checkpoint, *opened.folder.sae);
    fold_input(*opened.folder.sae, state.input);
    opened.notes.push_back(checkpoint.string() + ": of step " + std::to_string(state.step) +
                           " of training; the input scale " + brief(state.input.scale) +
                           (state.input.mean.defined() ? " and mean are" : " is") +
                           " folded into the weights");
    Json config{{"model", training.at("model").json()}, {"training", training.json()}};
    if (state.record.data) config["data"] = to_json(*state.record.data);
    if (const auto& from = state.record.started_from) config["started_from"] = to_json(*from);
    add_source(config, training.json(), opened.notes);
    opened.folder.config = std::make_shared<const Json>(std::move(config));
  } catch (const ConfigError& error) {
    throw DataError(error.what());  // a folder written by us is data
  }
  return opened;
}

OpenedSae open_unfinished(const fs::path& run) {
  const auto checkpoint = newest_checkpoint(run / "checkpoints");
  if (!checkpoint) {
    throw DataError(run.string() +
                    ": is a run that has not been finished and has no intact checkpoint; train it "
                    "with sae train CONFIG --out " +
                    run.string() + " --resume");
  }
  OpenedSae opened = open_checkpoint(*checkpoint);
  opened.notes.front() = run.string() + ": is not finished; " + opened.notes.front();
  return opened;
}

OpenedSae open_foreign(const fs::path& path) {
  const SaeFormat& format = detect_format(path);
  PlainSae plain = format.read(path);
  return {folder_of(plain), format.name, std::move(plain.notes)};
}

}  // namespace

PathKind what_is_at(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return PathKind::kNothing;
  if (own_format().detect(path)) return PathKind::kAutoencoder;
  for (const SaeFormat& format : sae_formats()) {
    if (format.detect(path)) return PathKind::kForeign;
  }
  if (!fs::is_directory(path, error)) return PathKind::kFile;
  if (is_file(path / "MANIFEST.json")) return PathKind::kCheckpoint;
  if (is_file(path / "comparison.json")) return PathKind::kComparison;
  if (is_file(path / "manifest.json")) return PathKind::kStore;
  if (own_format().detect(path / "sae")) return PathKind::kRun;
  return is_run_config(path / "config.json") ? PathKind::kUnfinishedRun : PathKind::kUnknown;
}

std::string describe(PathKind kind) {
  switch (kind) {
    case PathKind::kNothing:
      return "no such file or folder";
    case PathKind::kAutoencoder:
      return "an autoencoder";
    case PathKind::kForeign:
      return "an autoencoder of another tool";
    case PathKind::kRun:
      return "a run";
    case PathKind::kUnfinishedRun:
      return "a run that has not been finished";
    case PathKind::kCheckpoint:
      return "a checkpoint";
    case PathKind::kComparison:
      return "a comparison";
    case PathKind::kStore:
      return "an activation store";
    case PathKind::kFile:
      return "a file";
    case PathKind::kUnknown:
      return "a folder";
  }
  return "";
}

OpenedSae open_sae(const fs::path& path) {
  const PathKind kind = what_is_at(path);
  switch (kind) {
    case PathKind::kAutoencoder:
      return {load_sae(path), "sae", {}};
    case PathKind::kRun:
      return {load_sae(path / "sae"), "sae", {}};
    case PathKind::kUnfinishedRun:
      return open_unfinished(path);
    case PathKind::kCheckpoint:
      return open_checkpoint(path);
    case PathKind::kComparison:
      throw DataError(path.string() +
                      ": got a comparison, expected one autoencoder; choose one of the folders in "
                      "its runs/");
    case PathKind::kStore:
      throw DataError(path.string() + ": got an activation store, expected an autoencoder");
    case PathKind::kNothing:
    case PathKind::kForeign:
    case PathKind::kFile:
    case PathKind::kUnknown:
      break;
  }
  return open_foreign(path);  // or it says what it found
}

}  // namespace sae

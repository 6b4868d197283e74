#include "sae/tools/info.h"

#include <torch/types.h>

#include <nlohmann/json.hpp>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/data/store.h"
#include "sae/results/results.h"
#include "sae/training/checkpoint.h"
#include "sae/training/open.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json parse(const fs::path& path) {
  try {
    return Json::parse(read_file(path));
  } catch (const Json::exception& error) {
    throw DataError(path.string() + ": " + error.what());
  }
}

Json describe_autoencoder(const fs::path& path) {
  const OpenedSae opened = open_sae(path);
  const SaeFolder& folder = opened.folder;
  std::int64_t parameters = 0;
  for (const at::Tensor& parameter : folder.sae->parameters()) parameters += parameter.numel();
  Json facts{
      {"kind", "autoencoder"},      {"architecture", folder.config->at("model").at("architecture")},
      {"d_in", folder.sae->d_in()}, {"d_sae", folder.sae->d_sae()},
      {"parameters", parameters},   {"model", folder.config->at("model")}};
  if (folder.config->contains("source")) facts["source"] = folder.config->at("source");
  if (opened.format != "sae") facts["format"] = opened.format;
  if (!opened.notes.empty()) facts["notes"] = opened.notes;
  return facts;
}

Json describe_run(const fs::path& path) {
  const Json config = parse(path / "config.json");
  Json facts{{"kind", "run"}, {"architecture", config.at("model").at("architecture")}};
  const auto checkpoint = newest_checkpoint(path / "checkpoints");
  if (fs::exists(path / "summary.json")) {
    const Json summary = parse(path / "summary.json");
    facts["state"] = "finished";
    facts["steps"] = summary.at("steps");
    facts["wall_s"] = summary.at("wall_s");
    facts["metrics"] = summary.at("metrics");
  } else {
    facts["state"] = "unfinished";
    facts["newest_checkpoint"] = checkpoint ? Json(checkpoint_step(*checkpoint)) : Json();
  }
  facts["config"] = config;
  return facts;
}

Json describe_comparison(const fs::path& path) {
  Json facts{{"kind", "comparison"}};
  if (!fs::exists(path / "results.json")) {
    facts["state"] = "unfinished";
    return facts;
  }
  const std::string place = (path / "results.json").string();
  const ComparisonResult result = comparison_from_json(read_file(place), place);
  facts["state"] = "finished";
  facts["title"] = result.title;
  facts["runs"] = result.runs.size();
  Json members = Json::array();
  for (const Member& member : result.members) members.push_back(member.label);
  facts["members"] = members;
  return facts;
}

Json describe_checkpoint(const fs::path& path) {
  return {{"kind", "checkpoint"},
          {"step", checkpoint_step(path)},
          {"complete", is_intact(path)},
          {"state", parse(path / "state.json")}};
}

Json describe_store(const fs::path& path) {
  const ActivationStore store(path, /*verify_checksums=*/false);
  Json facts{{"kind", "activation store"},      {"d_in", store.d_in()},
             {"tokens", store.size()},          {"dtype", c10::toString(store.dtype())},
             {"token_ids", store.has_tokens()}, {"contexts", store.has_context()}};
  if (store.mean_norm()) facts["mean_norm"] = *store.mean_norm();
  if (!store.source().is_null()) facts["source"] = Json(store.source());
  return facts;
}

}  // namespace

Json describe_path(const fs::path& path) try {
  switch (what_is_at(path)) {
    case PathKind::kNothing:
      throw DataError(path.string() + ": no such file or folder");
    case PathKind::kAutoencoder:
    case PathKind::kForeign:
      return describe_autoencoder(path);
    case PathKind::kRun:
    case PathKind::kUnfinishedRun:
      return describe_run(path);
    case PathKind::kCheckpoint:
      return describe_checkpoint(path);
    case PathKind::kComparison:
      return describe_comparison(path);
    case PathKind::kStore:
    case PathKind::kFile:
      return describe_store(path);
    case PathKind::kUnknown:
      break;
  }
  throw DataError(path.string() +
                  ": is no run, autoencoder, checkpoint, comparison or activation store");
} catch (const Json::exception& error) {
  throw DataError(path.string() + ": damaged: " + error.what());
}

}  // namespace sae

#include "sae/tools/info.h"

#include <torch/types.h>

#include <nlohmann/json.hpp>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/data/store.h"
#include "sae/models/sae_folder.h"
#include "sae/results/results.h"
#include "sae/training/checkpoint.h"

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
  const SaeFolder folder = load_sae(path);
  std::int64_t parameters = 0;
  for (const at::Tensor& parameter : folder.sae->parameters()) parameters += parameter.numel();
  Json facts{
      {"kind", "autoencoder"},      {"architecture", folder.config->at("model").at("architecture")},
      {"d_in", folder.sae->d_in()}, {"d_sae", folder.sae->d_sae()},
      {"parameters", parameters},   {"model", folder.config->at("model")}};
  if (folder.config->contains("source")) facts["source"] = folder.config->at("source");
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
  if (!fs::exists(path)) throw DataError(path.string() + ": no such file or folder");
  if (fs::is_regular_file(path) || fs::exists(path / "manifest.json")) return describe_store(path);
  if (fs::exists(path / "comparison.json")) return describe_comparison(path);
  if (fs::exists(path / "MANIFEST.json")) {
    return {{"kind", "checkpoint"},
            {"step", checkpoint_step(path)},
            {"complete", is_intact(path)},
            {"state", parse(path / "state.json")}};
  }
  if (fs::exists(path / "config.json")) {
    const Json config = parse(path / "config.json");
    return config.contains("format") ? describe_autoencoder(path) : describe_run(path);
  }
  throw DataError(path.string() +
                  ": is no run, autoencoder, checkpoint, comparison or activation store");
} catch (const Json::exception& error) {
  throw DataError(path.string() + ": damaged: " + error.what());
}

}  // namespace sae

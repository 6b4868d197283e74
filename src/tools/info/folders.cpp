// Folders, and autoencoders, which may be folders or files.
#include <torch/types.h>

#include <algorithm>
#include <vector>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/data/labelled.h"
#include "sae/data/store.h"
#include "sae/results/results.h"
#include "sae/training/checkpoint.h"
#include "sae/training/open.h"
#include "tools/info/kinds.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// A kind, how it is told, and what is said of it.
struct FolderRow {
  const char* name;
  bool (*is)(const fs::path& path);
  Json (*describe)(const fs::path& path);
};

bool has(const fs::path& folder, const char* name) {
  std::error_code error;
  return fs::exists(folder / name, error);
}

bool is_run(const fs::path& path) {
  const PathKind kind = what_is_at(path);
  return kind == PathKind::kRun || kind == PathKind::kUnfinishedRun;
}

bool is_autoencoder(const fs::path& path) {
  const PathKind kind = what_is_at(path);
  return kind == PathKind::kAutoencoder || kind == PathKind::kForeign;
}

/// The last step that the log tells of; null without a log.
Json last_step(const fs::path& run) {
  if (!has(run, "metrics.jsonl")) return {};
  const std::string text = read_file(run / "metrics.jsonl");
  const std::size_t end = text.rfind('\n');
  if (end == std::string::npos || end == 0) return {};
  const std::size_t begin = text.rfind('\n', end - 1);
  const std::size_t start = begin == std::string::npos ? 0 : begin + 1;
  const Json row = Json::parse(text.substr(start, end - start), nullptr, false);
  return row.is_object() ? row.value("step", Json()) : Json();
}

Json describe_run(const fs::path& path) {
  const Json config = read_json(path / "config.json");
  Json facts{{"architecture", config.at("model").at("architecture")}};
  if (has(path, "failure.txt")) {
    facts["state"] = "failed";
    facts["failure"] = read_file(path / "failure.txt");
  } else if (has(path, "summary.json")) {
    const Json summary = read_json(path / "summary.json");
    facts["state"] = "finished";
    for (const char* key : {"steps", "wall_s", "metrics"}) facts[key] = summary.at(key);
    if (summary.contains("started_from")) facts["started_from"] = summary["started_from"];
  } else {
    const auto checkpoint = newest_checkpoint(path / "checkpoints");
    facts["state"] = "unfinished";
    facts["newest_checkpoint"] = checkpoint ? Json(checkpoint_step(*checkpoint)) : Json();
    facts["last_logged_step"] = last_step(path);
    if (const auto from =
            checkpoint ? read_checkpoint_state(*checkpoint).record.started_from : std::nullopt) {
      facts["started_from"] = to_json(*from);
    }
  }
  facts["config"] = config;
  return facts;
}

Json describe_comparison(const fs::path& path) {
  std::int64_t runs = 0, finished = 0;
  if (has(path, "runs")) {
    for (const fs::directory_entry& entry : fs::directory_iterator(path / "runs")) {
      ++runs;
      finished += has(entry.path(), "summary.json") ? 1 : 0;
    }
  }
  if (!has(path, "results.json")) {
    return {{"state", "unfinished"}, {"runs_begun", runs}, {"runs_finished", finished}};
  }
  const std::string place = (path / "results.json").string();
  const ComparisonResult result = comparison_from_json(read_file(place), place);
  Json members = Json::array();
  for (const Member& member : result.members) members.push_back(member.label);
  return {{"state", "finished"},
          {"title", result.title},
          {"runs", result.runs.size()},
          {"members", members},
          {"report", (path / "report.html").string()}};
}

Json describe_checkpoint(const fs::path& path) {
  return {{"step", checkpoint_step(path)},
          {"complete", is_intact(path)},
          {"state", read_json(path / "state.json")}};
}

Json describe_store(const fs::path& path) {
  const ActivationStore store(path, /*verify_checksums=*/false);
  Json facts{{"d_in", store.d_in()},
             {"tokens", store.size()},
             {"dtype", c10::toString(store.dtype())},
             {"token_ids", store.has_tokens()},
             {"contexts", store.has_context()},
             {"vocabulary", has(path, "vocabulary.json")},
             {"ground_truth", has(path, "world.json")}};
  if (store.mean_norm()) facts["mean_norm"] = *store.mean_norm();
  if (!store.source().is_null()) facts["source"] = Json(store.source());
  return facts;
}

bool is_task_folder(const fs::path& path) {
  std::error_code error;
  const fs::directory_iterator entries(path, error);
  return std::any_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
    try {
      return is_labelled_file(entry.path());
    } catch (const DataError&) {
      return false;  // damaged: one of the folder's files says so when it is asked about
    }
  });
}

Json describe_tasks(const fs::path& path) {
  Json tasks = Json::array();
  for (const fs::path& file : labelled_files(path)) tasks.push_back(file.filename().string());
  return {{"files", tasks.size()}, {"tasks", tasks}};
}

Json describe_pages(const fs::path& path) { return {{"open", (path / "index.html").string()}}; }

}  // namespace

Json describe_autoencoder(const fs::path& path) {
  const OpenedSae opened = open_sae(path);
  const Autoencoder& sae = *opened.folder.sae;
  const Json& config = *opened.folder.config;
  std::int64_t parameters = 0;
  for (const at::Tensor& parameter : sae.parameters()) parameters += parameter.numel();
  Json facts{{"format", opened.format},  {"architecture", config.at("model").at("architecture")},
             {"d_in", sae.d_in()},       {"d_sae", sae.d_sae()},
             {"parameters", parameters}, {"model", config.at("model")}};
  if (config.contains("source")) facts["source"] = config.at("source");
  if (config.contains("started_from")) facts["started_from"] = config.at("started_from");
  if (!opened.notes.empty()) facts["notes"] = opened.notes;
  return facts;
}

std::optional<FoundKind> folder_kind(const fs::path& path) {
  static const std::vector<FolderRow> rows = {
      {"activation store", [](const fs::path& path) { return has(path, "manifest.json"); },
       describe_store},
      {"comparison", [](const fs::path& path) { return has(path, "comparison.json"); },
       describe_comparison},
      {"checkpoint", [](const fs::path& path) { return has(path, "MANIFEST.json"); },
       describe_checkpoint},
      {"run", is_run, describe_run},
      {"autoencoder", is_autoencoder, describe_autoencoder},
      {"pages of latents",
       [](const fs::path& path) {
         return has(path, "index.html") && has(path / "data", "index.js");
       },
       describe_pages},
      {"folder of labelled activations", is_task_folder, describe_tasks},
  };
  return first_kind(rows, path, path);
}

}  // namespace sae

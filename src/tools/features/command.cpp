#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/parallel.h"
#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/folder_lock.h"
#include "sae/base/interrupt.h"
#include "sae/cuda/device_kernels.h"
#include "sae/data/vocabulary.h"
#include "sae/tools/features.h"
#include "sae/training/open.h"
#include "tools/features/data.h"
#include "tools/features/page.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string what_is_missing(const ActivationStore& store,
                            const std::optional<Vocabulary>& vocabulary) {
  if (!store.has_tokens()) {
    return store.path().string() +
           " has no tokens: latents have statistics, but no text and no tokens";
  }
  if (!vocabulary) {
    return store.path().string() + " has no vocabulary.json: tokens are shown as their numbers";
  }
  return "";
}

std::string joined(const std::vector<std::string>& parts, const std::string& separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (!part.empty()) text += (text.empty() ? "" : separator) + part;
  }
  return text;
}

/// "topk, 384 to 2048 latents; all-MiniLM-L6-v2, blocks.1.hook_resid_post; acts/heldout"
std::string description(const Json& model, const ActivationStore& store) {
  const auto text_at = [](const nlohmann::json& object, const char* key) {
    return object.is_object() && object.contains(key) && object[key].is_string()
               ? object[key].get<std::string>()
               : std::string();
  };
  const nlohmann::json& source = store.source();
  return joined({model.at("architecture").get<std::string>() + ", " + model.at("d_sae").dump() +
                     " latents of " + model.at("d_in").dump() + " dimensions",
                 joined({text_at(source, "model"), text_at(source, "hook_name")}, ", "),
                 "activations: " + store.path().string()},
                "; ");
}

void write_data(const FeaturesData& data, const Json& about, const fs::path& folder) {
  fs::create_directory(folder);
  write_file_atomically(folder / "index.js", data.index(about));
  for (std::int64_t i = 0; i < data.chunks(); ++i) {
    check_interrupt();
    std::string name = std::to_string(i);
    name.insert(0, 5 - std::min<std::size_t>(5, name.size()), '0');
    write_file_atomically(folder / (name + ".js"), data.chunk(i));
  }
}

}  // namespace

FeaturesOutcome write_features(const FeaturesArguments& arguments,
                               const std::function<bool(std::int64_t, std::int64_t)>& go_on) {
  use_threads(arguments.threads);
  const FolderLock lock = FolderLock::beside(arguments.out);
  if (fs::exists(arguments.out)) {
    throw ConfigError(fs::path(arguments.out).string() +
                      ": exists already; name a folder to be made");
  }
  const OpenedSae opened = open_sae(arguments.sae);
  const SaeFolder& loaded = opened.folder;
  if (arguments.say) {
    for (const std::string& note : opened.notes) arguments.say(note);
  }
  const ActivationStore store(arguments.data);
  const std::optional<Vocabulary> vocabulary = vocabulary_of(arguments.data);
  LatentReadings readings;
  if (arguments.results) {
    readings = read_latent_readings(*arguments.results, loaded.sae->d_sae());
  }
  StagedDirectory staged(arguments.out);  // a folder that cannot be written is noticed now
  const at::Device device = parse_device(arguments.device.empty() ? "auto" : arguments.device);
  loaded.sae->to(device);
  const auto notice = notice_about_kernels(device);
  if (notice && arguments.say) arguments.say(notice->text);

  const Features features = collect_features(*loaded.sae, store, arguments.options, go_on);
  FeaturesOutcome outcome;
  outcome.rows = features.rows;
  if (features.rows < store.size()) return outcome;
  outcome.latents = loaded.sae->d_sae();
  outcome.missing = what_is_missing(store, vocabulary);
  for (const LatentFeature& latent : features.latents) {
    if (latent.firings == 0) ++outcome.silent;
    outcome.l0 += static_cast<double>(latent.firings) / static_cast<double>(features.rows);
  }
  const std::string title = "Latents of " + fs::path(arguments.sae).lexically_normal().string();
  const Json about{{"title", title},
                   {"text", description(loaded.config->at("model"), store)},
                   {"missing", outcome.missing}};
  write_data(FeaturesData(features, store, vocabulary, readings), about, staged.path() / "data");
  write_file_atomically(staged.path() / "index.html", features_page(title));
  staged.commit();
  outcome.finished = true;
  return outcome;
}

Json to_json(const FeaturesOutcome& outcome) {
  return {{"latents", outcome.latents},
          {"silent", outcome.silent},
          {"tokens", outcome.rows},
          {"l0", outcome.l0},
          {"missing", outcome.missing}};
}

}  // namespace sae

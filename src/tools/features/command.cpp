#include <torch/types.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>

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
#include "sparse/row_norms.h"
#include "tools/features/data.h"
#include "tools/features/exports.h"
#include "tools/features/origin.h"
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

/// Those that are not empty.
std::string joined_known(const std::vector<std::string>& parts, const std::string& separator) {
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
  return joined_known(
      {model.at("architecture").get<std::string>() + ", " + model.at("d_sae").dump() +
           " latents of " + model.at("d_in").dump() + " dimensions",
       joined_known({text_at(source, "model"), text_at(source, "hook_name")}, ", "),
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

/// Of each latent, in parts, for the logits of all latents at once need much memory.
std::vector<LatentLogits> logits_of(const Autoencoder& sae,
                                    const std::optional<Unembedding>& unembedding) {
  constexpr std::int64_t kAtOnce = 128;
  std::vector<LatentLogits> all;
  if (!unembedding) return all;
  const at::Tensor directions = unit_rows(sae.W_dec);
  for (std::int64_t first = 0; first < sae.d_sae(); first += kAtOnce) {
    check_interrupt();
    auto part = latent_logits(*unembedding,
                              directions.slice(0, first, std::min(first + kAtOnce, sae.d_sae())));
    std::move(part.begin(), part.end(), std::back_inserter(all));
  }
  return all;
}

FeaturesOutcome write_html(const FeaturesInput& input, const fs::path& folder) {
  const FeaturesArguments& given = input.arguments;
  const Autoencoder& sae = *input.sae.sae;
  LatentReadings readings;
  if (given.results) readings = read_latent_readings(*given.results, sae.d_sae());
  const Features features = collect_features(sae, input.store, given.options, input.go_on);
  FeaturesOutcome outcome;
  outcome.rows = features.rows;
  if (features.rows < input.store.size()) return outcome;
  outcome.latents = sae.d_sae();
  for (const LatentFeature& latent : features.latents) {
    if (latent.firings == 0) ++outcome.silent;
    outcome.l0 += static_cast<double>(latent.firings) / static_cast<double>(features.rows);
  }
  const std::string title = "Latents of " + fs::path(given.sae).lexically_normal().string();
  const Json about{{"title", title},
                   {"text", description(input.sae.config->at("model"), input.store)},
                   {"missing", what_is_missing(input.store, input.vocabulary)}};
  const std::vector<LatentLogits> logits = logits_of(sae, input.unembedding);
  write_data(FeaturesData(features, input.store, input.vocabulary, readings, logits), about,
             folder / "data");
  write_file_atomically(folder / "index.html", features_page(title));
  outcome.finished = true;
  return outcome;
}

FeaturesOutcome write_as(FeaturesFormat format, const FeaturesInput& input,
                         const fs::path& folder) {
  switch (format) {
    case FeaturesFormat::kHtml:
      return write_html(input, folder);
    case FeaturesFormat::kNeuronpedia:
      return write_neuronpedia(input, folder);
    case FeaturesFormat::kDelphi:
      return write_delphi(input, folder);
  }
  throw std::invalid_argument("write_features: no such format");
}

/// ConfigError for what was given and the format has no use for.
void check_format(const FeaturesArguments& given) {
  const bool html = given.format == FeaturesFormat::kHtml;
  const bool neuronpedia = given.format == FeaturesFormat::kNeuronpedia;
  const bool delphi = given.format == FeaturesFormat::kDelphi;
  const std::tuple<const char*, bool, bool> options[] = {
      {"results", given.results.has_value(), html},
      {"unembedding", given.unembedding.has_value(), html || neuronpedia},
      {"latents", given.latents.has_value(), neuronpedia || delphi},
      {"model", !given.model.empty(), neuronpedia || delphi},
      {"source-set", !given.source_set.empty(), neuronpedia},
      {"pad-token", given.pad_token.has_value(), delphi}};
  for (const auto& [name, is_given, used] : options) {
    if (is_given && !used) {
      throw ConfigError("--" + std::string(name) + ": the format " + name_of(given.format) +
                        " has no use for it; leave it out");
    }
  }
  const auto in_range = [](std::int64_t value, std::int64_t least) {
    return value >= least && value <= std::numeric_limits<std::int32_t>::max();
  };
  if (given.latents && *given.latents < 1) {
    throw ConfigError("--latents: got " + std::to_string(*given.latents) + ", expected >= 1");
  }
  if (given.pad_token && !in_range(*given.pad_token, 0)) {
    throw ConfigError("--pad-token: got " + std::to_string(*given.pad_token) +
                      ", expected the number of a token");
  }
}

/// DataError unless the other tools can read what the store has.
void check_tokens(const FeaturesArguments& given, const ActivationStore& store) {
  if (given.format == FeaturesFormat::kHtml || store.has_tokens()) return;
  throw DataError(store.path().string() + ": has no tokens, without which the format " +
                  name_of(given.format) + " says nothing; --format html shows statistics");
}

/// Logits are of what is written into the residual stream.
Unembedding unembedding_for(const FeaturesArguments& given, const SaeFolder& sae,
                            const ActivationStore& store,
                            const std::optional<Vocabulary>& vocabulary) {
  Unembedding unembedding(*given.unembedding);
  const FeaturesOrigin origin = origin_of(store, *sae.config);
  if (origin.hook.ends_with("hook_z") || origin.hook.find(".mlp.") != std::string::npos) {
    throw ConfigError(
        "--unembedding: the autoencoder reads " + origin.hook +
        ", which is not in the residual stream that logits are made of; leave it out");
  }
  unembedding.check_fits(sae.sae->d_in(), origin.model,
                         vocabulary ? std::optional(vocabulary->size()) : std::nullopt,
                         store.path().string());
  return unembedding;
}

}  // namespace

FeaturesOptions defaults_of(FeaturesFormat format) {
  FeaturesOptions options;
  if (format == FeaturesFormat::kNeuronpedia) {
    options.contexts = 20;
    options.quantiles = 5;
    options.window = 127;
  }
  return options;
}

FeaturesOutcome outcome_of(const std::vector<LatentRange>& ranges, std::int64_t rows) {
  FeaturesOutcome outcome;
  outcome.rows = rows;
  outcome.latents = static_cast<std::int64_t>(ranges.size());
  for (const LatentRange& range : ranges) {
    if (range.firings == 0) ++outcome.silent;
    if (rows > 0) outcome.l0 += static_cast<double>(range.firings) / static_cast<double>(rows);
  }
  return outcome;
}

std::int64_t FeaturesInput::latents() const {
  return std::min(arguments.latents.value_or(sae.sae->d_sae()), sae.sae->d_sae());
}

FeaturesOutcome write_features(const FeaturesArguments& arguments,
                               const std::function<bool(std::int64_t, std::int64_t)>& go_on) {
  check_format(arguments);
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
  check_tokens(arguments, store);
  const std::optional<Vocabulary> vocabulary = vocabulary_of(arguments.data);
  std::optional<Unembedding> unembedding;
  if (arguments.unembedding) {
    unembedding.emplace(unembedding_for(arguments, loaded, store, vocabulary));
  }
  StagedDirectory staged(arguments.out);  // a folder that cannot be written is noticed now
  const at::Device device = parse_device(arguments.device.empty() ? "auto" : arguments.device);
  loaded.sae->to(device);
  const auto notice = notice_about_kernels(device);
  if (notice && arguments.say) arguments.say(notice->text);
  const FeaturesInput input{loaded, store, vocabulary, unembedding, arguments, go_on};
  FeaturesOutcome outcome = write_as(arguments.format, input, staged.path());
  if (!outcome.finished) return outcome;
  if (arguments.format != FeaturesFormat::kDelphi) {  // which has a tokenizer
    outcome.missing = what_is_missing(store, vocabulary);
  }
  staged.commit();
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

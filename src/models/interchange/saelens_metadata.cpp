#include "models/interchange/saelens_metadata.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "models/interchange/hooks.h"
#include "models/interchange/provenance.h"
#include "sae/base/text.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "saelens";
/// Readers take a folder without this key, or with a lower version, for one of before 6.0, and drop
/// its metadata.
constexpr const char* kVersionKey = "sae_lens_version";
constexpr const char* kVersionWritten = "6.0.0";
constexpr const char* kModelClass = "model_class_name";
constexpr const char* kReshaping = "reshape_activations";

/// Keys of metadata and of a source that mean the same.
constexpr std::pair<const char*, const char*> kNames[] = {
    {"model_name", "model"}, {"dataset_path", "dataset"}, {"context_size", "context"}};

/// SAELens can open a model of transformers, and then calls modules as that does.
bool is_of_transformers(const Json& source) {
  return text_of(source, kModelClass).starts_with("AutoModel");
}

/// Of a configuration of before 6.0 what SAELens' own reader turns into metadata, and what else
/// says how the model is run; with its defaults.
Json old_metadata(const Json& config) {
  static const std::pair<const char*, const char*> kRenamed[] = {
      {"hook_point", "hook_name"}, {"hook_point_head_index", "hook_head_index"}};
  Json metadata = Json::object();
  const auto is_metadata = [](const std::string& key) {
    const auto& keys = run_keys();
    return key == "hook_name" || key == "sae_lens_training_version" || key == kVersionKey ||
           std::find(keys.begin(), keys.end(), key) != keys.end() ||
           std::any_of(std::begin(kNames), std::end(kNames),
                       [&](const auto& names) { return key == names.first; });
  };
  for (const auto& [key, value] : config.items()) {
    std::string name = key;
    for (const auto& [before, now] : kRenamed) {
      if (key == before) name = now;
    }
    if (is_metadata(name) && name != kReshaping) metadata[name] = value;
  }
  if (!metadata.contains("prepend_bos")) metadata["prepend_bos"] = true;
  if (!metadata.contains("neuronpedia_id")) metadata["neuronpedia_id"] = nullptr;
  return metadata;
}

bool is_old(const Json& config) {
  Json version = config.value(kVersionKey, Json());
  if (version.is_null()) {
    const Json metadata = config.value("metadata", Json());
    if (metadata.is_object()) version = metadata.value(kVersionKey, Json());
  }
  const std::string text = version.is_string() ? version.get<std::string>() : version.dump();
  return std::strtol(text.c_str(), nullptr, 10) < 6;
}

/// The metadata of a cfg.json of any version.
Json metadata_in(const Json& config) {
  if (is_old(config)) return old_metadata(config);
  const Json metadata = config.value("metadata", Json());
  return metadata.is_object() ? metadata : Json::object();
}

/// What a source becomes in metadata.
Json metadata_of(const Json& source) {
  Json metadata = Json::object();
  const auto put = [&](const char* from, const char* to) {
    if (source.contains(from) && !source[from].is_null()) metadata[to] = source[from];
  };
  put("model", "model_name");
  put(is_of_transformers(source) && source.contains("module") ? "module" : "hook_name",
      "hook_name");
  const std::string hook = text_of(metadata, "hook_name");
  if (!hook.empty() && !is_transformer_lens_hook(hook) && !source.contains(kModelClass)) {
    const std::string model = text_of(source, "model");
    metadata[kModelClass] = "AutoModelForCausalLM";
    metadata["hook_name"] = causal_model_module(hook, model);
    if (!model.empty()) metadata["model_name"] = hub_name(model);
  }
  put("context", "context_size");
  const std::string dataset = dataset_name(source);
  if (!dataset.empty()) metadata["dataset_path"] = dataset;
  if (source.contains("special_tokens")) {
    const Json& frame = source["special_tokens"];
    metadata["prepend_bos"] = frame.is_array() && !frame.empty() && !frame[0].empty();
  }
  if (source.contains("dropped")) metadata["exclude_special_tokens"] = !source["dropped"].empty();
  for (const std::string& key : run_keys()) {
    if (key != kReshaping) put(key.c_str(), key.c_str());
  }
  // What its readers take for unknown, without which it runs no model.
  if (metadata.contains("hook_name") && !metadata.contains("prepend_bos")) {
    metadata["prepend_bos"] = true;
  }
  return metadata;
}

std::string usual_reshaping(const Json& source) {
  return text_of(source, "hook_name").find("hook_z") != std::string::npos ? "hook_z" : "none";
}

/// What SAELens needs to run the model and does not get.
void note_what_is_missing(const Json& source, const Json& metadata, Notes& notes) {
  const bool model = metadata.contains("model_name");
  const std::string hook = text_of(metadata, "hook_name");
  if (source.contains("kind")) return;  // of no language model
  if (!model || hook.empty()) {
    notes.push_back(std::string("it is not known which ") +
                    (model          ? "hook"
                     : hook.empty() ? "model and which hook"
                                    : "model") +
                    " this is for, which SAELens asks for; say it with " +
                    (model          ? "--hook"
                     : hook.empty() ? "--model and --hook"
                                    : "--model"));
  } else if (!is_transformer_lens_hook(hook) && !is_of_transformers(source)) {
    notes.push_back("TransformerLens has no name for " + text_of(source, "hook_name") +
                    ": written as " + printable(hook) + " of model_class_name " +
                    text_of(metadata, kModelClass));
  }
}

/// Sets what `metadata` says in a source, but for what `known` says already.
void take_metadata(Json& source, const Json& metadata, const Json& known) {
  const auto is_news = [&](const char* key) {
    return metadata.contains(key) && !metadata[key].is_null() &&
           metadata[key] != known.value(key, Json());
  };
  for (const auto& [theirs, ours] : kNames) {
    if (is_news(theirs)) source[ours] = metadata[theirs];
  }
  for (const std::string& key : run_keys()) {
    if (is_news(key.c_str())) source[key] = metadata[key];
  }
  if (is_news("hook_name") && metadata["hook_name"].is_string()) {
    set_hook(source, metadata["hook_name"]);
  }
}

}  // namespace

bool is_old_saelens(const ToolConfig& config) { return is_old(config.json()); }

void read_saelens_provenance(PlainSae& plain, const ToolConfig& config, const fs::path& folder) {
  set_origin(plain, kFormat, config);
  if (const auto runner = ToolConfig::informing(folder / "runner_cfg.json", plain.notes)) {
    plain.origin["runner"] = runner->json();
  }
  const Json metadata = metadata_in(config.json());
  const Json own = metadata.value(kOwnKey, Json());
  if (own.is_object() && !own.empty()) {
    plain.origin = nullptr;  // it is one of ours, written by us
    take_provenance(plain, own);
    tidy_source(plain);
  }
  // What SAELens, or a person, has changed since counts.
  take_metadata(plain.source, metadata, metadata_of(plain.source));
  const std::string reshaping = config.text(kReshaping);
  if (!reshaping.empty() && reshaping != usual_reshaping(plain.source)) {
    plain.source[kReshaping] = reshaping;
  }
  tidy_source(plain);
}

std::string saelens_reshaping(const PlainSae& plain) {
  const std::string given = text_of(plain.source, kReshaping);
  return given == "none" || given == "hook_z" ? given : usual_reshaping(plain.source);
}

Json saelens_metadata(const PlainSae& plain, Notes& notes) {
  const Json config = origin_config(plain, kFormat);
  Json metadata = config.empty() ? Json::object() : metadata_in(config);
  metadata.erase(kOwnKey);
  metadata[kVersionKey] = kVersionWritten;
  if (!metadata.contains("sae_lens_training_version")) {
    metadata["sae_lens_training_version"] = nullptr;
  }
  for (const std::string& key : run_keys()) {
    if (metadata.contains(key) && !metadata[key].is_null() && !plain.source.contains(key)) {
      metadata.erase(key);  // it was about another hook
    }
  }
  Json read = Json::object();
  take_metadata(read, metadata, Json::object());
  const Json restated = metadata_of(read);
  const Json known = metadata_of(plain.source);
  for (const auto& [key, value] : known.items()) {
    // The same in other words stays as SAELens said it.
    if (!metadata.contains(key) || restated.value(key, Json()) != value) metadata[key] = value;
  }
  note_what_is_missing(plain.source, metadata, notes);
  if (plain.activation == Activation::kBatchTopK) {
    metadata["training_architecture"] = plain.widths.empty() ? "batchtopk" : "matryoshka_batchtopk";
    Json details{{"k", plain.mean_k}};
    if (!plain.widths.empty()) details["matryoshka_widths"] = plain.widths;
    metadata["training_architecture_details"] = details;
  }
  const Json ours = provenance(plain);
  if (!ours.empty()) metadata[kOwnKey] = ours;
  return metadata;
}

}  // namespace sae

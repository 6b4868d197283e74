#include "models/interchange/provenance.h"

#include <algorithm>
#include <string>

#include "sae/base/text.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

/// Ours must be able to read what it carries; see kMaxConfigDepth.
constexpr int kDeepestCarried = 32;

int depth_of(const Json& value) {
  int below = 0;
  if (value.is_structured()) {
    for (const Json& child : value) below = std::max(below, depth_of(child));
    ++below;
  }
  return below;
}

bool has_expected_type(const std::string& key, const Json& value) {
  if (key == "model" || key == "hook_name" || key == "site" || key == "module") {
    return value.is_string();
  }
  if (key == "layer") return value.is_number_integer() && value.get<std::int64_t>() >= 0;
  return depth_of(value) <= kDeepestCarried;
}

/// Whether a run key says nothing about the model beyond what every tool does by itself.
bool is_usual(const std::string& key, const Json& value) {
  if (key == "neuronpedia_id" || key.starts_with("hf_")) return true;  // other names
  if (key == "prepend_bos") return value == true;
  if (key == "reshape_activations") return value == "none";
  if (key == "model_class_name") return value == "HookedTransformer";
  if (key == "sequence_separator_token") return value == "bos";
  if (value.is_array()) {  // seqpos_slice
    return std::all_of(value.begin(), value.end(), [](const Json& one) { return one.is_null(); });
  }
  return value == false || value.is_null() || (value.is_structured() && value.empty());
}

}  // namespace

const std::vector<std::string>& run_keys() {
  static const std::vector<std::string> keys = {"model_class_name",
                                                "model_from_pretrained_kwargs",
                                                "prepend_bos",
                                                "seqpos_slice",
                                                "exclude_special_tokens",
                                                "sequence_separator_token",
                                                "disable_concat_sequences",
                                                "hook_head_index",
                                                "hook_name_out",
                                                "hook_head_index_out",
                                                "hf_hook_name",
                                                "hf_hook_name_out",
                                                "reshape_activations",
                                                "neuronpedia_id"};
  return keys;
}

Json provenance(const PlainSae& plain) {
  Json out = Json::object();
  if (!plain.source.empty()) out["source"] = plain.source;
  if (!plain.training.is_null()) out["training"] = plain.training;
  if (!plain.origin.is_null()) out["converted_from"] = plain.origin;
  return out;
}

void take_provenance(PlainSae& plain, const Json& object) {
  if (!object.is_object()) return;
  const auto take = [&](const char* key, Json& into) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_object()) into = *found;
  };
  take("source", plain.source);
  take("training", plain.training);
  take("converted_from", plain.origin);
}

void set_origin(PlainSae& plain, const char* format, const ToolConfig& config) {
  plain.origin = Json{{"format", format}};
  if (depth_of(config.json()) <= kDeepestCarried) {
    plain.origin["config"] = config.json();
  } else {
    plain.notes.push_back(config.place() + ": is nested too deeply to be carried along");
  }
  for (const std::string& path : config.repeated()) {
    plain.notes.push_back(config.place() + ": key " + printable(path) +
                          " appears twice; the last counts");
  }
}

Json origin_config(const PlainSae& plain, const char* format) {
  if (!plain.origin.is_object() || text_of(plain.origin, "format") != format) return Json::object();
  const Json config = plain.origin.value("config", Json::object());
  return config.is_object() ? config : Json::object();
}

void carry(const ToolConfig& from, const char* key, PlainSae& to, const char* name) {
  if (from.has(key)) to.source[name] = from.json().at(key);
}

void tidy_source(PlainSae& plain) {
  if (!plain.source.is_object()) plain.source = Json::object();
  Json tidy = Json::object();
  for (const auto& [key, value] : plain.source.items()) {
    if (value.is_null() || has_expected_type(key, value)) {
      tidy[key] = value;
    } else {
      plain.notes.push_back("source: " + printable(key) + " is " +
                            printable(value.dump(-1, ' ', true)) +
                            ", which is not what it can be; left out");
    }
  }
  plain.source = std::move(tidy);
}

void forget_hook_details(PlainSae& plain) {
  for (const char* key : {"hook_head_index", "hook_name_out", "hook_head_index_out", "hf_hook_name",
                          "hf_hook_name_out", "reshape_activations"}) {
    plain.source.erase(key);
  }
}

void note_what_has_no_place(const PlainSae& plain, const char* format, const char* kept_in,
                            const std::vector<std::string>& placed, Notes& notes) {
  std::vector<std::string> keys = {"model", "hook_name"};
  keys.insert(keys.end(), run_keys().begin(), run_keys().end());
  std::string missing;
  for (const std::string& key : keys) {
    const auto found = plain.source.find(key);
    if (found == plain.source.end() || is_usual(key, *found)) continue;
    if (std::find(placed.begin(), placed.end(), key) != placed.end()) continue;
    missing += (missing.empty() ? "" : ", ") + key + " " + printable(found->dump(-1, ' ', true));
  }
  if (missing.empty()) return;
  notes.push_back(std::string(format) + " has no place for " + missing + "; kept in " + kept_in +
                  ", which only sae reads");
}

std::string text_of(const Json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string dataset_name(const Json& source) {
  const auto found = source.find("dataset");
  if (found == source.end() || found->is_null()) return "";
  const auto name_of = [](const Json& part) {
    if (part.is_string()) return part.get<std::string>();
    for (const char* key : {"name", "file"}) {
      if (!text_of(part, key).empty()) return text_of(part, key);
    }
    return part.dump();
  };
  if (!found->is_array()) return name_of(*found);
  std::string names;
  for (const Json& part : *found) names += (names.empty() ? "" : ", ") + name_of(part);
  return names;
}

}  // namespace sae

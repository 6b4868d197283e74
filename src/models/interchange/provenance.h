// What of an SAE is not weights: where its activations came from, how it was trained, and what the
// tool that it was read from said. Nothing here can stop a conversion: a value of another type than
// expected is left out with a note.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/interchange/plain_sae.h"
#include "models/interchange/tool_config.h"

namespace sae {

/// The key under which our own knowledge of an SAE lies in a tool's configuration.
inline constexpr const char* kOwnKey = "sae_cpp";

/// Keys of a source that say how the model is to be run. They have the names and the meaning of
/// SAELens' metadata, which is where most come from.
const std::vector<std::string>& run_keys();

/// What of `plain` is not weights: {"source", "training", "converted_from"}, as far as known.
nlohmann::ordered_json provenance(const PlainSae& plain);
/// Takes what `provenance` wrote, and ignores anything else.
void take_provenance(PlainSae& plain, const nlohmann::ordered_json& object);

/// Sets `origin`: the configuration of the tool `format`, word for word.
void set_origin(PlainSae& plain, const char* format, const ToolConfig& config);
/// The configuration in `origin` if it is one of `format`; else an empty object.
nlohmann::ordered_json origin_config(const PlainSae& plain, const char* format);

/// Sets a value of the source from a key of a tool's configuration, if it is there and not null.
void carry(const ToolConfig& from, const char* key, PlainSae& to, const char* name);

/// Takes what has another type than the keys of a source have out of it.
void tidy_source(PlainSae& plain);

/// Takes out of the source what is known of a hook besides its name: it has got another.
void forget_hook_details(PlainSae& plain);

/// A note on what says how the SAE is to be run, is known of `plain`, and is not among `placed`,
/// which `format` has a place for: "... kept in sae_cpp.json, which only sae reads".
void note_what_has_no_place(const PlainSae& plain, const char* format, const char* kept_in,
                            const std::vector<std::string>& placed, Notes& notes);

/// The string at `key` of what other programs wrote; empty if there is none.
std::string text_of(const nlohmann::ordered_json& object, const char* key);

/// The dataset of a source on one line, "wikitext" or "a.txt, b.txt"; empty if unknown.
std::string dataset_name(const nlohmann::ordered_json& source);

}  // namespace sae

// sparsify's folder of one hook point: cfg.json, sae.safetensors (encoder.weight [F, D]). A run
// keeps its own config.json one folder above. Every SAE of theirs is a TopK.

#include <algorithm>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "models/interchange/formats.h"
#include "models/interchange/hooks.h"
#include "models/interchange/provenance.h"
#include "models/interchange/python_json.h"
#include "models/interchange/tool_config.h"
#include "sae/base/error.h"
#include "sae/base/files.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kConfig = "cfg.json";
constexpr const char* kWeights = "sae.safetensors";

bool detect(const fs::path& path) { return is_file(path / kConfig) && is_file(path / kWeights); }

void refuse_other_functions(const ToolConfig& config) {
  const std::string activation = config.string_or("activation", "topk");
  if (activation != "topk") config.fail("activation is '" + activation + "', expected topk");
  if (config.flag_or("skip_connection", false)) {
    config.fail("skip_connection is true, expected false: no architecture adds W_skip x");
  }
  if (config.flag_or("transcode", false)) {
    config.fail("transcode is true, expected an autoencoder: it predicts other activations");
  }
  if (config.flag_or("signed", false)) {
    config.fail("signed is true, expected false: latents are never negative");
  }
}

/// The configuration of the run, one folder above the hook point. What lies there may be anybody's.
std::optional<ToolConfig> run_config(const fs::path& hook_point, Notes& notes) {
  auto config = ToolConfig::informing(hook_point.parent_path() / "config.json", notes);
  const bool theirs = config && config->json().value("sae", Json()).is_object() &&
                      (config->has("hookpoints") || config->has("layers"));
  return theirs ? config : std::nullopt;
}

/// The folder that is called as the module: with several seeds the one above.
fs::path hook_point_folder(const fs::path& folder) {
  fs::path place = fs::absolute(folder).lexically_normal();
  if (!place.has_filename()) place = place.parent_path();
  static const std::regex kSeed(R"(seed\d{1,19})");
  return std::regex_match(place.filename().string(), kSeed) ? place.parent_path() : place;
}

void read_provenance(PlainSae& plain, const ToolConfig& config, const fs::path& folder) {
  const ToolConfig own = config.part(kOwnKey, plain.notes);
  if (!own.json().empty()) {
    take_provenance(plain, own.json());
    return tidy_source(plain);
  }
  set_origin(plain, "sparsify", config);
  const fs::path hook_point = hook_point_folder(folder);
  if (const auto run = run_config(hook_point, plain.notes)) {
    plain.origin["run"] = run->json();
    carry(*run, "model", plain, "model");
    carry(*run, "dataset", plain, "dataset");
    carry(*run, "ctx_len", plain, "context");
  }
  const std::string module = hook_point.filename().string();
  set_hook(plain.source, module);
  if (!is_transformer_lens_hook(text_of(plain.source, "hook_name")) &&
      !plain.source.contains("layer")) {
    plain.source.erase("hook_name");  // a folder of any name
  }
  tidy_source(plain);
}

PlainSae read(const fs::path& folder) {
  const ToolConfig config(folder / kConfig);
  refuse_other_functions(config);
  const std::int64_t d_in = config.integer("d_in", 1, kLargestSize);
  TensorTaker tensors{SafetensorsFile(folder / kWeights)};
  const std::int64_t d_sae = tensors.shape("encoder.weight", 2)[0];
  if (config.has("num_latents") && config.integer("num_latents", 0, kLargestSize) > 0) {
    config.integer("num_latents", d_sae, d_sae);
  }
  PlainSae plain;
  plain.W_enc = tensors.take("encoder.weight", {d_sae, d_in});
  plain.b_enc = tensors.take("encoder.bias", {d_sae});
  plain.W_dec = tensors.take("W_dec", {d_sae, d_in});
  plain.b_dec = tensors.take("b_dec", {d_in});
  tensors.expect_no_more();
  plain.activation = Activation::kTopK;
  plain.k = config.integer("k", 1, d_sae);
  read_provenance(plain, config, folder);
  return plain;
}

/// sparsify says the hook by the folder's name and the model in the run's folder above.
Notes notes_on(const fs::path& folder, const PlainSae& plain) {
  Notes notes;
  std::vector<std::string> placed;
  const std::string hook_point = hook_point_of(plain.source);
  if (!hook_point.empty()) {
    placed.emplace_back("hook_name");
    if (hook_point_folder(folder).filename() != hook_point) {
      notes.push_back("sparsify knows where an SAE belongs by the name of its folder: call it " +
                      hook_point);
    }
  }
  note_what_has_no_place(plain, "sparsify", "cfg.json under sae_cpp", placed, notes);
  return notes;
}

Notes write(const fs::path& folder, const PlainSae& given) {
  if (given.activation != Activation::kTopK) {
    throw ConfigError(describe(given) +
                      ": cannot be written for sparsify, which knows topk only; use saelens");
  }
  const PlainSae plain = with_subtraction(given, true);
  Json config{{"activation", "topk"},
              {"expansion_factor", std::max<std::int64_t>(1, plain.d_sae() / plain.d_in())},
              {"normalize_decoder", has_unit_decoder(plain)},
              {"num_latents", plain.d_sae()},
              {"k", plain.k},
              {"multi_topk", false},
              {"skip_connection", false},
              {"transcode", false},
              {"d_in", plain.d_in()}};
  const Json ours = provenance(plain);
  if (!ours.empty()) config[kOwnKey] = ours;
  StagedDirectory staged(folder);
  write_safetensors(staged.path() / kWeights, {{"encoder.weight", plain.W_enc},
                                               {"encoder.bias", plain.b_enc},
                                               {"W_dec", plain.W_dec},
                                               {"b_dec", plain.b_dec}});
  write_file_atomically(staged.path() / kConfig, dump_python_json(config) + "\n");
  staged.commit();
  return notes_on(folder, plain);
}

}  // namespace

SaeFormat sparsify_format() {
  return {"sparsify", "a folder with cfg.json and sae.safetensors", detect, read, write};
}

}  // namespace sae

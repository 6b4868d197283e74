// sparsify's folder of one hook point: cfg.json, sae.safetensors (encoder.weight [F, D]). A run
// keeps its own config.json one folder above. Every SAE of theirs is a TopK.

#include <algorithm>
#include <string>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "tools/convert/formats.h"
#include "tools/convert/tool_config.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kConfig = "cfg.json";
constexpr const char* kWeights = "sae.safetensors";

bool detect(const fs::path& path) {
  return fs::exists(path / kConfig) && fs::exists(path / kWeights);
}

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

void read_provenance(PlainSae& plain, const ToolConfig& config, const fs::path& folder) {
  const Json own = config.object(kOwnKey).json();
  if (!own.empty()) return take_provenance(plain, own);
  plain.origin = Json{{"format", "sparsify"}, {"config", config.json()}};
  const fs::path place = fs::absolute(folder).lexically_normal();
  const fs::path hook_point = place.has_filename() ? place : place.parent_path();
  set_hook(plain.source, hook_point.filename().string());
  const fs::path run_config = hook_point.parent_path() / "config.json";
  if (!fs::exists(run_config)) return;
  const ToolConfig run(run_config);
  if (!run.has("sae") || !run.has("hookpoints")) return;  // somebody else's config.json
  plain.origin["run"] = run.json();
  const auto carry = [&](const char* from, const char* to) {
    if (run.has(from)) plain.source[to] = run.json().at(from);
  };
  carry("model", "model");
  carry("dataset", "dataset");
  carry("ctx_len", "context");
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

void write(const fs::path& folder, const PlainSae& given) {
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
  write_file_atomically(staged.path() / kConfig, config.dump(2) + "\n");
  staged.commit();
}

}  // namespace

SaeFormat sparsify_format() {
  return {"sparsify", "a folder with cfg.json and sae.safetensors", detect, read, write};
}

}  // namespace sae

// Gemma Scope 2's params.safetensors, for Gemma 3 (google/gemma-scope-2-*): w_enc [D, F], b_enc,
// w_dec [F, D], b_dec and threshold [F] of a JumpReLU that does not subtract b_dec. config.json
// beside it says where in Hugging Face's model it belongs; without it the folders' names do, as for
// SAELens' loader. Transcoders and crosscoders are published in files of the same names.

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <regex>
#include <string>

#include "models/interchange/folder_names.h"
#include "models/interchange/formats.h"
#include "models/interchange/hooks.h"
#include "models/interchange/provenance.h"
#include "models/interchange/tool_config.h"
#include "sae/base/error.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "gemma_scope_2";
constexpr const char* kWeights = "params.safetensors";
constexpr const char* kConfig = "config.json";

/// The file that `path`, it or its folder, stands for.
fs::path weights_of(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error) ? path / kWeights : path;
}

bool detect(const fs::path& path) {
  const fs::path file = weights_of(path);
  return file.filename() == kWeights && is_file(file);
}

/// google/gemma-scope-2-4b-pt/resid_post_all/layer_9_width_16k_l0_small/params.safetensors
struct Names {
  std::string model;  // "gemma-3-4b-pt"
  std::string site;   // "resid_post"; all three are empty if no folder is called so
  std::string other;  // "transcoder_all": the site of what is no autoencoder
  std::optional<std::int64_t> layer;
};

/// The 270M model has no -pt on the hub.
std::string gemma_3(std::string size_and_tuning) {
  if (size_and_tuning == "270m-pt") size_and_tuning = "270m";
  return "gemma-3-" + size_and_tuning;
}

Names names_of(const fs::path& file) {
  static const std::regex kRelease(R"((?:models--google--)?gemma-scope-2-(\d+[bm]-(?:pt|it)))");
  static const std::regex kSite(R"((resid_post|mlp_out|attn_out)(?:_all)?)");
  static const std::regex kOther(R"((?:transcoder|crosscoder|clt)(?:_all)?)");
  static const std::regex kLayer(R"(layer_(\d{1,6})(?:_\w+)?)");
  Names names;
  for (const std::string& name : folder_names(file)) {
    std::smatch match;
    if (std::regex_match(name, match, kRelease)) {
      names.model = gemma_3(match[1]);
    } else if (std::regex_match(name, match, kSite)) {
      names.site = match[1];
    } else if (std::regex_match(name, match, kLayer)) {
      names.layer = std::stoi(match[1]);
    }
    if (std::regex_match(name, kOther)) names.other = name;
  }
  return names;
}

void refuse_other_functions(const ToolConfig& config) {
  const std::string architecture = config.string_or("architecture", "jump_relu");
  if (architecture != "jump_relu") {
    config.fail("architecture is '" + architecture + "', expected jump_relu");
  }
  const std::string type = config.string_or("type", "sae");
  const std::string in = config.string_or("hf_hook_point_in", "");
  if (type != "sae" || config.string_or("hf_hook_point_out", in) != in) {
    config.fail("type is '" + type + "' from '" + in + "' to '" +
                config.string_or("hf_hook_point_out", in) +
                "', expected an autoencoder: it predicts other activations");
  }
  if (config.flag_or("affine_connection", false)) {
    config.fail("affine_connection is true, expected false: no architecture adds W_skip x");
  }
}

/// "gemma-3-1b-pt" of "google/gemma-v3-1b-pt".
std::string model_of(std::string name) {
  static const std::regex kModel(R"((?:google/)?gemma-v?3-(\w+(?:-\w+)?))");
  std::smatch match;
  if (name.size() > 100 || !std::regex_match(name, match, kModel)) return name;
  return gemma_3(match[1]);
}

/// The module whose activations SAELens takes for a site's folder.
std::string module_of(const std::string& site, std::int64_t layer) {
  return "model.layers." + std::to_string(layer) +
         (site == "attn_out"  ? ".self_attn.o_proj.input"
          : site == "mlp_out" ? ".post_feedforward_layernorm.output"
                              : ".output");
}

void read_place(PlainSae& plain, const std::optional<ToolConfig>& config, const Names& names) {
  std::string model = names.model;
  std::string hook = names.layer ? module_of(names.site, *names.layer) : "";
  if (names.layer && names.site.empty()) {
    plain.guess = "no folder is called as a site (resid_post), so that " + hook +
                  " is a guess; say another place with --hook";
  }
  if (config && !config->text("model_name").empty()) model = model_of(config->text("model_name"));
  if (config && !config->text("hf_hook_point_in").empty()) {
    hook = config->text("hf_hook_point_in");
    plain.guess.clear();
  }
  if (!model.empty()) plain.source["model"] = model;
  if (hook.empty()) return;
  set_hook(plain.source, hook);
  plain.source["hf_hook_name"] = hook;
  plain.source["prepend_bos"] = true;  // of all of them
}

PlainSae read(const fs::path& path) {
  const fs::path file = weights_of(path);
  const fs::path config_file = file.parent_path() / kConfig;
  std::optional<ToolConfig> config;
  if (fs::exists(config_file)) {
    config.emplace(config_file);
    refuse_other_functions(*config);
  }
  const Names names = names_of(file);
  TensorTaker tensors{SafetensorsFile(file)};
  const bool skips = tensors.has("affine_skip_connection");
  if (skips || (!config && !names.other.empty())) {  // a configuration says it more surely
    tensors.fail("is of " + (skips ? "a transcoder" : names.other) +
                 ", expected an autoencoder: it predicts other activations");
  }
  const std::vector<std::int64_t> shape = tensors.shape("w_dec", 2);
  const std::int64_t d_sae = shape[0];
  const std::int64_t d_in = shape[1];
  PlainSae plain;
  plain.W_enc = tensors.take_transposed("w_enc", d_sae, d_in);
  plain.b_enc = tensors.take("b_enc", {d_sae});
  plain.W_dec = tensors.take("w_dec", {d_sae, d_in});
  plain.b_dec = tensors.take("b_dec", {d_in});
  plain.subtracts_b_dec = false;
  plain.activation = Activation::kJumpRelu;
  plain.threshold = tensors.take("threshold", {d_sae}).clamp_min(0);
  tensors.expect_no_more();
  plain.origin = Json{{"format", kFormat}};
  if (config) set_origin(plain, kFormat, *config);
  read_place(plain, config, names);
  tidy_source(plain);
  return plain;
}

}  // namespace

SaeFormat gemma_scope_2_format() {
  return {kFormat, "params.safetensors or its folder", detect, read, nullptr};
}

}  // namespace sae

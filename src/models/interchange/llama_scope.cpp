// Llama Scope (arXiv 2410.20526) and what OpenMOSS' library has saved since. Both say h, f and
// x_hat in the units of s x, s = sqrt(D) / (mean norm of the activations), which is folded in:
//
//     h = s x W_enc^T + b_enc       f = h where h |d_i| > t_i       s x_hat = f W_dec + b_dec
//
// so that latent i has the threshold t_i / |d_i|, d_i its row of W_dec; without
// sparsity_include_decoder_norm |d_i| is left out. As released, hyperparams.json beside
// checkpoints/final.safetensors (encoder.weight [F, D], decoder.weight [D, F]) has one threshold,
// of activations in their own units: t = s jump_relu_threshold. Since then, config.json beside
// sae_weights.safetensors (or W_E [D, F], W_D [F, D]): t_i = exp(log_jumprelu_threshold_i).
// SAELens' loader leaves |d_i| out, which is the same for rows of norm 1.

#include <torch/types.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "models/interchange/folder_names.h"
#include "models/interchange/formats.h"
#include "models/interchange/hooks.h"
#include "models/interchange/provenance.h"
#include "models/interchange/tool_config.h"
#include "sae/base/error.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "llama_scope";
constexpr const char* kNorms = "dataset_average_activation_norm";

struct Files {
  fs::path config, weights;
};

/// Those of a folder, or of the weights' own path.
std::optional<Files> files_of(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    if (path.filename() != "final.safetensors" || !is_file(path)) return {};
    const fs::path beside = fs::absolute(path).lexically_normal().parent_path();
    for (const fs::path& folder : {beside, beside.parent_path()}) {
      if (is_file(folder / "hyperparams.json")) return Files{folder / "hyperparams.json", path};
    }
    return {};
  }
  for (const char* weights : {"checkpoints/final.safetensors", "final.safetensors"}) {
    if (is_file(path / weights) && is_file(path / "hyperparams.json")) {
      return Files{path / "hyperparams.json", path / weights};
    }
  }
  const fs::path config = path / "config.json";
  if (!is_file(path / "sae_weights.safetensors") || !is_file(config)) return {};
  Notes unread;
  const auto read = ToolConfig::informing(config, unread);
  if (!read || !read->has("hook_point_in") || !read->has("d_model")) return {};
  return Files{config, path / "sae_weights.safetensors"};
}

bool detect(const fs::path& path) { return files_of(path).has_value(); }

void refuse_other_functions(const ToolConfig& config) {
  const std::string type = config.string_or("sae_type", "sae");
  if (type != "sae") config.fail("sae_type is '" + type + "', expected sae");
  const std::string in = config.string("hook_point_in");
  const std::string out = config.string_or("hook_point_out", in);
  if (in != out) {
    config.fail("hook_point_out is '" + out + "', hook_point_in '" + in +
                "', expected the same: a transcoder predicts other activations");
  }
  if (config.flag_or("use_glu_encoder", false)) {
    config.fail("use_glu_encoder is true, expected false: no architecture has a product of two");
  }
}

/// s: sqrt(D) over the mean norm that hyperparams.json states, or a tensor of the weights.
double input_scale(const ToolConfig& config, TensorTaker& tensors, std::int64_t d_in) {
  const std::string how = config.string_or("norm_activation", "dataset-wise");
  if (how != "dataset-wise" && how != "inference") {
    config.fail("norm_activation is '" + how +
                "', expected dataset-wise or inference: every token or batch is divided by a "
                "number of its own, which no fixed weights do");
  }
  const std::string named = std::string(kNorms) + "." + config.string("hook_point_in");
  if (how == "inference") {
    tensors.ignore(named);
    return 1;
  }
  const double norm =
      tensors.has(named) ? tensors.take_number(named) : config.object(kNorms).number("in");
  if (!(norm > 0) || !std::isfinite(norm)) {
    config.fail(std::string(kNorms) + " is not a positive number");
  }
  return std::sqrt(static_cast<double>(d_in)) / norm;
}

void take_weights(PlainSae& plain, TensorTaker& tensors, const ToolConfig& config) {
  const std::int64_t d_in = config.integer("d_model", 1, kLargestSize);
  const bool of_library = tensors.has("W_E");
  const std::int64_t d_sae =
      of_library ? tensors.shape("W_E", 2)[1] : tensors.shape("encoder.weight", 2)[0];
  if (config.has("d_sae")) config.integer("d_sae", d_sae, d_sae);
  plain.W_enc = of_library ? tensors.take_transposed("W_E", d_sae, d_in)
                           : tensors.take("encoder.weight", {d_sae, d_in});
  plain.W_dec = of_library ? tensors.take("W_D", {d_sae, d_in})
                           : tensors.take_transposed("decoder.weight", d_sae, d_in);
  plain.b_enc = tensors.take(of_library ? "b_E" : "encoder.bias", {d_sae});
  const bool has_bias = config.flag_or("use_decoder_bias", true);
  plain.b_dec = has_bias ? tensors.take(of_library ? "b_D" : "decoder.bias", {d_in})
                         : at::zeros({d_in}, at::kFloat);
  plain.subtracts_b_dec = has_bias && config.flag_or("apply_decoder_bias_to_pre_encoder", false);
}

/// t [F], in the units of s x.
at::Tensor take_threshold(TensorTaker& tensors, const ToolConfig& config, double scale,
                          std::int64_t d_sae) {
  for (const char* name :
       {"activation_function.log_jumprelu_threshold", "log_jumprelu_threshold"}) {
    if (tensors.has(name)) return tensors.take(name, {d_sae}).exp();
  }
  const double threshold = config.number("jump_relu_threshold");
  if (!(threshold >= 0)) config.fail("jump_relu_threshold is negative, expected from 0 on");
  return at::full({d_sae}, scale * threshold, at::kFloat);
}

/// Thresholds of h instead of h |d_i|, finite: a row of zeros adds nothing, whatever its latent
/// does.
at::Tensor without_norms(const at::Tensor& threshold, const at::Tensor& W_dec) {
  return threshold / W_dec.norm(2, /*dim=*/1).clamp_min(std::numeric_limits<float>::min());
}

/// Sets how latents are chosen, with weights in the units of s x.
void take_activation(PlainSae& plain, TensorTaker& tensors, const ToolConfig& config,
                     double scale) {
  std::string name = config.string("act_fn");
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool weighs = config.flag_or("sparsity_include_decoder_norm", true);
  if (name == "relu") {
    plain.activation = Activation::kRelu;
  } else if (name == "jumprelu") {
    plain.activation = Activation::kJumpRelu;
    plain.threshold = take_threshold(tensors, config, scale, plain.d_sae());
    if (weighs) plain.threshold = without_norms(plain.threshold, plain.W_dec);
    plain.threshold = plain.threshold.clamp_max(std::numeric_limits<float>::max());
  } else if (name == "topk") {
    // The k largest h |d|: a PlainSae gives what it picks by, so that latents carry the norms.
    if (weighs) plain = with_unit_decoder(plain);
    plain.activation = Activation::kTopK;
    plain.k = config.integer("top_k", 1, plain.d_sae());
  } else {
    config.fail("act_fn is '" + name + "', expected relu, jumprelu or topk" +
                (name == "batchtopk" ? ": it picks over a batch; save it as jumprelu first" : ""));
  }
}

void read_provenance(PlainSae& plain, const ToolConfig& config) {
  static const std::regex kRelease(R"(Llama3_1-8B-Base-L(?:\d+|X)\w+-\d+x)");
  set_origin(plain, kFormat, config);
  for (const std::string& name : folder_names(config.place())) {
    if (std::regex_match(name, kRelease)) plain.source["model"] = "meta-llama/Llama-3.1-8B";
  }
  set_hook(plain.source, config.string("hook_point_in"));
  tidy_source(plain);
}

PlainSae read(const fs::path& path) {
  const std::optional<Files> files = files_of(path);
  if (!files) throw DataError(path.string() + ": no files of Llama Scope");
  const ToolConfig config(files->config);
  refuse_other_functions(config);
  TensorTaker tensors{SafetensorsFile(files->weights)};
  PlainSae plain;
  take_weights(plain, tensors, config);
  const double scale = input_scale(config, tensors, plain.d_in());
  take_activation(plain, tensors, config, scale);
  fold_input_scale(plain, scale);
  tensors.expect_no_more();
  read_provenance(plain, config);
  return plain;
}

}  // namespace

SaeFormat llama_scope_format() {
  return {kFormat, "a folder with hyperparams.json and checkpoints/final.safetensors", detect, read,
          nullptr};
}

}  // namespace sae

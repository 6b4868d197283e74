// SAELens' folder, as version 6 writes it and as earlier ones did: cfg.json,
// sae_weights.safetensors (W_enc [D, F], W_dec [F, D]).
//
// normalize_activations layer_norm and constant_norm_rescale are refused: with them f is the same
// for x and 2 x, but for an epsilon, and x_hat is twice as large. A latent of a PlainSae is affine
// in x while it fires, so that none which changes with x can be so: nothing here is exact.

#include <torch/types.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "models/interchange/formats.h"
#include "models/interchange/gated.h"
#include "models/interchange/python_json.h"
#include "models/interchange/saelens_card.h"
#include "models/interchange/saelens_metadata.h"
#include "models/interchange/tool_config.h"
#include "sae/base/error.h"
#include "sae/base/files.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kConfig = "cfg.json";
constexpr const char* kWeights = "sae_weights.safetensors";
constexpr const char* kCard = "README.md";

bool detect(const fs::path& path) { return is_file(path / kConfig) && is_file(path / kWeights); }

std::string architecture_of(const ToolConfig& config) {
  std::string name = config.string_or("architecture", "standard");
  if (is_old_saelens(config)) {
    // A topk was a standard one with another function.
    if (config.flag_or("finetuning_scaling_factor", false)) {
      config.fail(
          "finetuning_scaling_factor is true, expected false: no architecture scales its latents "
          "after they are chosen");
    }
    const std::string function =
        config.string_or("activation_fn_str", config.string_or("activation_fn", "relu"));
    if (function != "relu" && function != "topk") {
      config.fail("activation_fn is '" + function + "', expected relu or topk");
    }
    if (function == "topk") name = "topk";
  }
  if (name.find("transcoder") != std::string::npos) {
    config.fail("architecture is '" + name +
                "', expected an autoencoder: it predicts other activations");
  }
  const auto known = {"standard", "topk", "jumprelu", "gated", "batchtopk", "matryoshka_batchtopk"};
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    config.fail("architecture is '" + name +
                "', expected standard, topk, jumprelu, gated, batchtopk or matryoshka_batchtopk");
  }
  return name;
}

/// What activations are multiplied with before they reach the weights.
double input_scale(const ToolConfig& config, const fs::path& folder) {
  const char* key = "normalize_activations";
  const bool given = config.has(key) && !config.json().at(key).is_boolean();
  const std::string how = given                        ? config.string(key)
                          : config.flag_or(key, false) ? "expected_average_only_in"
                                                       : "none";
  if (how == "none") return 1;
  if (how == "layer_norm" || how == "constant_norm_rescale") {
    config.fail(
        "normalize_activations is '" + how +
        "', expected none or a scale that can be folded: every token is divided by a number "
        "of its own, which no fixed weights do");
  }
  if (how != "expected_average_only_in") {
    config.fail("normalize_activations is '" + how +
                "', expected none, or a scale that can be folded (expected_average_only_in)");
  }
  const fs::path scaler = folder / "activation_scaler.json";
  if (!fs::exists(scaler)) {
    config.fail("normalize_activations is '" + how + "' and there is no activation_scaler.json " +
                "with the factor; fold it in with fold_activation_norm_scaling_factor first");
  }
  const double scale = ToolConfig(scaler).number("scaling_factor");
  if (!(scale > 0)) ToolConfig(scaler).fail("scaling_factor is not positive");
  return scale;
}

/// A BatchTopK is saved as a jumprelu whose thresholds are all the same. `training` is the
/// architecture it was trained as, `details` its options, both absent in older files.
void recognise_batch_topk(PlainSae& plain, const std::string& training, const ToolConfig& details) {
  if (training != "batchtopk" && training != "matryoshka_batchtopk") return;
  const bool uniform = (plain.threshold == plain.threshold[0]).all().item<bool>();
  const Json k = details.json().value("k", Json());
  if (!uniform || !k.is_number() || !(k.get<double>() > 0)) return;
  if (training == "matryoshka_batchtopk") {
    if (!details.has("matryoshka_widths")) return;
    std::vector<std::int64_t> widths;
    for (const auto& width : details.json().at("matryoshka_widths")) {
      const std::int64_t low = widths.empty() ? 1 : widths.back() + 1;
      if (!width.is_number_integer() || width.get<std::int64_t>() < low) return;
      widths.push_back(width.get<std::int64_t>());
    }
    if (widths.empty() || widths.back() != plain.d_sae()) return;
    plain.widths = std::move(widths);
  }
  plain.activation = Activation::kBatchTopK;
  plain.mean_k = k.get<double>();
  plain.threshold = plain.threshold[0].clone();
}

/// `scale` has been folded into the weights already.
void read_activation(PlainSae& plain, const std::string& architecture, const ToolConfig& config,
                     double scale, TensorTaker& tensors) {
  const std::int64_t d_sae = plain.d_sae();
  const bool rescales = config.flag_or("rescale_acts_by_decoder_norm", false);
  if (rescales) plain = with_unit_decoder(plain);
  if (architecture == "topk") {
    plain.activation = Activation::kTopK;
    const bool nested = !config.has("k") && config.has("activation_fn_kwargs");
    plain.k = (nested ? config.object("activation_fn_kwargs") : config).integer("k", 1, d_sae);
  } else if (architecture == "jumprelu") {
    plain.activation = Activation::kJumpRelu;
    plain.threshold = tensors.take("threshold", {d_sae}).clamp_min(0);
    const ToolConfig metadata = config.part("metadata", plain.notes);
    recognise_batch_topk(plain, metadata.text("training_architecture"),
                         metadata.part("training_architecture_details", plain.notes));
  } else if (architecture == "gated") {
    take_gate(plain, tensors, {.r_mag = "r_mag", .b_gate = "b_gate", .b_mag = "b_mag"});
  } else if (architecture != "standard") {
    // A checkpoint of training, which SAELens itself opens for training only. Its threshold is in
    // units of the decoder's norms if these weigh the latents, and folding has divided them.
    plain.activation = Activation::kJumpRelu;
    const double threshold = std::max(tensors.take_number("topk_threshold"), 0.0);
    plain.threshold = at::full({d_sae}, rescales ? threshold / scale : threshold, at::kFloat);
    recognise_batch_topk(plain, architecture, config);
  }
}

PlainSae read(const fs::path& folder) {
  const ToolConfig config(folder / kConfig);
  const std::string architecture = architecture_of(config);
  const double scale = input_scale(config, folder);
  const std::int64_t d_in = config.integer("d_in", 1, kLargestSize);
  const std::int64_t d_sae = config.integer("d_sae", 1, kLargestSize);
  TensorTaker tensors{SafetensorsFile(folder / kWeights)};
  PlainSae plain;
  plain.W_enc = tensors.take_transposed("W_enc", d_sae, d_in);
  if (architecture != "gated") plain.b_enc = tensors.take("b_enc", {d_sae});
  plain.W_dec = tensors.take("W_dec", {d_sae, d_in});
  plain.b_dec = tensors.take("b_dec", {d_in});
  plain.subtracts_b_dec = config.flag_or("apply_b_dec_to_input", true);
  fold_input_scale(plain, scale);
  read_activation(plain, architecture, config, scale, tensors);
  if (tensors.has("scaling_factor")) {
    const at::Tensor factor = tensors.take("scaling_factor", {d_sae});
    if (!(factor == 1).all().item<bool>()) tensors.fail("scaling_factor is not 1 everywhere");
  }
  tensors.expect_no_more();
  read_saelens_provenance(plain, config, folder);
  return plain;
}

Notes write(const fs::path& folder, const PlainSae& plain) {
  const bool jumps = plain.threshold.defined();
  Notes notes;
  Json config{{"architecture", jumps ? "jumprelu" : "standard"},
              {"d_in", plain.d_in()},
              {"d_sae", plain.d_sae()},
              {"dtype", "float32"},
              {"device", "cpu"},
              {"apply_b_dec_to_input", plain.subtracts_b_dec},
              {"normalize_activations", "none"},
              {"reshape_activations", saelens_reshaping(plain)}};
  if (plain.activation == Activation::kTopK) {
    // Rows of norm 1 make both rules the same, and this one lets SAELens fold them.
    config.update({{"architecture", "topk"},
                   {"k", plain.k},
                   {"rescale_acts_by_decoder_norm", has_unit_decoder(plain)}});
  }
  config["metadata"] = saelens_metadata(plain, notes);
  NamedTensors tensors{{"W_enc", plain.W_enc.t()},
                       {"b_enc", plain.b_enc},
                       {"W_dec", plain.W_dec},
                       {"b_dec", plain.b_dec}};
  if (jumps) tensors.emplace_back("threshold", plain.threshold.expand({plain.d_sae()}));
  StagedDirectory staged(folder);
  write_safetensors(staged.path() / kWeights, tensors);
  write_file_atomically(staged.path() / kConfig, dump_python_json(config) + "\n");
  write_file_atomically(staged.path() / kCard, saelens_card(plain, config["metadata"]));
  staged.commit();
  return notes;
}

}  // namespace

SaeFormat saelens_format() {
  return {"saelens", "a folder with cfg.json and sae_weights.safetensors", detect, read, write};
}

}  // namespace sae

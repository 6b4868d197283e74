// dictionary_learning's folder: ae.pt, a state_dict, and config.json, whose trainer.dict_class says
// which class it belongs to. encoder.weight is [F, D], decoder.weight [D, F]; W_enc is [D, F],
// W_dec [F, D]. Weights are taken as they were saved; AutoEncoder.from_pretrained moves norms of
// decoder rows into the latents unless told not to.

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/torch_file.h"
#include "models/interchange/formats.h"
#include "models/interchange/gated.h"
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

constexpr const char* kFormat = "dictionary_learning";
constexpr const char* kConfig = "config.json";
constexpr const char* kWeights = "ae.pt";

bool detect(const fs::path& path) { return is_file(path / kWeights); }

NamedTensors read_weights(const fs::path& file) {
  for (const auto& [name, value] : read_torch_file(file)) {
    if (name == "ae" && std::holds_alternative<PickledOther>(value)) {
      throw DataError(file.string() +
                      ": a backup of training, expected weights alone; torch.save its 'ae'");
    }
  }
  return read_torch_tensors(file);
}

/// The weights of torch.nn.Linear layers, with the decoder's bias under the name `bias`.
void take_linear(PlainSae& plain, TensorTaker& tensors, const char* bias) {
  const std::vector<std::int64_t> shape = tensors.shape("encoder.weight", 2);
  plain.W_enc = tensors.take("encoder.weight", shape);
  plain.W_dec = tensors.take_transposed("decoder.weight", shape[0], shape[1]);
  plain.b_dec = tensors.take(bias, {shape[1]});
}

void take_matrices(PlainSae& plain, TensorTaker& tensors) {
  const std::vector<std::int64_t> shape = tensors.shape("W_dec", 2);
  plain.W_dec = tensors.take("W_dec", shape);
  plain.W_enc = tensors.take_transposed("W_enc", shape[0], shape[1]);
  plain.b_enc = tensors.take("b_enc", {shape[0]});
  plain.b_dec = tensors.take("b_dec", {shape[1]});
}

/// k, of the weights if they have it; the two must agree, as their own loader demands.
std::int64_t take_k(const PlainSae& plain, TensorTaker& tensors, const ToolConfig& trainer) {
  std::int64_t low = 1;
  std::int64_t high = plain.d_sae();
  if (tensors.has("k")) {
    const double k = tensors.take_number("k");
    if (!(k >= 1 && k <= static_cast<double>(high)) || std::floor(k) != k) {
      tensors.fail("k is not an integer from 1 to " + std::to_string(high));
    }
    low = high = static_cast<std::int64_t>(k);
    if (!trainer.has("k")) return low;
  }
  return trainer.integer("k", low, high);
}

void take_batch_topk(PlainSae& plain, TensorTaker& tensors, const ToolConfig& trainer) {
  plain.activation = Activation::kBatchTopK;
  plain.mean_k = static_cast<double>(take_k(plain, tensors, trainer));
  plain.threshold = at::full({}, tensors.take_number("threshold"), at::kFloat);
}

/// Sizes of the parts of the dictionary; ours are prefixes.
void take_groups(PlainSae& plain, TensorTaker& tensors) {
  std::int64_t width = 0;
  for (const std::int64_t size : tensors.take_integers("group_sizes")) {
    if (size < 1 || size > plain.d_sae() - width) {
      tensors.fail("group_sizes has " + std::to_string(size) + " after " + std::to_string(width) +
                   " of " + std::to_string(plain.d_sae()) + " latents");
    }
    width += size;
    plain.widths.push_back(width);
  }
  if (width != plain.d_sae()) {
    tensors.fail("group_sizes add up to " + std::to_string(width) + ", expected " +
                 std::to_string(plain.d_sae()));
  }
}

PlainSae take_class(const std::string& name, TensorTaker& tensors, const ToolConfig& trainer) {
  PlainSae plain;
  if (name == "AutoEncoder" || name == "AutoEncoderNew") {
    plain.subtracts_b_dec = name == "AutoEncoder";
    take_linear(plain, tensors, plain.subtracts_b_dec ? "bias" : "decoder.bias");
    plain.b_enc = tensors.take("encoder.bias", {plain.d_sae()});
  } else if (name == "AutoEncoderTopK" || name == "BatchTopKSAE") {
    take_linear(plain, tensors, "b_dec");
    plain.b_enc = tensors.take("encoder.bias", {plain.d_sae()});
    if (name == "BatchTopKSAE") {
      take_batch_topk(plain, tensors, trainer);
    } else {
      plain.activation = Activation::kTopK;
      plain.k = take_k(plain, tensors, trainer);
      tensors.ignore("threshold");  // a statistic that encode uses on request only
    }
  } else if (name == "MatryoshkaBatchTopKSAE") {
    take_matrices(plain, tensors);
    take_batch_topk(plain, tensors, trainer);
    take_groups(plain, tensors);
  } else if (name == "JumpReluAutoEncoder") {
    take_matrices(plain, tensors);
    plain.subtracts_b_dec = false;
    plain.activation = Activation::kJumpRelu;
    plain.threshold = tensors.take("threshold", {plain.d_sae()}).clamp_min(0);
  } else if (name == "GatedAutoEncoder") {
    take_linear(plain, tensors, "decoder_bias");
    take_gate(plain, tensors, {.r_mag = "r_mag", .b_gate = "gate_bias", .b_mag = "mag_bias"});
  } else {
    trainer.fail("dict_class is '" + name +
                 "', expected AutoEncoder, AutoEncoderNew, AutoEncoderTopK, BatchTopKSAE, "
                 "MatryoshkaBatchTopKSAE, JumpReluAutoEncoder or GatedAutoEncoder");
  }
  return plain;
}

/// Their scripts name modules "resid_post_layer_8"; other programs give a module's path. Without
/// either, their readers take the residual stream.
void set_place(Json& source, const std::string& submodule, std::optional<std::int64_t> layer) {
  const std::string site = submodule.empty() ? "resid_post" : site_of_submodule(submodule);
  if (layer && !site.empty()) {
    set_site(source, site, *layer);
  } else if (!submodule.empty()) {
    set_hook(source, submodule);
  }
}

void read_provenance(PlainSae& plain, const ToolConfig& config) {
  const ToolConfig own = config.part(kOwnKey, plain.notes);
  if (!own.json().empty()) {
    const Json mean_k = own.json().value("mean_k", Json());
    if (mean_k.is_number() && plain.mean_k > 0 &&
        std::llround(mean_k.get<double>()) == std::llround(plain.mean_k)) {
      plain.mean_k = mean_k.get<double>();
    }
    take_provenance(plain, own.json());
    return tidy_source(plain);
  }
  set_origin(plain, kFormat, config);
  const ToolConfig trainer = config.part("trainer", plain.notes);
  carry(trainer, "lm_name", plain, "model");
  set_place(plain.source, trainer.text("submodule_name"), trainer.whole("layer"));
  if (trainer.text("submodule_name").empty() && plain.source.contains("hook_name")) {
    plain.guess = trainer.place() + ": no submodule_name, so that " +
                  text_of(plain.source, "hook_name") + " is a guess; say another place with --hook";
  }
  carry(config.part("buffer", plain.notes), "ctx_len", plain, "context");
  tidy_source(plain);
}

PlainSae read(const fs::path& folder) {
  if (!is_file(folder / kConfig)) {
    throw DataError(folder.string() +
                    ": ae.pt without config.json, expected both: trainer.dict_class there says "
                    "what the weights mean");
  }
  const ToolConfig config(folder / kConfig);
  const ToolConfig trainer = config.object("trainer");
  TensorTaker tensors((folder / kWeights).string(), read_weights(folder / kWeights));
  PlainSae plain = take_class(trainer.string("dict_class"), tensors, trainer);
  tensors.expect_no_more();
  read_provenance(plain, config);
  return plain;
}

/// A class of theirs, the trainer that makes it, and the state_dict.
struct Written {
  const char* dict_class;
  const char* trainer_class;
  NamedTensors tensors;
};

NamedTensors linear(const PlainSae& plain, const char* bias) {
  return {{bias, plain.b_dec},
          {"encoder.weight", plain.W_enc},
          {"encoder.bias", plain.b_enc},
          {"decoder.weight", plain.W_dec.t()}};
}

NamedTensors matrices(const PlainSae& plain) {
  return {{"W_enc", plain.W_enc.t()},
          {"b_enc", plain.b_enc},
          {"W_dec", plain.W_dec},
          {"b_dec", plain.b_dec}};
}

void add_k(NamedTensors& tensors, std::int64_t k, const at::Tensor& threshold) {
  tensors.emplace_back("k", at::full({}, k, at::kInt));
  tensors.emplace_back("threshold", threshold);
}

/// Their k is an integer; ours, of a batch, may be a fraction.
std::int64_t whole_k(const PlainSae& plain) {
  if (plain.activation == Activation::kTopK) return plain.k;
  const auto rounded = static_cast<std::int64_t>(std::llround(plain.mean_k));
  return std::clamp<std::int64_t>(rounded, 1, plain.d_sae());
}

std::vector<std::int64_t> groups_of(const PlainSae& plain) {
  std::vector<std::int64_t> groups = plain.widths;
  for (std::size_t i = groups.size(); i-- > 1;) groups[i] -= groups[i - 1];
  return groups;
}

Written to_class(const PlainSae& given) {
  const PlainSae plain = with_subtraction(given, true);
  if (plain.activation == Activation::kRelu) {
    return {"AutoEncoder",
            has_unit_decoder(plain) ? "StandardTrainer" : "StandardTrainerAprilUpdate",
            linear(plain, "bias")};
  }
  if (plain.activation == Activation::kTopK) {
    Written out{"AutoEncoderTopK", "TopKTrainer", linear(plain, "b_dec")};
    add_k(out.tensors, plain.k, at::full({}, -1, at::kFloat));
    return out;
  }
  if (plain.activation == Activation::kBatchTopK && plain.mean_k > 0) {
    if (plain.widths.empty()) {
      Written out{"BatchTopKSAE", "BatchTopKTrainer", linear(plain, "b_dec")};
      add_k(out.tensors, whole_k(plain), plain.threshold);
      return out;
    }
    Written out{"MatryoshkaBatchTopKSAE", "MatryoshkaBatchTopKTrainer", matrices(plain)};
    add_k(out.tensors, whole_k(plain), plain.threshold);
    out.tensors.emplace_back("group_sizes", at::tensor(groups_of(plain), at::kLong));
    return out;
  }
  const PlainSae jump = with_subtraction(given, false);
  Written out{"JumpReluAutoEncoder", "JumpReluTrainer", matrices(jump)};
  out.tensors.emplace_back("threshold", jump.threshold.clamp_min(0).expand({jump.d_sae()}));
  return out;
}

/// The configuration that it was read from, if it was one of theirs.
Json config_read(const PlainSae& plain) {
  Json config = origin_config(plain, kFormat);
  for (const char* group : {"trainer", "buffer"}) {
    if (!config.value(group, Json()).is_object()) config.erase(group);
  }
  return config;
}

std::optional<std::int64_t> layer_of(const Json& object) {
  const Json layer = object.value("layer", Json());
  return layer.is_number_integer() ? std::optional(layer.get<std::int64_t>()) : std::nullopt;
}

/// "resid_post_layer_8"; where their scripts have no such name, the hook's.
std::string submodule_of(const Json& source) {
  const std::string site = text_of(source, "site");
  if (site.empty() || site_of_submodule(site) != site || !source.contains("layer")) {
    return text_of(source, "hook_name");
  }
  return site + "_layer_" + source["layer"].dump();
}

Json config_of(const PlainSae& plain, const Written& written) {
  Json config{{"trainer", Json::object()}, {"buffer", Json::object()}};
  config.update(config_read(plain));
  Json& trainer = config["trainer"];
  trainer.update({{"trainer_class", written.trainer_class},
                  {"dict_class", written.dict_class},
                  {"activation_dim", plain.d_in()},
                  {"dict_size", plain.d_sae()},
                  {"device", "cpu"}});
  const std::string model = hub_name(text_of(plain.source, "model"));
  trainer["lm_name"] = model.empty() ? Json() : Json(model);
  Json said{{"model", text_of(trainer, "lm_name")}};
  set_place(said, text_of(trainer, "submodule_name"), layer_of(trainer));
  if (text_of(said, "hook_name") != text_of(plain.source, "hook_name")) {
    trainer["submodule_name"] = submodule_of(plain.source);
  }
  trainer["layer"] = plain.source.value("layer", Json());
  trainer.erase("k");
  if (plain.k > 0 || plain.mean_k > 0) trainer["k"] = whole_k(plain);
  if (!plain.widths.empty()) trainer["group_sizes"] = groups_of(plain);
  config["buffer"].update({{"d_submodule", plain.d_in()}});
  if (plain.source.contains("context")) config["buffer"]["ctx_len"] = plain.source["context"];
  Json ours = provenance(plain);
  if (plain.mean_k > 0 && plain.mean_k != std::floor(plain.mean_k)) ours["mean_k"] = plain.mean_k;
  if (!ours.empty()) config[kOwnKey] = ours;
  return config;
}

Notes write(const fs::path& folder, const PlainSae& plain) {
  const Written written = to_class(plain);
  StagedDirectory staged(folder);
  write_torch_file(staged.path() / kWeights, written.tensors);
  write_file_atomically(staged.path() / kConfig,
                        dump_python_json(config_of(plain, written)) + "\n");
  staged.commit();
  Notes notes;
  note_what_has_no_place(plain, kFormat, "config.json under sae_cpp", {"model", "hook_name"},
                         notes);
  return notes;
}

}  // namespace

SaeFormat dictionary_learning_format() {
  return {kFormat, "a folder with ae.pt and config.json", detect, read, write};
}

}  // namespace sae

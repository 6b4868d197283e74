// Gemma Scope's params.npz (arXiv 2408.05147): W_enc [D, F], b_enc, W_dec [F, D], b_dec and
// threshold [F] of a JumpReLU that does not subtract b_dec. The archive has no room for metadata;
// ours lies beside it in sae_cpp.json.

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <regex>
#include <string>
#include <utility>

#include "formats/npz.h"
#include "models/interchange/folder_names.h"
#include "models/interchange/formats.h"
#include "models/interchange/hooks.h"
#include "models/interchange/provenance.h"
#include "models/interchange/tool_config.h"
#include "sae/base/error.h"
#include "sae/base/files.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kWeights = "params.npz";
constexpr const char* kOwnFile = "sae_cpp.json";

/// The archive that `path`, it or its folder, stands for.
fs::path weights_of(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error) ? path / kWeights : path;
}

bool detect(const fs::path& path) {
  const fs::path file = weights_of(path);
  return file.extension() == ".npz" && is_file(file);
}

/// Some copies spell weights in lower case.
NamedTensors with_upper_case(NamedTensors tensors) {
  for (auto& [name, tensor] : tensors) {
    if (name == "w_enc" || name == "w_dec") name[0] = 'W';
  }
  return tensors;
}

/// What published files say by the names of their folders, and those of the hub's cache:
/// google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82/params.npz.
struct Names {
  std::string size, tuning, site;  // "2b", "pt", "res"; empty if no folder is called so
  std::optional<std::int64_t> layer;
  bool embedding = false;
};

Names names_of(const fs::path& file) {
  static const std::regex kRelease(
      R"((?:models--google--)?gemma-scope-(\d+b)-(pt|it)-(res|mlp|att|transcoders)(?:-.*)?)");
  static const std::regex kLayer(R"(layer_(\d{1,6}))");
  Names names;
  for (const std::string& name : folder_names(file)) {
    std::smatch match;
    if (std::regex_match(name, match, kRelease)) {
      names.size = match[1], names.tuning = match[2], names.site = match[3];
    } else if (std::regex_match(name, match, kLayer)) {
      names.layer = std::stoi(match[1]);
    }
    names.embedding = names.embedding || name == "embedding";
  }
  return names;
}

void read_place(PlainSae& plain, const Names& names) {
  if (!names.size.empty()) {
    plain.source["model"] = "gemma-2-" + names.size + (names.tuning == "it" ? "-it" : "");
  }
  if (names.layer && names.site == "att") {
    set_hook(plain.source, "blocks." + std::to_string(*names.layer) + ".attn.hook_z");
  } else if (names.layer) {
    set_site(plain.source, names.site == "mlp" ? "mlp_out" : "resid_post", *names.layer);
    if (names.site.empty()) {
      plain.guess = "no folder is called as a release (gemma-scope-2b-pt-res), so that " +
                    text_of(plain.source, "hook_name") +
                    " is a guess; say another place with --hook";
    }
  } else if (names.embedding) {
    set_hook(plain.source, "hook_embed");
  } else {
    return;
  }
  plain.source["prepend_bos"] = true;  // of all of them, section 3 of the paper
}

void read_provenance(PlainSae& plain, const fs::path& file) {
  if (const auto own = ToolConfig::informing(file.parent_path() / kOwnFile, plain.notes)) {
    take_provenance(plain, own->json());
    return tidy_source(plain);
  }
  plain.origin = Json{{"format", "gemma_scope"}};
  read_place(plain, names_of(file));
}

PlainSae read(const fs::path& path) {
  const fs::path file = weights_of(path);
  if (names_of(file).site == "transcoders") {
    throw DataError(file.string() +
                    ": is of a release of transcoders, expected an autoencoder: it predicts other "
                    "activations");
  }
  TensorTaker tensors(file.string(), with_upper_case(read_npz(file)));
  const std::vector<std::int64_t> shape = tensors.shape("W_dec", 2);
  const std::int64_t d_sae = shape[0];
  const std::int64_t d_in = shape[1];
  PlainSae plain;
  plain.W_enc = tensors.take_transposed("W_enc", d_sae, d_in);
  plain.b_enc = tensors.take("b_enc", {d_sae});
  plain.W_dec = tensors.take("W_dec", {d_sae, d_in});
  plain.b_dec = tensors.take("b_dec", {d_in});
  plain.subtracts_b_dec = false;
  plain.activation = Activation::kJumpRelu;
  plain.threshold = tensors.take("threshold", {d_sae}).clamp_min(0);
  tensors.expect_no_more();
  read_provenance(plain, file);
  return plain;
}

Notes write(const fs::path& folder, const PlainSae& given) {
  if (given.activation == Activation::kTopK) {
    throw ConfigError(describe(given) +
                      ": cannot be written for gemma_scope, which knows thresholds only; use "
                      "saelens, dictionary_learning or sparsify");
  }
  const PlainSae plain = with_subtraction(given, false);
  const std::int64_t d_sae = plain.d_sae();
  // A ReLU is a JumpReLU whose thresholds are 0.
  const at::Tensor threshold = plain.threshold.defined()
                                   ? plain.threshold.clamp_min(0).expand({d_sae})
                                   : at::zeros({d_sae}, at::kFloat);
  StagedDirectory staged(folder);
  write_npz(staged.path() / kWeights, {{"W_enc", plain.W_enc.t()},
                                       {"W_dec", plain.W_dec},
                                       {"b_enc", plain.b_enc},
                                       {"b_dec", plain.b_dec},
                                       {"threshold", threshold}});
  const Json ours = provenance(plain);
  if (!ours.empty()) write_file_atomically(staged.path() / kOwnFile, ours.dump(2) + "\n");
  staged.commit();
  Notes notes;
  note_what_has_no_place(plain, "gemma_scope", kOwnFile, {}, notes);
  return notes;
}

}  // namespace

SaeFormat gemma_scope_format() {
  return {"gemma_scope", "params.npz or its folder", detect, read, write};
}

}  // namespace sae

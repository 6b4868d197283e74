// Gemma Scope's params.npz (arXiv 2408.05147): W_enc [D, F], b_enc, W_dec [F, D], b_dec and
// threshold [F] of a JumpReLU that does not subtract b_dec. The archive has no room for metadata;
// ours lies beside it in sae_cpp.json.

#include <torch/types.h>

#include <regex>
#include <string>
#include <utility>

#include "formats/npz.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "tools/convert/formats.h"
#include "tools/convert/tool_config.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kWeights = "params.npz";
constexpr const char* kOwnFile = "sae_cpp.json";

/// The archive that `path`, it or its folder, stands for.
fs::path weights_of(const fs::path& path) {
  return fs::is_directory(path) ? path / kWeights : path;
}

bool detect(const fs::path& path) {
  const fs::path file = weights_of(path);
  return file.extension() == ".npz" && fs::is_regular_file(file);
}

/// Some copies spell weights in lower case.
NamedTensors with_upper_case(NamedTensors tensors) {
  for (auto& [name, tensor] : tensors) {
    if (name == "w_enc" || name == "w_dec") name[0] = 'W';
  }
  return tensors;
}

void read_provenance(PlainSae& plain, const fs::path& file) {
  const fs::path own = file.parent_path() / kOwnFile;
  if (fs::exists(own)) return take_provenance(plain, ToolConfig(own).json());
  plain.origin = Json{{"format", "gemma_scope"}};
  // Published files say where they belong by their folders: layer_12/width_16k/average_l0_71.
  static const std::regex kLayer(R"(layer_(\d{1,6}))");
  for (const fs::path& part : fs::absolute(file)) {
    const std::string name = part.string();
    std::smatch match;
    if (name.size() < 20 && std::regex_match(name, match, kLayer)) {
      plain.source["layer"] = std::stoi(match[1]);
    }
  }
}

PlainSae read(const fs::path& path) {
  const fs::path file = weights_of(path);
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

void write(const fs::path& folder, const PlainSae& given) {
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
}

}  // namespace

SaeFormat gemma_scope_format() {
  return {"gemma_scope", "params.npz or its folder", detect, read, write};
}

}  // namespace sae

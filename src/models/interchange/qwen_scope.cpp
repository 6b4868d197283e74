// Qwen Scope's layerN.sae.pt (arXiv 2605.11887): a dict of W_enc [F, D], W_dec [D, F], b_enc and
// b_dec of a TopK that does not subtract b_dec. k is in the name of the release alone,
// SAE-Res-Qwen3-1.7B-Base-W32K-L0_50. As published and as SAELens' loader takes it, with its ReLU.

#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "formats/torch_file.h"
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

constexpr const char* kFormat = "qwen_scope";

/// N of "layerN.sae.pt".
std::optional<std::int64_t> layer_of(const fs::path& file) {
  static const std::regex kName(R"(layer(\d{1,6})\.sae\.pt)");
  const std::string name = file.filename().string();
  std::smatch match;
  if (name.size() > 100 || !std::regex_match(name, match, kName)) return {};
  return std::stoi(match[1]);
}

/// The only such file in a folder, or `path` itself; empty if that is none.
fs::path weights_of(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return layer_of(path) && is_file(path) ? path : fs::path();
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
    if (layer_of(entry.path()) && is_file(entry.path())) files.push_back(entry.path());
  }
  return files.size() == 1 ? files[0] : fs::path();
}

bool detect(const fs::path& path) { return !weights_of(path).empty(); }

struct Release {
  std::string model;  // "Qwen3-1.7B-Base"
  std::int64_t k = 0;
};

std::optional<Release> release_of(const fs::path& file) {
  static const std::regex kRelease(R"((?:models--Qwen--)?SAE-Res-(.+)-W\d+K-L0_(\d{1,9}))");
  std::optional<Release> release;
  for (const std::string& name : folder_names(file)) {
    std::smatch match;
    if (std::regex_match(name, match, kRelease)) release = {match[1], std::stoi(match[2])};
  }
  return release;
}

PlainSae read(const fs::path& path) {
  const fs::path file = weights_of(path);
  const std::optional<Release> release = release_of(file);
  if (!release) {
    throw DataError(file.string() +
                    ": no folder is called as a release (SAE-Res-Qwen3-1.7B-Base-W32K-L0_50), "
                    "which alone says k; put the file into a folder of its name");
  }
  TensorTaker tensors(file.string(), read_torch_tensors(file));
  const std::vector<std::int64_t> shape = tensors.shape("W_enc", 2);
  PlainSae plain;
  plain.W_enc = tensors.take("W_enc", shape);
  plain.W_dec = tensors.take_transposed("W_dec", shape[0], shape[1]);
  plain.b_enc = tensors.take("b_enc", {shape[0]});
  plain.b_dec = tensors.take("b_dec", {shape[1]});
  tensors.expect_no_more();
  plain.subtracts_b_dec = false;
  plain.activation = Activation::kTopK;
  plain.k = release->k;
  if (plain.k < 1 || plain.k > plain.d_sae()) {
    tensors.fail("its release says L0_" + std::to_string(plain.k) + ", expected from 1 to " +
                 std::to_string(plain.d_sae()));
  }
  const std::int64_t layer = *layer_of(file);
  plain.origin = Json{{"format", kFormat}};
  plain.source["model"] = "Qwen/" + release->model;
  set_site(plain.source, "resid_post", layer);
  plain.source["hf_hook_name"] = "model.layers." + std::to_string(layer);
  tidy_source(plain);
  return plain;
}

}  // namespace

SaeFormat qwen_scope_format() {
  return {kFormat, "layerN.sae.pt or a folder with one", detect, read, nullptr};
}

}  // namespace sae

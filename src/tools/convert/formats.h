// The table of formats that `sae convert` reads and writes.
//
// To add one: a source with its functions, declared below, and a row in
// src/tools/convert/formats.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tools/convert/plain_sae.h"
#include "tools/convert/tensor_taker.h"

namespace sae {

struct SaeFormat {
  std::string name;      ///< "saelens"
  std::string contents;  ///< for messages: "a folder with cfg.json and sae_weights.safetensors"

  /// Whether `path` looks like this format. Looks at names and at the JSON only, and throws nothing
  /// for files of other formats.
  bool (*detect)(const std::filesystem::path& path);
  /// DataError for a damaged file, and for one that means something no PlainSae can.
  PlainSae (*read)(const std::filesystem::path& path);
  /// Makes the folder `folder` (aside, then renamed). ConfigError, before anything is written, for
  /// what the format cannot express: "topk with k 32: gemma_scope knows thresholds only; ...".
  void (*write)(const std::filesystem::path& folder, const PlainSae& plain);
};

const std::vector<SaeFormat>& sae_formats();

/// The row called `name`; ConfigError with all names otherwise.
const SaeFormat& sae_format(const std::string& name);
/// The only row that detects `path`; DataError that says what was expected if there is none.
const SaeFormat& detect_format(const std::filesystem::path& path);

// One file each: own_format.cpp, saelens.cpp, sparsify.cpp, dictionary_learning.cpp,
// gemma_scope.cpp.
SaeFormat own_format();
SaeFormat saelens_format();
SaeFormat sparsify_format();
SaeFormat dictionary_learning_format();
SaeFormat gemma_scope_format();

}  // namespace sae

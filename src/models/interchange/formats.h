// The table of formats that `sae convert` reads and writes.
//
// To add one: a source with its functions, declared below, and a row in
// src/models/interchange/formats.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "models/interchange/plain_sae.h"
#include "models/interchange/tensor_taker.h"
#include "models/interchange/tool_config.h"
#include "sae/models/sae_folder.h"

namespace sae {

struct SaeFormat {
  std::string name;      ///< "saelens"
  std::string contents;  ///< for messages: "a folder with cfg.json and sae_weights.safetensors"

  /// Whether `path` looks like this format. Looks at names and at the JSON only, and throws nothing
  /// for files of other formats.
  bool (*detect)(const std::filesystem::path& path);
  /// DataError for a damaged file, and for one that means something no PlainSae can. What says
  /// nothing about the function cannot stop it: that costs a note in the PlainSae.
  PlainSae (*read)(const std::filesystem::path& path);
  /// Makes the folder `folder` (aside, then renamed) and returns notes on what the format has no
  /// place for. ConfigError, before anything is written, for a function that the format cannot
  /// express: "topk with k 32: gemma_scope knows thresholds only; ...". Null: it is only read.
  Notes (*write)(const std::filesystem::path& folder, const PlainSae& plain);
};

const std::vector<SaeFormat>& sae_formats();

/// The row called `name`; ConfigError with all names otherwise.
const SaeFormat& sae_format(const std::string& name);
/// The same of a row that is written too.
const SaeFormat& written_format(const std::string& name);
/// The only row that detects `path`; DataError that says what was expected if there is none.
const SaeFormat& detect_format(const std::filesystem::path& path);

/// An SAE of ours as a PlainSae, and back, as if one had been written and read: the config has
/// model, source, training and converted_from.
PlainSae plain_of(const SaeFolder& folder);
SaeFolder folder_of(const PlainSae& plain);

// One file each: own_format.cpp, saelens.cpp, sparsify.cpp, dictionary_learning.cpp,
// gemma_scope.cpp, gemma_scope_2.cpp, qwen_scope.cpp, llama_scope.cpp.
SaeFormat own_format();
SaeFormat saelens_format();
SaeFormat sparsify_format();
SaeFormat dictionary_learning_format();
SaeFormat gemma_scope_format();
SaeFormat gemma_scope_2_format();
SaeFormat qwen_scope_format();
SaeFormat llama_scope_format();

}  // namespace sae

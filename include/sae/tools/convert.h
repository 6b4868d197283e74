// `sae convert`: an autoencoder from one tool's files into another's, with the same latents.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace sae {

struct ConvertArguments {
  std::filesystem::path input;   ///< what `from` reads; of ours also a run or a checkpoint
  std::filesystem::path output;  ///< a folder that does not exist yet
  std::string to;                ///< one of convert_formats()
  std::string from = "auto";     ///< one of readable_formats(), or auto: by the names of the files
  std::string model;             ///< the language model that it is for; empty: what the files say
  /// The place in that model, as TransformerLens (blocks.12.hook_resid_post) or as a module
  /// (layers.12.mlp); empty: what the files say.
  std::string hook;
  std::string verify;  ///< an activation store to compare both on; empty: none
  std::int64_t verify_tokens = 8192;
};

/// Both autoencoders on the same activations, the second read back from the files just written.
struct Verification {
  struct Difference {
    double absolute = 0;  ///< largest |a - b|
    double relative = 0;  ///< that, divided by the largest |a|
  };
  std::int64_t tokens = 0;
  Difference latents;                   ///< over all latents of all tokens
  Difference reconstruction;            ///< over all numbers of all reconstructions
  std::int64_t active_on_one_side = 0;  ///< latents of a token that only one of them fires
  double l0_in = 0, l0_out = 0;
  double explained_variance_in = 0, explained_variance_out = 0;
};

struct ConvertReport {
  std::string from;      ///< format read
  std::string to;        ///< format written
  std::string function;  ///< how latents are chosen: "topk with k 32"
  std::int64_t d_in = 0;
  std::int64_t d_sae = 0;
  /// For a person, a line each: what could not be taken of files that only inform, what was
  /// replaced by `model` and `hook`, and what the format written has no place for.
  std::vector<std::string> warnings;
  std::optional<Verification> verification;
};

std::vector<std::string> convert_formats();   ///< those that are written
std::vector<std::string> readable_formats();  ///< all

/// ConfigError for what cannot be obeyed, among it an autoencoder that the other format cannot
/// express (nothing is written then); DataError for files that are not what they should be.
ConvertReport convert(const ConvertArguments& arguments);

nlohmann::ordered_json to_json(const ConvertReport& report);

}  // namespace sae

// Shards: tensors with a row for each latent, in as many files as ranks wrote.
//
// One process writes "sae.safetensors". Of several each writes the rows that it owns, for example
// "sae-0002-of-0004.safetensors", with their numbers in the metadata: {"latents": "0-7,20-31"}.
// What is no row of a latent is in all of the files. Any number of ranks reads what any other
// wrote.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sae/distributed/rows.h"
#include "sae/formats/safetensors.h"

namespace sae {

std::string shard_name(const std::string& stem, int number, int of);

/// Those of `names` that are shards of `stem`, in order; none unless they are complete.
std::vector<std::string> shards_among(const std::vector<std::string>& names,
                                      const std::string& stem);

/// Rows of the latents `ids` [n] i64, ascending. Without metadata where that is all of them.
void write_shard(const std::filesystem::path& path, const NamedTensors& tensors,
                 const at::Tensor& ids, std::int64_t d_sae);

class Shards {
 public:
  /// The shards of `stem` in a folder. DataError unless they are complete.
  Shards(const std::filesystem::path& folder, const std::string& stem);

  /// Whether there is such a tensor, and one that has no rows of latents.
  bool contains(std::string_view name) const { return parts_.front().file.contains(name); }
  at::Tensor shared(std::string_view name) const { return parts_.front().file.tensor(name); }

  /// Throws unless these are the tensors of all files, with the rows of `ids` of `d_sae` latents
  /// in all, and of these shapes and types.
  void check(const NamedTensors& tensors, const at::Tensor& ids, std::int64_t d_sae) const;
  /// Copies them, after `check`.
  void read(const NamedTensors& tensors, const at::Tensor& ids, std::int64_t d_sae) const;

 private:
  struct Part {
    SafetensorsFile file;
    std::optional<std::vector<Rows>> latents;  // ascending; none: all there are
  };

  static at::Tensor ids_of(const Part& part, std::int64_t d_sae);  // [n] i64

  std::vector<Part> parts_;
};

}  // namespace sae

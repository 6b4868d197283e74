// One file of a store: its rows in memory, as they are and as float32.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/store/id_column.h"
#include "sae/base/files.h"

namespace sae {

/// "shard-00003.safetensors", "truth-00003.safetensors"
std::string numbered_file(const std::string& stem, std::int64_t number);

struct Shard {
  std::shared_ptr<const MappedFile> file;
  std::string dtype;             ///< F16, BF16, F32 or F64
  std::int64_t first = 0;        ///< the store's row number of its row 0
  std::int64_t rows = 0;         ///< T
  std::int64_t width = 0;        ///< D
  std::string_view activations;  ///< [T, D]
  IdColumn tokens;               ///< [T], or empty
  IdColumn context;              ///< [T], or empty
  std::string part;              ///< "tensor 3" where a file has several; else empty

  /// "acts.pt: tensor 3"
  std::string name() const { return file->path().string() + (part.empty() ? "" : ": " + part); }

  /// Row `row` as float32. False if a value is NaN or infinite.
  bool read_row(std::int64_t row, float* out) const;

  /// The type of rows as they are stored; float64, which nobody computes with, comes as float32.
  at::ScalarType stored_type() const;

  /// Row `row` in that type. False if a value is NaN or infinite.
  bool copy_row(std::int64_t row, void* out) const;

  /// Tells the kernel that `count` rows from `row` on are wanted soon.
  void will_need(std::int64_t row, std::int64_t count = 1) const;
};

/// The first row with a NaN or infinity of shards that lie in one file, counted from the first of
/// them; -1 if there is none.
std::int64_t first_bad_row(std::span<const Shard> shards);

/// What a bare file is known by: its content and that of the files beside it that hold its ids.
std::string bare_digest(const Shard& shard);

/// A shard of a store: tensors `activations` and perhaps `tokens` and `context`, nothing else.
Shard open_shard(const std::filesystem::path& path);

/// A file given in place of a store, as the shards that it holds, one unless it is a list: a 2-D
/// .npy, a .safetensors, or what torch.save wrote (see arrays_in). Of several tensors with names
/// `activations` counts, with `tokens` and `context` beside it. Where these are not in the file,
/// STEM.tokens.npy and STEM.context.npy beside STEM.npy are read, or .pt or .safetensors, one array
/// of integers each, [T] for all shards together.
std::vector<Shard> open_bare_file(const std::filesystem::path& path, bool verify);

}  // namespace sae

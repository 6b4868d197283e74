// One file of a store: its rows in memory, as they are and as float32.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

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
  std::string_view tokens;       ///< [T] int32, or empty
  std::string_view context;      ///< [T] int32, or empty

  std::string name() const { return file->path().string(); }

  /// Row `row` as float32. False if a value is NaN or infinite.
  bool read_row(std::int64_t row, float* out) const;

  /// The type of rows as they are stored; float64, which nobody computes with, comes as float32.
  at::ScalarType stored_type() const;

  /// Row `row` in that type. False if a value is NaN or infinite.
  bool copy_row(std::int64_t row, void* out) const;

  /// Tells the kernel that `count` rows from `row` on are wanted soon.
  void will_need(std::int64_t row, std::int64_t count = 1) const;
};

/// A shard of a store: tensors `activations` and perhaps `tokens` and `context`, nothing else.
Shard open_shard(const std::filesystem::path& path);

/// A file given in place of a store: a .safetensors with one 2-D tensor or one that is named
/// `activations`, or a .npy. Which of the two it is, its first bytes say.
Shard open_bare_file(const std::filesystem::path& path);

}  // namespace sae

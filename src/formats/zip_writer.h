// Zip archives, written with the same bytes for the same contents.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "sae/base/files.h"

namespace sae {

/// An archive written piece by piece that appears when committed (see AtomicFile). Entries are
/// stored, with ZIP64 sizes and a constant date, so that equal contents give equal bytes.
class ZipWriter {
 public:
  explicit ZipWriter(std::filesystem::path target) : file_(std::move(target)) {}

  /// Adds the pieces as one entry that starts at a multiple of 64 bytes.
  void add(const std::string& name, std::initializer_list<std::string_view> pieces);
  void commit();

 private:
  void append(std::string_view bytes);

  AtomicFile file_;
  std::uint64_t written_ = 0;
  std::uint64_t entries_ = 0;
  std::string directory_;
};

}  // namespace sae

// Zip archives, read without trust: stored and deflated entries, ZIP64. No LibTorch.
// Format: PKWARE's APPNOTE.TXT 6.3.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sae {

struct ZipEntry {
  std::string name;
  std::string_view data;   ///< the bytes of the archive that hold it
  std::uint64_t size = 0;  ///< bytes of its contents
  std::uint32_t crc = 0;   ///< CRC-32 of its contents
  bool deflated = false;
};

/// The CRC-32 of the bytes whose checksum is `of_before`, followed by `bytes`; 0 is that of none.
std::uint32_t zip_checksum(std::uint32_t of_before, std::string_view bytes);

/// Whether `file` starts like a zip archive.
bool is_zip(std::string_view file);

/// The archive's entries in the order of its directory. Guarantees that names differ, that entries
/// lie inside `file` without overlaps, and that what is not deflated is as long as its contents.
/// Throws DataError starting with `place` otherwise.
std::vector<ZipEntry> parse_zip(std::string_view file, const std::string& place);

/// The contents of an entry, after checking their CRC-32: a part of the archive, or of `buffer` if
/// they had to be inflated.
std::string_view zip_contents(const ZipEntry& entry, std::string& buffer, const std::string& place);

}  // namespace sae

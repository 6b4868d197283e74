// The header of a safetensors file, parsed and checked without LibTorch.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sae {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  ///< one of F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  ///< bytes [begin, end) of the file
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  ///< in the order of their bytes
  std::map<std::string, std::string> metadata;
};

/// Parses the header of the file whose bytes are `file`. Guarantees that dtypes are known, that
/// entries hold exactly shape x dtype bytes each, and that together they cover the rest of the file
/// without holes or overlaps. Throws DataError starting with `place` otherwise.
SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& place);

/// The bytes of a file before those of its tensors, which then begin at a multiple of 64 of them.
/// `entries` are in the order of their bytes, from 0 on without holes, of any dtype.
std::string safetensors_header_bytes(const std::vector<SafetensorsEntry>& entries,
                                     const std::map<std::string, std::string>& metadata);

/// Bytes of one element; 0 for an unknown dtype.
std::uint64_t safetensors_element_size(std::string_view dtype);

/// "F32 [2304, 16384]", -1 shown as *.
std::string describe_tensor(std::string_view dtype, const std::vector<std::int64_t>& shape);

}  // namespace sae

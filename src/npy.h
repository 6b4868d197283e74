// The header of a NumPy .npy file (versions 1 to 3), parsed and checked without LibTorch.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sae {

/// A little-endian 2-D array of floats in C order; anything else is refused.
struct NpyHeader {
  std::string dtype;  ///< F16, F32 or F64, the names of safetensors
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::uint64_t begin = 0;  ///< first byte of the data; it fills the file
};

/// Whether `file` starts like a .npy file.
bool is_npy(std::string_view file);

/// Throws DataError starting with `place`.
NpyHeader parse_npy_header(std::string_view file, const std::string& place);

}  // namespace sae

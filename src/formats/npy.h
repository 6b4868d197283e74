// The header of a NumPy .npy file (versions 1 to 3), parsed, checked and written without LibTorch.
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sae {

/// A little-endian array of numbers; arrays of Python objects, which are pickles, are refused.
struct NpyArray {
  std::string dtype;  ///< F16 to F64, I8 to I64, U8 to U64 or BOOL, the names of safetensors
  std::vector<std::int64_t> shape;
  bool fortran_order = false;  ///< the first index runs fastest
  std::uint64_t begin = 0;     ///< first byte of the data; it fills the file
};

/// A 2-D array of floats in C order; anything else is refused.
struct NpyHeader {
  std::string dtype;  ///< F16, F32 or F64, the names of safetensors
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::uint64_t begin = 0;  ///< first byte of the data; it fills the file
};

/// Whether `file` starts like a .npy file.
bool is_npy(std::string_view file);

/// Both throw DataError starting with `place`.
NpyArray parse_npy_array(std::string_view file, const std::string& place);
NpyHeader parse_npy_header(std::string_view file, const std::string& place);

/// The header of an array in C order: what comes before its data, a multiple of 64 bytes.
std::string npy_header(const std::string& dtype, const std::vector<std::int64_t>& shape);

}  // namespace sae

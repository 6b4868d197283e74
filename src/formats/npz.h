// NumPy .npz archives: a zip of .npy files, one an array.
#pragma once

#include <filesystem>

#include "sae/formats/safetensors.h"

namespace sae {

/// All arrays as contiguous tensors on the CPU, in the file's order. Stored or compressed, C or
/// Fortran order; anything else is a DataError that starts with the path.
NamedTensors read_npz(const std::filesystem::path& path);

/// Writes `path` atomically, uncompressed as numpy.savez does; equal tensors give equal bytes.
void write_npz(const std::filesystem::path& path, const NamedTensors& tensors);

}  // namespace sae

// The arrays of a NumPy .npz archive, checked without LibTorch.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "formats/npy.h"

namespace sae {

/// Called with an array's name (without ".npy"), header and data; these live for the call only.
using NpzVisitor =
    std::function<void(const std::string& name, const NpyArray& array, std::string_view data)>;

/// Visits every array in the archive's order. Throws DataError starting with `place` for anything
/// that numpy.savez and numpy.savez_compressed would not write.
void visit_npz(std::string_view file, const std::string& place, const NpzVisitor& visit);

}  // namespace sae

// The arrays of a file as parts of its bytes, whichever of the formats it is of.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sae/base/files.h"

namespace sae {

struct ArrayView {
  std::string name;                 ///< of a single tensor or array without one: ""
  std::string dtype;                ///< the names of safetensors
  std::vector<std::int64_t> shape;  ///< in C order
  std::string_view bytes;

  /// "tensor acts", "the tensor", for messages.
  std::string called() const { return name.empty() ? "the tensor" : "tensor " + name; }
};

struct ArraysOfFile {
  std::vector<ArrayView> arrays;
  bool listed = false;  ///< they have no names: a list that torch.save was given
};

ArraysOfFile safetensors_arrays(const MappedFile& file);

/// Those of a .safetensors, of a .npy, or of what torch.save wrote of a tensor, or of a list, tuple
/// or dict of tensors, in which numbers and strings are passed over, and beside a tensor
/// `activations` whatever else there is. The first bytes say which it
/// is; nothing in the file is run. With `verify` the checksums of a file of torch.save, which has
/// some, are compared. DataError for anything else, and for arrays that do not lie in C order.
ArraysOfFile arrays_in(const MappedFile& file, bool verify);

}  // namespace sae

// The pickle inside a file of torch.save, read as data: nothing in it is ever run. No LibTorch.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sae {

/// A tensor as a view of one of the file's storages, which are separate entries of the archive.
struct PickledTensor {
  std::string dtype;                  ///< F32 and so on
  std::string storage;                ///< its key
  std::int64_t storage_elements = 0;  ///< all of it, in elements of dtype
  std::int64_t offset = 0;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
};

/// A list, tuple or dict; only its kind is kept.
struct PickledOther {
  std::string kind;
};

using PickledValue = std::variant<std::monostate, bool, std::int64_t, double, std::string,
                                  PickledTensor, PickledOther>;

/// Names and values in their order.
using PickledItems = std::vector<std::pair<std::string, PickledValue>>;

/// The items of a pickled dict in its order. Python's pickle is a program; this runs the few
/// instructions of protocols 2 to 5 that build dicts, lists, tuples, numbers, strings and tensors,
/// and refuses every other by name: "wants to run os.system". Guarantees that keys are strings and
/// differ, and that every tensor lies inside its storage and has no more elements than that, so
/// that no shape asks for more memory than the file has. Throws DataError starting with `place`.
PickledItems parse_state_pickle(std::string_view pickle, const std::string& place);

/// The same of more than a dict: of a list or tuple, whose items are called "0", "1", ..., and of a
/// single tensor, called "".
struct PickledTensors {
  PickledItems items;
  bool listed = false;  ///< a list or tuple
};
PickledTensors parse_tensor_pickle(std::string_view pickle, const std::string& place);

/// A pickle of protocol 2 that parse_state_pickle and torch.load(weights_only=True) read. The
/// tensors must be contiguous; strings are UTF-8.
std::string state_pickle(const std::vector<std::pair<std::string, PickledTensor>>& tensors);

}  // namespace sae

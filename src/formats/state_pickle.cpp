#include "formats/state_pickle.h"

#include <algorithm>
#include <limits>
#include <set>

#include "formats/pickle_machine.h"
#include "formats/safetensors_header.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {
namespace {

constexpr std::size_t kLargestPickle = 1 << 20;  // of thousands of tensors; bounds memory
constexpr std::size_t kMostDimensions = 64;
constexpr std::size_t kLongestList = 1 << 16;  // one tensor may be recalled for every item

std::vector<std::int64_t> sizes(const PickleMachine& machine, PickleRef tuple) {
  std::vector<std::int64_t> values;
  if (machine.at(tuple).items.size() > kMostDimensions) machine.fail("has too many dimensions");
  for (const PickleRef item : machine.at(tuple).items) {
    values.push_back(machine.expect(item, PickleKind::kInt, "a size").integer);
  }
  return values;
}

/// Whether all elements lie in the storage, which has at least as many.
bool fits(const PickledTensor& tensor) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
  const std::int64_t room = tensor.storage_elements;
  if (tensor.shape.size() != tensor.strides.size()) return false;
  if (tensor.offset < 0 || room < 0 || tensor.offset > room) return false;
  std::int64_t count = 1;
  std::int64_t last = tensor.offset;
  bool empty = false;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    const std::int64_t size = tensor.shape[i];
    const std::int64_t stride = tensor.strides[i];
    if (size < 0 || stride < 0 || count > kLargest / std::max<std::int64_t>(size, 1)) return false;
    count *= std::max<std::int64_t>(size, 1);
    empty = empty || size == 0;
    if (size > 1 && stride > 0 && size - 1 > (kLargest - last) / stride) return false;
    if (size > 1) last += (size - 1) * stride;
  }
  return empty || (count <= room && last < room);
}

PickledTensor to_tensor(const PickleMachine& machine, const PickleNode& node,
                        const std::string& name) {
  const std::vector<PickleRef>& storage = machine.at(node.items[0]).items;
  PickledTensor tensor{.dtype = dtype_of_storage(machine.at(storage[1]).text),
                       .storage = machine.at(storage[2]).text,
                       .storage_elements = machine.at(storage[4]).integer,
                       .offset = machine.at(node.items[1]).integer,
                       .shape = sizes(machine, node.items[2]),
                       .strides = sizes(machine, node.items[3])};
  if (!fits(tensor)) {
    machine.fail("has tensor '" + printable(name) + "' of " +
                 describe_tensor(tensor.dtype, tensor.shape) + " with strides" +
                 describe_tensor("", tensor.strides) + " and offset " +
                 std::to_string(tensor.offset) + " in a storage of " +
                 std::to_string(tensor.storage_elements) + " elements");
  }
  return tensor;
}

PickledValue to_value(const PickleMachine& machine, const PickleNode& node,
                      const std::string& name) {
  switch (node.kind) {
    case PickleKind::kNone:
      return std::monostate{};
    case PickleKind::kBool:
      return node.integer != 0;
    case PickleKind::kInt:
      return node.integer;
    case PickleKind::kFloat:
      return node.real;
    case PickleKind::kString:
      return node.text;
    case PickleKind::kTensor:
      return to_tensor(machine, node, name);
    default:
      return PickledOther{name_of(node.kind)};
  }
}

/// What a pickle stands for, once it is known to be of a size that fits into memory.
PickleRef run(PickleMachine& machine, std::size_t size, const std::string& place) {
  if (size > kLargestPickle) {
    throw DataError(place + ": pickle of " + std::to_string(size) + " bytes, expected at most " +
                    std::to_string(kLargestPickle) + " besides the tensors' own bytes");
  }
  return machine.run();
}

PickledItems items_of_dict(const PickleMachine& machine, PickleRef root) {
  const std::vector<PickleRef>& items = machine.at(root).items;
  PickledItems values;
  std::set<std::string> names;
  for (std::size_t i = 0; i < items.size(); i += 2) {
    const std::string& name = machine.expect(items[i], PickleKind::kString, "a name").text;
    if (!names.insert(name).second) machine.fail("has '" + printable(name) + "' twice");
    values.emplace_back(name, to_value(machine, machine.at(items[i + 1]), name));
  }
  return values;
}

PickledItems items_of_list(const PickleMachine& machine, PickleRef root) {
  const std::vector<PickleRef>& items = machine.at(root).items;
  if (items.size() > kLongestList) {
    machine.fail("holds a list of " + std::to_string(items.size()) + " items, expected at most " +
                 std::to_string(kLongestList));
  }
  PickledItems values;
  for (const PickleRef item : items) {
    const std::string name = std::to_string(values.size());
    values.emplace_back(name, to_value(machine, machine.at(item), name));
  }
  return values;
}

}  // namespace

PickledItems parse_state_pickle(std::string_view pickle, const std::string& place) {
  PickleMachine machine(pickle, place);
  const PickleRef root = run(machine, pickle.size(), place);
  if (machine.at(root).kind != PickleKind::kDict) {
    machine.fail(std::string("holds ") + name_of(machine.at(root).kind) +
                 ", expected a dict of tensors, as state_dict() gives");
  }
  return items_of_dict(machine, root);
}

PickledTensors parse_tensor_pickle(std::string_view pickle, const std::string& place) {
  PickleMachine machine(pickle, place);
  const PickleRef root = run(machine, pickle.size(), place);
  switch (machine.at(root).kind) {
    case PickleKind::kDict:
      return {items_of_dict(machine, root)};
    case PickleKind::kList:
    case PickleKind::kTuple:
      return {items_of_list(machine, root), /*listed=*/true};
    case PickleKind::kTensor:
      return {{{"", to_tensor(machine, machine.at(root), "")}}};
    default:
      machine.fail(std::string("holds ") + name_of(machine.at(root).kind) +
                   ", expected a tensor, or a list or dict of tensors");
  }
}

}  // namespace sae

#include <limits>

#include "base/bytes.h"
#include "formats/pickle_machine.h"
#include "formats/state_pickle.h"

namespace sae {
namespace {

void put_integer(std::string& to, std::int64_t value) {
  if (value <= std::numeric_limits<std::int32_t>::max()) {
    to += 'J';  // BININT
    put_number(to, static_cast<std::uint64_t>(value), 4);
  } else {
    to += '\x8a';  // LONG1
    put_number(to, 8, 1);
    put_number(to, static_cast<std::uint64_t>(value), 8);
  }
}

void put_text(std::string& to, std::string_view text) {
  to += 'X';  // BINUNICODE
  put_number(to, text.size(), 4);
  to += text;
}

void put_tuple(std::string& to, const std::vector<std::int64_t>& values) {
  to += '(';  // MARK
  for (const std::int64_t value : values) put_integer(to, value);
  to += 't';  // TUPLE
}

/// _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, backward_hooks)
void put_tensor(std::string& to, const PickledTensor& tensor) {
  to += "ctorch._utils\n_rebuild_tensor_v2\n((";
  put_text(to, "storage");
  std::string type = storage_of_dtype(tensor.dtype);
  type[type.find('.')] = '\n';
  to += "c" + type + "\n";
  put_text(to, tensor.storage);
  put_text(to, "cpu");
  put_integer(to, tensor.storage_elements);
  to += "tQ";  // TUPLE, BINPERSID
  put_integer(to, tensor.offset);
  put_tuple(to, tensor.shape);
  put_tuple(to, tensor.strides);
  to +=
      "\x89"
      "ccollections\nOrderedDict\n)RtR";  // NEWFALSE, OrderedDict(), TUPLE, REDUCE
}

}  // namespace

std::string state_pickle(const std::vector<std::pair<std::string, PickledTensor>>& tensors) {
  std::string pickle = "\x80\x02}(";  // PROTO 2, EMPTY_DICT, MARK
  for (const auto& [name, tensor] : tensors) {
    put_text(pickle, name);
    put_tensor(pickle, tensor);
  }
  return pickle + "u.";  // SETITEMS, STOP
}

}  // namespace sae

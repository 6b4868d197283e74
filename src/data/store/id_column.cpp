#include "data/store/id_column.h"

#include <cstring>
#include <limits>
#include <utility>

#include "formats/safetensors_header.h"
#include "sae/base/error.h"

namespace sae {
namespace {

/// Sets `count` numbers of a type that may not fit; the first that does not, or -1.
template <class Element>
std::int64_t narrow(const char* from, std::int64_t count, std::int32_t* to) {
  for (std::int64_t i = 0; i < count; ++i) {
    Element element;
    std::memcpy(&element, from + static_cast<std::size_t>(i) * sizeof element, sizeof element);
    if (!std::in_range<std::int32_t>(element)) return i;
    to[i] = static_cast<std::int32_t>(element);
  }
  return -1;
}

struct IntegerType {
  std::string_view dtype;
  std::int64_t (*narrow)(const char* from, std::int64_t count, std::int32_t* to);
};

constexpr IntegerType kIntegers[] = {
    {"I8", narrow<std::int8_t>},    {"I16", narrow<std::int16_t>}, {"I32", narrow<std::int32_t>},
    {"I64", narrow<std::int64_t>},  {"U8", narrow<std::uint8_t>},  {"U16", narrow<std::uint16_t>},
    {"U32", narrow<std::uint32_t>}, {"U64", narrow<std::uint64_t>}};

}  // namespace

bool is_integer(std::string_view dtype) {
  for (const IntegerType& type : kIntegers) {
    if (type.dtype == dtype) return true;
  }
  return false;
}

IdColumn IdColumn::part(std::int64_t first, std::int64_t count) const {
  const std::size_t size = safetensors_element_size(dtype);
  IdColumn column = *this;
  column.bytes =
      bytes.substr(static_cast<std::size_t>(first) * size, static_cast<std::size_t>(count) * size);
  column.offset += first;
  return column;
}

void IdColumn::read(std::int64_t first, std::int64_t count, std::int32_t* out) const {
  file->check_unchanged();
  const std::string_view from = part(first, count).bytes;
  for (const IntegerType& type : kIntegers) {
    if (type.dtype != dtype) continue;
    const std::int64_t bad = type.narrow(from.data(), count, out);
    if (bad < 0) return;
    throw DataError(file->path().string() + ": id of row " + std::to_string(offset + first + bad) +
                    " is out of range, expected ids of 32 bits");
  }
}

}  // namespace sae

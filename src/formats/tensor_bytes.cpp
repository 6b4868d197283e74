#include "formats/tensor_bytes.h"

#include <torch/types.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "sae/formats/safetensors.h"

namespace sae {
namespace {

constexpr std::pair<std::string_view, at::ScalarType> kTypes[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat},  {"F16", at::kHalf},   {"BF16", at::kBFloat16},
    {"I64", at::kLong},   {"I32", at::kInt},    {"I16", at::kShort},  {"I8", at::kChar},
    {"U64", at::kUInt64}, {"U32", at::kUInt32}, {"U16", at::kUInt16}, {"U8", at::kByte},
    {"BOOL", at::kBool}};

}  // namespace

at::ScalarType scalar_type(std::string_view dtype) {
  for (const auto& [name, type] : kTypes) {
    if (name == dtype) return type;
  }
  throw std::logic_error("a parser let an unknown dtype through");
}

std::string safetensors_dtype(at::ScalarType dtype) {
  for (const auto& [name, type] : kTypes) {
    if (type == dtype) return std::string(name);
  }
  throw std::invalid_argument(std::string("safetensors has no dtype for ") + c10::toString(dtype));
}

at::Tensor tensor_of_bytes(std::string_view bytes, std::string_view dtype,
                           const std::vector<std::int64_t>& shape) {
  at::Tensor tensor = at::empty(shape, at::TensorOptions(scalar_type(dtype)));
  if (dtype == "BOOL") {
    // A bool that is neither 0 nor 1 is undefined behaviour wherever it is read.
    std::transform(bytes.begin(), bytes.end(), static_cast<char*>(tensor.data_ptr()),
                   [](char byte) { return static_cast<char>(byte != 0); });
  } else if (!bytes.empty()) {
    std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  }
  return tensor;
}

std::string_view bytes_of(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

}  // namespace sae

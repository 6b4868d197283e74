// Tensors from the bytes of a file and back; types go by their safetensors names.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sae {

/// The type called "F32" and so on.
at::ScalarType scalar_type(std::string_view dtype);

/// A copy of `bytes`, which must be as many as dtype and shape say and may be unaligned.
at::Tensor tensor_of_bytes(std::string_view bytes, std::string_view dtype,
                           const std::vector<std::int64_t>& shape);

/// The elements of a contiguous tensor on the CPU, valid while it is.
std::string_view bytes_of(const at::Tensor& tensor);

}  // namespace sae

// Launches of own kernels on the current stream of a device.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>

namespace sae::cuda {

/// Whether own kernels are loaded on a device.
bool has_kernels(const at::Device& device);

/// Whether they serve a tensor: it is float32 on such a device.
inline bool has_kernels(const at::Tensor& t) {
  return t.is_cuda() && t.scalar_type() == at::kFloat && has_kernels(t.device());
}

struct Grid {
  std::int64_t x;
  std::int64_t y = 1;
};

/// `arguments` points at each argument. std::runtime_error if the kernel is not known or the launch
/// fails. A grid of nothing is not launched.
void launch_with(const at::Device& device, const char* kernel, Grid grid, unsigned block,
                 void** arguments);

/// Launches `kernel` with arguments of exactly the types in its declaration.
template <class... Arguments>
void launch(const at::Device& device, const char* kernel, Grid grid, unsigned block,
            Arguments... arguments) {
  void* each[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  launch_with(device, kernel, grid, block, each);
}

/// How many blocks of `a_block` it takes.
inline std::int64_t blocks_for(std::int64_t count, std::int64_t a_block) {
  return (count + a_block - 1) / a_block;
}

/// Whether 16-byte loads may begin at a tensor's first number.
inline bool is_aligned(const at::Tensor& t) {
  return reinterpret_cast<std::uintptr_t>(t.const_data_ptr()) % 16 == 0;
}

/// [count], in memory for up to an eighth more, at most 64 Ki. Rules by threshold keep another
/// number of entries at each step; asked for the same few sizes, LibTorch's allocator has a block
/// for each.
at::Tensor empty_entries(std::int64_t count, const at::TensorOptions& options);

/// What kernels call an index.
using Index = long long;
static_assert(sizeof(Index) == sizeof(std::int64_t));

inline const Index* indices_of(const at::Tensor& t) {
  return reinterpret_cast<const Index*>(t.const_data_ptr<std::int64_t>());
}
inline Index* mutable_indices_of(const at::Tensor& t) {
  return reinterpret_cast<Index*>(t.mutable_data_ptr<std::int64_t>());
}
inline const float* floats_of(const at::Tensor& t) {
  return t.defined() ? t.const_data_ptr<float>() : nullptr;
}
inline float* mutable_floats_of(const at::Tensor& t) {
  return t.defined() ? t.mutable_data_ptr<float>() : nullptr;
}

}  // namespace sae::cuda

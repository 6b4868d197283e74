// Operators of the fake GPU: LibTorch's own for the CPU, on memory unlocked for their time.
#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <torch/library.h>
#include <torch/types.h>

#include <map>
#include <string>

#include "device.h"

namespace fake_gpu {
namespace {

/// A CPU tensor over the same memory. Only while that is unlocked.
at::Tensor host_view(const at::Tensor& t) {
  if (t.device().type() != kType) return t;
  char* base = static_cast<char*>(t.storage().mutable_data());
  return at::from_blob(base + t.storage_offset() * static_cast<std::int64_t>(t.element_size()),
                       t.sizes(), t.strides(), t.options().device(at::kCPU).requires_grad(false));
}

c10::DispatchKeySet keys() { return c10::DispatchKeySet(c10::DispatchKey::CUDA); }

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> type,
                 std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &device_memory(), keys(), c10::dtype_or_default(type),
                                   format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                         std::optional<at::ScalarType> type, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &device_memory(), keys(),
                                           c10::dtype_or_default(type));
}

void count_copy(const at::Tensor& to, const at::Tensor& from, bool non_blocking) {
  const bool down = from.device().type() == kType && to.is_cpu();
  const bool up = from.is_cpu() && to.device().type() == kType;
  if (down) count_wait("copy to the host");
  if (up && !(non_blocking && is_pinned(from.storage().data()))) count_wait("copy from the host");
  count_operator("copy_", static_cast<std::int64_t>(from.nbytes() + to.nbytes()));
}

at::Tensor& copy(at::Tensor& to, const at::Tensor& from, bool non_blocking) {
  count_copy(to, from, non_blocking);
  const Unlocked from_pages(from);
  const Unlocked to_pages(to);
  const at::NoGradGuard no_grad;
  at::Tensor target = host_view(to);
  target.copy_(host_view(from));
  return to;
}

const at::Tensor& resize(const at::Tensor& t, at::IntArrayRef size,
                         std::optional<at::MemoryFormat>) {
  auto* impl = t.unsafeGetTensorImpl();
  const auto count = static_cast<std::size_t>(c10::multiply_integers(size));
  const std::size_t wanted = count * t.element_size();
  c10::StorageImpl* storage = impl->unsafe_storage().unsafeGetStorageImpl();
  if (wanted > storage->nbytes()) {
    storage->set_data_ptr_noswap(device_memory().allocate(wanted));
    storage->set_nbytes(wanted);
  }
  impl->set_sizes_contiguous(size);
  return t;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  at::Tensor target = to;
  if (from.sizes() != to.sizes()) target.resize_(from.sizes());
  return target.copy_(from);
}

at::Scalar local_scalar(const at::Tensor& t) {
  count_wait("item");
  const Unlocked pages(t);
  return at::_local_scalar_dense(host_view(t));
}

at::Tensor as_strided(const at::Tensor& t, at::IntArrayRef size, at::IntArrayRef stride,
                      std::optional<std::int64_t> offset) {
  return at::native::as_strided_tensorimpl(t, size, stride, offset);
}

at::Tensor view(const at::Tensor& t, at::IntArrayRef size) { return at::native::view(t, size); }

at::Tensor reshape_alias(const at::Tensor& t, at::IntArrayRef size, at::IntArrayRef stride) {
  return at::native::as_strided_tensorimpl(t, size, stride, t.storage_offset());
}

at::Tensor& set_storage(at::Tensor& t, at::Storage storage, std::int64_t offset,
                        at::IntArrayRef size, at::IntArrayRef stride) {
  t.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
  t.unsafeGetTensorImpl()->set_storage_offset(offset);
  t.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride);
  return t;
}

void record_stream(at::Tensor&, at::Stream) {}

/// How often the CUDA kernel of an operator waits for the device, by LibTorch's sources.
const std::map<std::string, int> kWaits = {
    {"nonzero", 1},  {"masked_select", 1}, {"bincount", 2},
    {"_unique2", 1}, {"equal", 1},         {"is_nonzero", 1},
    {"histc", 2},    {"unique_dim", 2},    {"unique_consecutive", 1}};

std::int64_t bytes_of(const c10::IValue& value) {
  std::int64_t bytes = 0;
  if (value.isTensor() && value.toTensor().defined()) {
    bytes = static_cast<std::int64_t>(value.toTensor().nbytes());
  } else if (value.isTensorList()) {
    for (const at::Tensor& t : value.toTensorVector()) {
      bytes += static_cast<std::int64_t>(t.nbytes());
    }
  }
  return bytes;
}

/// What an operator reads, and writes in place.
std::int64_t bytes_of_arguments(const c10::FunctionSchema& schema, torch::jit::Stack& stack) {
  std::int64_t bytes = 0;
  const std::size_t count = schema.arguments().size();
  for (std::size_t i = 0; i < count; ++i) {
    const c10::Argument& argument = schema.arguments()[i];
    const bool written = argument.alias_info() && argument.alias_info()->isWrite();
    if (argument.is_out()) continue;
    const std::int64_t own = bytes_of(torch::jit::peek(stack, i, count));
    bytes += written && schema.returns().empty() ? 2 * own : own;
  }
  return bytes;
}

/// On a GPU, operands on two devices are an error, numbers (of no dimension) on the host excepted.
void require_one_device(const c10::FunctionSchema& schema, torch::jit::Stack& stack) {
  bool on_device = false;
  bool on_host = false;
  const std::size_t count = schema.arguments().size();
  for (std::size_t i = 0; i < count; ++i) {
    const c10::IValue& value = torch::jit::peek(stack, i, count);
    if (!value.isTensor() || !value.toTensor().defined()) continue;
    on_device |= value.toTensor().device().type() == kType;
    on_host |= value.toTensor().is_cpu() && value.toTensor().dim() > 0;
  }
  TORCH_CHECK(!(on_device && on_host), "fake GPU: ", schema.name(),
              " got tensors on the host and on the device");
}

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const c10::FunctionSchema& schema = op.schema();
  const std::string name = schema.name().substr(schema.name().find("::") + 2);
  std::int64_t bytes = 0;
  if (!is_inside()) {
    bytes = bytes_of_arguments(schema, *stack);
    require_one_device(schema, *stack);
    const auto found = kWaits.find(name);
    for (int i = 0; found != kWaits.end() && i < found->second; ++i) count_wait(name);
  }
  {
    const Inside scope;
    at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
  }
  for (const c10::IValue& value : torch::jit::last(*stack, schema.returns().size())) {
    bytes += bytes_of(value);
  }
  count_operator(name, bytes);
}

}  // namespace

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("copy_", copy);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("resize_", resize);
  library.impl("_local_scalar_dense", local_scalar);
  library.impl("as_strided", as_strided);
  library.impl("view", view);
  library.impl("_reshape_alias", reshape_alias);
  library.impl("set_.source_Storage_storage_offset", set_storage);
  library.impl("record_stream", record_stream);
}

}  // namespace fake_gpu

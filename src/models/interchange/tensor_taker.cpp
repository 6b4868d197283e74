#include "models/interchange/tensor_taker.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae {
namespace {

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

}  // namespace

std::string unwrapped(const std::string& name) {
  std::string kept;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    const bool last = end == name.size();  // a tensor's own name, which no wrapper is
    if (last || (part != "_orig_mod" && part != "module" && part != "_fsdp_wrapped_module")) {
      kept += part + (last ? "" : ".");
    }
    begin = end + 1;
  }
  return kept;
}

TensorTaker::TensorTaker(std::string place, const NamedTensors& tensors)
    : place_(std::move(place)) {
  for (const auto& [name, tensor] : tensors) add(name, tensor);
}

TensorTaker::TensorTaker(const SafetensorsFile& file) : place_(file.path().string()) {
  for (const std::string& name : file.names()) add(name, file.tensor(name));
}

void TensorTaker::add(const std::string& name, const at::Tensor& tensor) {
  if (tensors_.emplace(unwrapped(name), tensor).second) return;
  fail("tensor " + printable(name) + " is there twice, with and without a wrapper's name");
}

void TensorTaker::fail(const std::string& what) const { throw DataError(place_ + ": " + what); }

std::vector<std::int64_t> TensorTaker::shape(const std::string& name,
                                             std::int64_t dimensions) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    std::string names;
    for (const auto& [other, tensor] : tensors_) names += (names.empty() ? "" : ", ") + other;
    fail("no tensor " + name + "; found " + (names.empty() ? "none" : names));
  }
  const at::Tensor& tensor = found->second;
  if (tensor.dim() != dimensions) {
    fail("tensor " + name + " is " + shape_text(tensor.sizes()) + ", expected " +
         std::to_string(dimensions) + (dimensions == 1 ? " dimension" : " dimensions"));
  }
  if (tensor.numel() == 0) fail("tensor " + name + " is empty: " + shape_text(tensor.sizes()));
  return tensor.sizes().vec();
}

at::Tensor TensorTaker::release(const std::string& name) {
  at::Tensor tensor = std::move(tensors_.at(name));
  tensors_.erase(name);
  return tensor;
}

at::Tensor TensorTaker::take(const std::string& name, at::IntArrayRef expected) {
  const std::vector<std::int64_t> found = shape(name, static_cast<std::int64_t>(expected.size()));
  if (at::IntArrayRef(found) != expected) {
    fail("tensor " + name + " is " + shape_text(found) + ", expected " + shape_text(expected));
  }
  const at::Tensor raw = release(name);
  if (!raw.is_floating_point()) {
    fail("tensor " + name + " is " + safetensors_dtype(raw.scalar_type()) +
         ", expected floating-point numbers");
  }
  at::Tensor tensor = raw.to(at::kFloat).contiguous();
  // A sum is NaN or Inf if any number is; only then is it worth looking closer.
  if (!std::isfinite(tensor.sum(at::kDouble).item<double>()) &&
      !at::isfinite(tensor).all().item<bool>()) {
    fail("tensor " + name + " holds NaN or Inf, expected finite numbers");
  }
  return tensor;
}

at::Tensor TensorTaker::take_transposed(const std::string& name, std::int64_t rows,
                                        std::int64_t columns) {
  return take(name, {columns, rows}).t().contiguous();
}

double TensorTaker::take_number(const std::string& name) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) shape(name, 0);  // says what there is
  if (found->second.numel() != 1) {
    fail("tensor " + name + " is " + shape_text(found->second.sizes()) + ", expected one number");
  }
  const auto value = release(name).to(at::kDouble).item<double>();
  if (!std::isfinite(value)) fail("tensor " + name + " is NaN or Inf, expected a finite number");
  return value;
}

std::vector<std::int64_t> TensorTaker::take_integers(const std::string& name) {
  shape(name, 1);
  const at::Tensor raw = release(name);
  if (raw.is_floating_point()) fail("tensor " + name + " is not of integers");
  const at::Tensor tensor = raw.to(at::kLong).contiguous();
  const auto* values = tensor.const_data_ptr<std::int64_t>();
  return {values, values + tensor.numel()};
}

void TensorTaker::expect_no_more() const {
  if (!tensors_.empty()) fail("unexpected tensor " + tensors_.begin()->first);
}

}  // namespace sae

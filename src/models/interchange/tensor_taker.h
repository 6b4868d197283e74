// TensorTaker: the tensors of a file that a reader takes apart, checked as they are taken.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "sae/formats/safetensors.h"

namespace sae {

/// The name without what torch.compile (_orig_mod), DataParallel (module) and FSDP
/// (_fsdp_wrapped_module) put before or into it: "encoder.weight" of "_orig_mod.encoder.weight" and
/// of "encoder.module.weight".
std::string unwrapped(const std::string& name);

/// Tensors go by their names without wrappers. Each tensor is taken once. Every error is a
/// DataError that starts with `place`: "ae.pt: no tensor b_dec; found encoder.bias,
/// encoder.weight".
class TensorTaker {
 public:
  TensorTaker(std::string place, const NamedTensors& tensors);
  explicit TensorTaker(const SafetensorsFile& file);

  const std::string& place() const { return place_; }
  bool has(const std::string& name) const { return tensors_.contains(name); }
  /// Its shape, to learn F and D from; DataError unless it has `dimensions` of them.
  std::vector<std::int64_t> shape(const std::string& name, std::int64_t dimensions) const;

  /// A float32 copy, contiguous, after checking that it has this shape and is finite.
  at::Tensor take(const std::string& name, at::IntArrayRef shape);
  /// The same of a [rows, columns] tensor that the file holds transposed, [columns, rows].
  at::Tensor take_transposed(const std::string& name, std::int64_t rows, std::int64_t columns);
  double take_number(const std::string& name);  ///< of a scalar, or a tensor of one element
  std::vector<std::int64_t> take_integers(const std::string& name);  ///< of a 1-D integer tensor
  void ignore(const std::string& name) { tensors_.erase(name); }
  void expect_no_more() const;  ///< DataError that names what nobody took

  [[noreturn]] void fail(const std::string& what) const;

 private:
  void add(const std::string& name, const at::Tensor& tensor);
  at::Tensor release(const std::string& name);

  std::string place_;
  std::map<std::string, at::Tensor> tensors_;
};

}  // namespace sae

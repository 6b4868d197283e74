// Precisions of dense products for a while, which C++ has no context managers for.
#pragma once

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>

namespace sae {

/// While it lives, dense products on `device` are computed in bfloat16, if that is `wanted`.
class Bf16Scope {
 public:
  Bf16Scope(bool wanted, at::DeviceType device) : wanted_(wanted), device_(device) {
    if (!wanted_) return;
    before_ = at::autocast::is_autocast_enabled(device_);
    type_before_ = at::autocast::get_autocast_dtype(device_);
    at::autocast::set_autocast_enabled(device_, true);
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    at::autocast::increment_nesting();
  }
  ~Bf16Scope() {
    if (!wanted_) return;
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, before_);
    at::autocast::set_autocast_dtype(device_, type_before_);
  }
  Bf16Scope(const Bf16Scope&) = delete;
  Bf16Scope& operator=(const Bf16Scope&) = delete;

 private:
  bool wanted_;
  at::DeviceType device_;
  bool before_ = false;
  at::ScalarType type_before_ = at::kFloat;
};

/// While it lives, float32 products on CUDA devices round their factors to TF32 if that is
/// `wanted`, and do not if not, whatever the process was set to.
class Tf32Scope {
 public:
  explicit Tf32Scope(bool wanted) : before_(at::globalContext().allowTF32CuBLAS()) {
    if (before_ != wanted) at::globalContext().setAllowTF32CuBLAS(wanted);
  }
  ~Tf32Scope() {
    if (at::globalContext().allowTF32CuBLAS() != before_) {
      at::globalContext().setAllowTF32CuBLAS(before_);
    }
  }
  Tf32Scope(const Tf32Scope&) = delete;
  Tf32Scope& operator=(const Tf32Scope&) = delete;

 private:
  bool before_;
};

}  // namespace sae

// Autocast to bfloat16, which C++ has no context manager for.
#pragma once

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

}  // namespace sae

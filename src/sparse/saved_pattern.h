// A pattern kept with what an autograd function saves for its backward pass.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include "sae/sparse/pattern.h"

namespace sae {

inline void save_pattern(torch::autograd::AutogradContext* ctx,
                         const c10::intrusive_ptr<Pattern>& pattern) {
  ctx->saved_data["pattern"] = c10::IValue::make_capsule(pattern);
}

inline c10::intrusive_ptr<Pattern> saved_pattern(torch::autograd::AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<Pattern>(ctx->saved_data["pattern"].toCapsule());
}

}  // namespace sae

// What nested_error computes: sums over the nested prefixes of every token, on any device.
//
// On the CPU float and double have a kernel of their own (kernels/nested.h), on a GPU float has
// (cuda/nested.h); elsewhere, and as their reference in tests, ATen operators do the same a few
// tokens at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include "sae/sparse/nested_error.h"
#include "sae/sparse/pattern.h"

namespace sae::sparse {

struct NestedSums {
  at::Tensor error;            // []
  at::Tensor x_hat;            // [B, D]
  at::Tensor dvalues, dW, db;  // gradients of `error`; undefined unless asked for
};

NestedSums nested_sums(const Pattern& pattern, const at::Tensor& x, const at::Tensor& values,
                       const Nesting& nesting, const at::Tensor& W_dec, const at::Tensor& b_dec,
                       bool gradients);

namespace reference {
NestedSums nested_sums(const Pattern& pattern, const at::Tensor& x, const at::Tensor& values,
                       const Nesting& nesting, const at::Tensor& W_dec, const at::Tensor& b_dec,
                       bool gradients);
}  // namespace reference

}  // namespace sae::sparse

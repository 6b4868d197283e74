// Rows that are dealt out to the ranks of a group, as rows_of has it, and brought together again.
// The engine wants parts of equal size, which rows need not come in.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "sae/distributed/group.h"

namespace sae {

/// [n, ...] -> [most, ...], zeros at the end.
at::Tensor padded(const at::Tensor& x, std::int64_t most);

/// This rank's rows of the sum of all ranks' `x` [n, ...].
at::Tensor own_rows_of_sum(const Group& group, const at::Tensor& x);

/// All `count` rows, of which this rank has `own`, in order.
at::Tensor all_rows(const Group& group, const at::Tensor& own, std::int64_t count);

}  // namespace sae

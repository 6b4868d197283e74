// Selections by ATen's operators: what a CPU runs under autocast, and what tests hold its own loops
// (select.cpp) and those of a GPU (select_device.h) against. Arguments as in select.h, and checked
// there.
#pragma once

#include "sae/sparse/select.h"

namespace sae::reference {

Selection select_above(const at::Tensor& h, const at::Tensor& threshold, bool activation_cuts,
                       const StoragePolicy& storage);
Selection select_top_k(const at::Tensor& h, std::int64_t k, const StoragePolicy& storage);
Selection select_batch_top_k(const at::Tensor& h, std::int64_t count, const StoragePolicy& storage);

}  // namespace sae::reference

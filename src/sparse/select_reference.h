// Selections by ATen's operators, on any device: what a GPU runs, and what tests hold the CPU's own
// loops (select.cpp) against. Arguments as in select.h, and checked there.
#pragma once

#include "sae/sparse/select.h"

namespace sae::reference {

Selection select_above(const at::Tensor& h, const at::Tensor& threshold, bool activation_cuts,
                       const StoragePolicy& storage);
Selection select_top_k(const at::Tensor& h, std::int64_t k, const StoragePolicy& storage);
Selection select_batch_top_k(const at::Tensor& h, std::int64_t count, const StoragePolicy& storage);

}  // namespace sae::reference

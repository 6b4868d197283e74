// Large buffers that every training step needs again.
#pragma once

#include <ATen/core/Tensor.h>

namespace sae {

/// An uninitialised tensor, like at::empty. A large one on the CPU takes the memory of an earlier
/// one that nobody holds any more: malloc would return it to the kernel and get
/// cleared pages for it in the next step, which costs a tenth of a step. Each thread keeps its own,
/// and lets go of what it has not asked for in a while.
at::Tensor reused(at::IntArrayRef sizes, const at::TensorOptions& options);

}  // namespace sae

// y += a x, with the same bits on every CPU.
#pragma once

#include <cstddef>

namespace sae {

/// Products are rounded before they are added, whatever instructions there are: samples of a world
/// may depend on the last bit.
void add_scaled(std::size_t n, float a, const float* x, float* y);

}  // namespace sae

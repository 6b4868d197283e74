#include "kernels/add_scaled.h"

#include "kernels/target_clones.h"

namespace sae {

SAE_MULTIVERSION void add_scaled(std::size_t n, float a, const float* __restrict x,
                                 float* __restrict y) {
  for (std::size_t j = 0; j < n; ++j) y[j] += a * x[j];
}

}  // namespace sae

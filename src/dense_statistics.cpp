#include "dense_statistics.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <vector>

#include "row_kernels.h"

namespace sae {

DenseStatistics dense_statistics(const at::Tensor& f, const at::Tensor& slope) {
  const std::int64_t batch = f.size(0);
  const std::int64_t d_sae = f.size(1);
  DenseStatistics out{
      .fired = at::zeros({d_sae}, f.options()),
      .min_positive = {},
      .magnitude = at::zeros({d_sae}, f.options()),
      .contribution = slope.defined() ? at::zeros({d_sae}, f.options()) : at::Tensor()};
  at::Tensor least = at::full({d_sae}, INFINITY, f.options());
  const auto* value = f.const_data_ptr<float>();
  const auto* gradient = slope.defined() ? slope.const_data_ptr<float>() : nullptr;
  auto* fired = out.fired.mutable_data_ptr<float>();
  auto* magnitude = out.magnitude.mutable_data_ptr<float>();
  auto* smallest = least.mutable_data_ptr<float>();
  auto* contribution = slope.defined() ? out.contribution.mutable_data_ptr<float>() : nullptr;
  constexpr std::int64_t kBlock = 1024;  // latents whose sums stay in the cache
  at::parallel_for(0, (d_sae + kBlock - 1) / kBlock, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t block = first; block < last; ++block) {
      const std::int64_t j = block * kBlock;
      const std::int64_t n = std::min(kBlock, d_sae - j);
      for (std::int64_t b = 0; b < batch; ++b) {
        rows::add_statistics(n, value + b * d_sae + j, fired + j, magnitude + j, smallest + j);
        if (!gradient) continue;
        rows::add_products(n, value + b * d_sae + j, gradient + b * d_sae + j, contribution + j);
      }
    }
  });
  out.min_positive = least.min();
  return out;
}

}  // namespace sae

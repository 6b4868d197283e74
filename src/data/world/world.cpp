#include "sae/data/world.h"

#include <torch/types.h>

#include <cmath>

#include "data/world/parts.h"
#include "sae/base/rng.h"

namespace sae {
namespace {

at::Tensor make_bias(const WorldOptions& options) {
  Rng rng(static_cast<std::uint64_t>(options.seed), Stream::kWorld,
          static_cast<std::uint64_t>(WorldPart::kBias));
  std::vector<double> direction(static_cast<std::size_t>(*options.d_in));
  double square = 0;
  for (double& value : direction) {
    value = rng.normal();
    square += value * value;
  }
  at::Tensor bias = torch::empty({*options.d_in}, torch::kFloat32);
  float* out = bias.data_ptr<float>();
  for (const double value : direction) {
    *out++ = static_cast<float>(*options.bias_norm * value / std::sqrt(square));
  }
  return bias;
}

}  // namespace

World::World(const WorldOptions& options)
    : options_(resolve(options)),
      tables_(make_tables(options_)),
      rates_(true_rates(tables_)),
      dictionary_(make_dictionary(options_)),
      bias_(make_bias(options_)) {}

}  // namespace sae

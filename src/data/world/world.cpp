#include "sae/data/world.h"

#include <torch/types.h>

#include <cmath>
#include <stdexcept>

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

World::World(const WorldOptions& options, const at::Tensor& dictionary, const at::Tensor& bias)
    : options_(resolve(options)),
      tables_(make_tables(options_)),
      rates_(true_rates(tables_)),
      dictionary_(dictionary.to(at::kCPU, at::kFloat).contiguous()),
      bias_(bias.to(at::kCPU, at::kFloat).contiguous()) {
  const std::int64_t n = tables_.features(), d = *options_.d_in;
  if (dictionary_.sizes() != at::IntArrayRef({n, d}) || bias_.sizes() != at::IntArrayRef({d})) {
    throw std::invalid_argument("World: the dictionary is " + c10::str(dictionary_.sizes()) +
                                " and the bias " + c10::str(bias_.sizes()) + ", expected [" +
                                std::to_string(n) + ", " + std::to_string(d) + "] and [" +
                                std::to_string(d) + "]");
  }
}

}  // namespace sae

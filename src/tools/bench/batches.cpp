#include "tools/bench/batches.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "sae/base/error.h"
#include "sae/data/data.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kBatchesInMemory = 3;

/// Batches from memory, over and over.
class Kept : public ActivationSource {
 public:
  explicit Kept(const BenchCase& one) : batch_(one.batch) {
    // Zipf rates and trees as in small-zipf; what is left out takes long to build and changes no
    // timing.
    const Json world{{"kind", "synthetic"},
                     {"preset", "small-zipf"},
                     {"d_in", one.d_in},
                     {"features", std::max<std::int64_t>(1024, std::min(4 * one.d_in, one.d_sae))},
                     {"correlation_rank", 0},
                     {"orthogonal_steps", 0}};
    const auto source = open_data(config_from_json(world, "bench"), /*seed=*/0).train();
    for (std::int64_t i = 0; i < kBatchesInMemory; ++i) kept_.push_back(source->next(batch_));
  }
  void set_form(const BatchForm& form) override {
    for (at::Tensor& x : kept_) {
      if (form.pinned && !x.is_pinned()) x = x.pin_memory();
    }
  }
  std::int64_t d_in() const override { return kept_[0].size(1); }
  at::Tensor next(std::int64_t count) override {
    const std::int64_t number = std::exchange(position_, position_ + count) / batch_;
    return kept_[static_cast<std::size_t>(number % kBatchesInMemory)];
  }
  std::int64_t position() const override { return position_; }
  void seek(std::int64_t position) override { position_ = position; }
  std::string description() const override { return "batches in memory"; }

 private:
  std::int64_t batch_;
  std::int64_t position_ = 0;
  std::vector<at::Tensor> kept_;
};

}  // namespace

void require_width(std::int64_t width, std::int64_t d_in) {
  if (width == d_in) return;
  throw DataError("bench: activations have width " + std::to_string(width) + ", the shape says D " +
                  std::to_string(d_in));
}

std::unique_ptr<ActivationSource> bench_batches(const BenchCase& one, const std::string& store) {
  if (store.empty()) return std::make_unique<Kept>(one);
  const Json group{{"kind", "store"}, {"path", store}};
  const Data data = open_data(config_from_json(group, "bench"), /*seed=*/0);
  require_width(data.d_in, one.d_in);
  return data.train();
}

}  // namespace sae

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "data/world/sampler.h"
#include "sae/data/world.h"

namespace sae {
namespace {

constexpr std::int64_t kChunk = 64;  // samples that one thread draws at a time

/// x = sum_i a_i d_i + b
void decode_sample(const std::vector<Sampler::Entry>& entries, const float* dictionary,
                   const float* bias, std::int64_t d, float* x) {
  std::copy(bias, bias + d, x);
  for (const auto& [feature, activation] : entries) {
    const float* row = dictionary + feature * d;
    for (std::int64_t k = 0; k < d; ++k) x[k] += activation * row[k];
  }
}

void append(const std::vector<Sampler::Entry>& entries, SparseRows& rows) {
  for (const auto& [feature, activation] : entries) {
    rows.indices.push_back(feature);
    rows.values.push_back(activation);
  }
  rows.offsets.push_back(static_cast<std::int64_t>(rows.indices.size()));
}

SparseRows joined(const std::vector<SparseRows>& chunks) {
  SparseRows all;
  for (const SparseRows& chunk : chunks) {
    const std::int64_t base = all.offsets.back();
    all.values.insert(all.values.end(), chunk.values.begin(), chunk.values.end());
    all.indices.insert(all.indices.end(), chunk.indices.begin(), chunk.indices.end());
    for (std::size_t r = 1; r < chunk.offsets.size(); ++r) {
      all.offsets.push_back(base + chunk.offsets[r]);
    }
  }
  return all;
}

}  // namespace

WorldSource::WorldSource(std::shared_ptr<const World> world, std::uint64_t data_seed, SampleSet set)
    : world_(std::move(world)),
      sampler_(std::make_unique<const Sampler>(world_->tables(), data_seed, set)),
      data_seed_(data_seed),
      set_(set) {}

WorldSource::~WorldSource() = default;

LabelledBatch WorldSource::generate(std::int64_t count, bool with_truth) {
  if (count < 0) {
    throw std::invalid_argument("WorldSource::next: count is " + std::to_string(count) +
                                ", not below 0 expected");
  }
  const std::int64_t d = d_in();
  const std::int64_t chunks = (count + kChunk - 1) / kChunk;
  LabelledBatch batch{torch::empty({count, d}, torch::kFloat32), {}};
  std::vector<SparseRows> truth(with_truth ? static_cast<std::size_t>(chunks) : 0);
  float* x = batch.x.data_ptr<float>();
  const float* dictionary = world_->dictionary().const_data_ptr<float>();
  const float* bias = world_->bias().const_data_ptr<float>();
  at::parallel_for(0, chunks, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<Sampler::Entry> entries;
    for (std::int64_t i = begin * kChunk; i < std::min(end * kChunk, count); ++i) {
      sampler_->sample(static_cast<std::uint64_t>(position_ + i), entries);
      decode_sample(entries, dictionary, bias, d, x + i * d);
      if (with_truth) append(entries, truth[static_cast<std::size_t>(i / kChunk)]);
    }
  });
  if (with_truth) batch.truth = joined(truth);
  position_ += count;
  return batch;
}

at::Tensor WorldSource::next(std::int64_t count) { return generate(count, false).x; }

LabelledBatch WorldSource::next_with_truth(std::int64_t count) { return generate(count, true); }

void WorldSource::seek(std::int64_t position) {
  if (position < 0) {
    throw std::invalid_argument("WorldSource::seek: position is " + std::to_string(position) +
                                ", not below 0 expected");
  }
  position_ = position;
}

std::string WorldSource::description() const {
  return "synthetic world " + world_->options().preset + ": " + std::to_string(world_->features()) +
         " features in " + std::to_string(d_in()) + " dimensions, world seed " +
         std::to_string(world_->options().seed) + ", data seed " + std::to_string(data_seed_) +
         (set_ == SampleSet::kHeldOut ? ", held out" : "");
}

}  // namespace sae

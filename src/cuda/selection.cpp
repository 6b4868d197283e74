#include "cuda/selection.h"

#include <torch/types.h>

#include <algorithm>
#include <string>
#include <utility>

#include "cuda/launch.h"

namespace sae::cuda {
namespace {

constexpr unsigned kSelectBlock = 512;
constexpr std::int64_t kBins = 65536;

int* ints_of(const at::Tensor& t) { return t.mutable_data_ptr<std::int32_t>(); }

/// The kernel that reads h, whose numbers may be bfloat16.
std::string of_numbers(const char* kernel, const at::Tensor& h) {
  return h.scalar_type() == at::kBFloat16 ? std::string(kernel) + "_bf16" : kernel;
}

}  // namespace

bool has_row_topk(std::int64_t k, std::int64_t d_sae) {
  return k <= 2048 && d_sae < (std::int64_t{1} << 31);
}

Kept largest_of_token(const at::Tensor& h, std::int64_t k) {
  const std::int64_t batch = h.size(0);
  const auto longs = h.options().dtype(at::kLong);
  Kept out{at::empty({batch * k}, longs), at::empty({batch * k}, h.options().dtype(at::kFloat)),
           at::arange(batch + 1, longs).mul_(k)};
  launch(h.device(), of_numbers("row_topk", h).c_str(), {batch}, kSelectBlock, h.const_data_ptr(),
         Index{h.size(1)}, static_cast<int>(k), mutable_indices_of(out.indices),
         mutable_floats_of(out.values));
  return out;
}

bool has_batch_topk(const at::Tensor& h) { return h.numel() < (std::int64_t{1} << 32); }

Kept largest_of_batch(const at::Tensor& h, std::int64_t count) {
  const at::Device device = h.device();
  const std::int64_t batch = h.size(0);
  const Index width = h.size(1);
  const Index all = h.numel();
  const Index wanted = count;
  const auto longs = h.options().dtype(at::kLong);
  const auto words = h.options().dtype(at::kInt);
  const int room = static_cast<int>(
      std::min<std::int64_t>(4096, 8 * (count / std::max<std::int64_t>(1, batch)) + 256));
  const at::Tensor state_words = at::empty({16}, words);
  const at::Tensor bins = at::empty({3 * kBins}, words);
  const at::Tensor candidate_words = at::empty({batch * room}, longs);
  const at::Tensor per_token = at::empty({4, batch}, words);
  Kept out{at::empty({count}, longs), at::empty({count}, h.options().dtype(at::kFloat)),
           at::empty({batch + 1}, longs)};
  // The kernels' own types of these; a launch passes addresses.
  void* state = state_words.mutable_data_ptr();
  void* histogram = bins.mutable_data_ptr();
  void* candidates = candidate_words.mutable_data_ptr();
  int* found = ints_of(per_token);
  int* above = found + batch;
  int* equal = above + batch;
  int* taken = equal + batch;
  Index* offsets = mutable_indices_of(out.offsets);
  const void* data = h.const_data_ptr();
  const auto reading = [&](const char* kernel, std::int64_t blocks, auto... arguments) {
    launch(device, of_numbers(kernel, h).c_str(), {blocks}, kSelectBlock, data, arguments...);
  };
  launch(device, "batch_clear", {96}, kSelectBlock, state, histogram);
  reading("batch_sample", 256, all, histogram);
  launch(device, "batch_guess", {1}, kSelectBlock, state, histogram, all, wanted);
  reading("batch_collect", batch, width, state, histogram, room, candidates, found);
  reading("batch_redo", 1024, all, state, wanted, histogram);
  launch(device, "batch_pick_high", {1}, kSelectBlock, state, histogram, wanted);
  reading("batch_low", batch, width, state, wanted, histogram, room, candidates, found);
  launch(device, "batch_pick_low", {1}, kSelectBlock, state, histogram);
  reading("batch_count", batch, width, state, wanted, room, candidates, found, above, equal);
  launch(device, "batch_offsets", {1}, kSelectBlock, state, above, equal, Index{batch}, taken,
         offsets);
  reading("batch_write", batch, width, state, wanted, room, candidates, found, taken, offsets,
          mutable_indices_of(out.indices), mutable_floats_of(out.values));
  return out;
}

at::Tensor count_above(const at::Tensor& h, const at::Tensor& threshold) {
  at::Tensor counts = at::empty({h.size(0)}, h.options().dtype(at::kInt));
  launch(h.device(), of_numbers("count_above", h).c_str(), {h.size(0)}, kSelectBlock,
         h.const_data_ptr(), Index{h.size(1)}, floats_of(threshold),
         static_cast<int>(threshold.dim()), ints_of(counts));
  return counts;
}

Kept above(const at::Tensor& h, const at::Tensor& threshold, const at::Tensor& counts,
           std::int64_t total) {
  const auto longs = h.options().dtype(at::kLong);
  Kept out{empty_entries(total, longs), empty_entries(total, h.options().dtype(at::kFloat)),
           at::cat({at::zeros({1}, longs), counts.cumsum(0, at::kLong)})};
  launch(h.device(), of_numbers("write_above", h).c_str(), {h.size(0)}, kSelectBlock,
         h.const_data_ptr(), Index{h.size(1)}, floats_of(threshold),
         static_cast<int>(threshold.dim()), indices_of(out.offsets),
         mutable_indices_of(out.indices), mutable_floats_of(out.values));
  return out;
}

at::Tensor bernoulli_mask(std::uint64_t seed, std::uint32_t stream, std::uint64_t index,
                          const at::Tensor& probability) {
  const std::int64_t d_sae = probability.size(0);
  at::Tensor mask = at::empty_like(probability);
  launch(probability.device(), "bernoulli_mask", {(d_sae + 511) / 512}, 256,
         static_cast<unsigned long long>(seed), stream, static_cast<unsigned long long>(index),
         floats_of(probability), Index{d_sae}, mutable_floats_of(mask));
  return mask;
}

}  // namespace sae::cuda

#include "cuda/nested.h"

#include <torch/types.h>

#include <algorithm>
#include <cstdint>

#include "cuda/launch.h"

namespace sae::cuda {
namespace {

constexpr unsigned kNestedBlock = 256;

/// How columns are shared out: slices one after the other, of each a tile a block.
struct Cut {
  bool wide;
  std::int64_t columns;  // of a slice
  std::int64_t tiles;    // of a slice
  std::int64_t threads;
  std::int64_t slices;

  /// `held` numbers of [nnz, columns], about.
  Cut(const NestedInput& in, bool gradients, std::int64_t held) {
    const std::int64_t width = in.x.size(1);
    wide = width % 4 == 0 && is_aligned(in.x) && is_aligned(in.W_dec) && is_aligned(in.b_dec);
    const std::int64_t of_unit = wide ? 4 : 1;
    const std::int64_t most = held / std::max<std::int64_t>(1, in.values.size(0));
    const std::int64_t whole = std::max<std::int64_t>(128, most / 128 * 128);
    columns = gradients ? std::min(whole, width) : width;
    const std::int64_t units = columns / of_unit;
    tiles = blocks_for(units, kNestedBlock);
    threads = 32 * blocks_for(blocks_for(units, tiles), 32);
    slices = blocks_for(width, columns);
  }
};

}  // namespace

NestedResult nested_errors(const NestedInput& in, const ByLatent* by_latent, std::int64_t held) {
  const at::Device device = in.x.device();
  const std::int64_t batch = in.x.size(0);
  const std::int64_t width = in.x.size(1);
  const std::int64_t entries = in.values.size(0);
  const bool gradients = by_latent != nullptr;
  const Cut cut(in, gradients, held);
  const auto floats = in.x.options().requires_grad(false);
  const std::int64_t tiles = cut.tiles * cut.slices;
  at::Tensor squares = at::empty({tiles, batch}, floats.dtype(at::kDouble));
  at::Tensor whole, later, dots, values;
  NestedResult out;
  out.x_hat = at::empty_like(in.x);
  const double scale = -2.0 / static_cast<double>(batch);
  if (gradients) {
    whole = at::empty_like(in.x);
    dots = at::empty({tiles, entries}, floats);
    values = in.values * scale;
    if (cut.slices > 1) out.dW = at::empty_like(in.W_dec);
  }
  for (std::int64_t slice = 0; slice < cut.slices; ++slice) {
    const std::int64_t column = slice * cut.columns;
    const std::int64_t columns = std::min(cut.columns, width - column);
    if (gradients) later = at::empty({entries, columns}, floats);
    const std::int64_t tile = slice * cut.tiles;
    launch(device, cut.wide ? "nested_errors_4" : "nested_errors_s", {batch, cut.tiles},
           static_cast<unsigned>(cut.threads), floats_of(in.x), floats_of(in.b_dec),
           floats_of(in.values), indices_of(in.indices), indices_of(in.order),
           indices_of(in.offsets), in.chance.const_data_ptr<double>(), floats_of(in.W_dec),
           Index{width}, Index{column}, Index{columns},
           squares.mutable_data_ptr<double>() + tile * batch, mutable_floats_of(out.x_hat),
           mutable_floats_of(whole), mutable_floats_of(later),
           gradients ? mutable_floats_of(dots) + tile * entries : nullptr);
    if (!gradients) continue;
    // The row of an entry is its own: s_m.
    const at::Tensor sums =
        scatter_sum(values, {by_latent->entries, by_latent->entries, by_latent->starts}, later);
    if (cut.slices == 1) {
      out.dW = sums;
    } else {
      out.dW.slice(1, column, column + columns).copy_(sums);
    }
  }
  at::Tensor total = at::empty({}, squares.options());
  launch(device, "squared_error_finish", {1}, kNestedBlock, squares.const_data_ptr<double>(),
         Index{squares.numel()}, total.mutable_data_ptr<double>());
  out.error = (total / static_cast<double>(batch)).to(at::kFloat);
  if (!gradients) return out;
  out.dvalues = empty_entries(entries, floats);
  launch(device, "nested_dots", {blocks_for(entries, kNestedBlock)}, kNestedBlock, floats_of(dots),
         Index{tiles}, Index{entries}, static_cast<float>(scale), mutable_floats_of(out.dvalues));
  out.db = whole.sum(0).mul_(scale);
  return out;
}

}  // namespace sae::cuda

#include "cuda/products.h"

#include <torch/types.h>

#include <string>

#include "cuda/launch.h"

namespace sae::cuda {
namespace {

constexpr unsigned kBlock = 256;

/// How a kernel that reads rows is launched: by the rule at the head of sparse.cu.
struct Rows {
  std::string suffix;
  std::int64_t units;  // of a row
  std::int64_t tiles;
  unsigned threads;

  /// For arrays of `width` columns, those of `weight` perhaps of bfloat16.
  Rows(std::int64_t width, const at::Tensor& weight, std::initializer_list<const at::Tensor*> more)
      : is_low_(weight.scalar_type() == at::kBFloat16) {
    const std::int64_t together = is_low_ ? 8 : 4;
    wide_ = width % together == 0 && is_aligned(weight);
    for (const at::Tensor* t : more) wide_ = wide_ && is_aligned(*t);
    units = wide_ ? width / together : width;
    tiles = blocks_for(units, wide_ && is_low_ ? 512 : 1024);
    const std::int64_t of_tile = blocks_for(units, tiles);
    const std::int64_t each = wide_ ? blocks_for(of_tile, 256) : 4;
    threads = static_cast<unsigned>(32 * blocks_for(blocks_for(of_tile, each), 32));
    suffix = (is_low_ ? "b" : "") + (wide_ ? std::to_string(each) : std::string("s"));
  }
  /// Of a kernel that has but two forms.
  std::string plain_suffix() const {
    return (is_low_ ? "b" : "") + std::string(!wide_ ? "s" : is_low_ ? "8" : "4");
  }

 private:
  bool is_low_;
  bool wide_;
};

/// Of float32 or bfloat16, whose bits the kernels take.
template <class Launch>
void with_rows_of(const at::Tensor& weight, const Launch& launched) {
  if (weight.scalar_type() == at::kBFloat16) {
    launched(static_cast<const unsigned short*>(weight.const_data_ptr()));
  } else {
    launched(floats_of(weight));
  }
}

}  // namespace

at::Tensor gather_sum(const at::Tensor& values, const at::Tensor& indices,
                      const at::Tensor& offsets, const at::Tensor& weight, const at::Tensor& bias) {
  const std::int64_t batch = offsets.size(0) - 1;
  const std::int64_t width = weight.size(1);
  at::Tensor out = at::empty({batch, width}, values.options());
  if (out.numel() == 0) return out;
  const Rows rows(width, weight, {&out, bias.defined() ? &bias : &out});
  with_rows_of(weight, [&](const auto* table) {
    launch(weight.device(), ("gather_sum_" + rows.suffix).c_str(), {batch, rows.tiles},
           rows.threads, floats_of(values), indices_of(indices), indices_of(offsets), table,
           floats_of(bias), Index{width}, mutable_floats_of(out));
  });
  return out;
}

at::Tensor gather_dot(const at::Tensor& rows_in, const at::Tensor& indices,
                      const at::Tensor& offsets, const at::Tensor& weight) {
  const std::int64_t width = weight.size(1);
  at::Tensor out = empty_entries(indices.size(0), rows_in.options());
  const Rows rows(width, weight, {&rows_in});
  with_rows_of(weight, [&](const auto* table) {
    launch(weight.device(), ("gather_dot_" + rows.plain_suffix()).c_str(), {rows_in.size(0)},
           kBlock, floats_of(rows_in), indices_of(indices), indices_of(offsets), table,
           Index{width}, mutable_floats_of(out));
  });
  return out;
}

at::Tensor scatter_sum(const at::Tensor& values, const ByLatent& by_latent,
                       const at::Tensor& rows_in) {
  const std::int64_t d_sae = by_latent.starts.size(0) - 1;
  const std::int64_t width = rows_in.size(1);
  const std::int64_t entries = by_latent.entries.size(0);
  const std::int64_t slots = entries == 0 ? 0 : (entries - 1) / 256;
  at::Tensor out = at::empty({d_sae, width}, rows_in.options());
  if (out.numel() == 0) return out;
  at::Tensor partial = at::empty({slots, width}, rows_in.options());
  const Rows rows(width, rows_in, {&out, &partial});
  const at::Device device = rows_in.device();
  const Index* starts = indices_of(by_latent.starts);
  launch(device, ("scatter_sum_" + rows.suffix).c_str(), {d_sae + slots, rows.tiles}, rows.threads,
         floats_of(values), indices_of(by_latent.entries), indices_of(by_latent.tokens), starts,
         floats_of(rows_in), Index{d_sae}, Index{width}, Index{entries}, mutable_floats_of(out),
         mutable_floats_of(partial));
  launch(device, ("scatter_finish_" + rows.plain_suffix()).c_str(),
         {slots, blocks_for(rows.units, kBlock)}, kBlock, starts, Index{d_sae}, Index{width},
         floats_of(partial), mutable_floats_of(out));
  return out;
}

at::Tensor latent_sum(const at::Tensor& values, const ByLatent& by_latent) {
  const std::int64_t d_sae = by_latent.starts.size(0) - 1;
  at::Tensor out = at::empty({d_sae}, values.options());
  launch(values.device(), "latent_sum", {blocks_for(d_sae, 8)}, kBlock, floats_of(values),
         indices_of(by_latent.entries), indices_of(by_latent.starts), Index{d_sae},
         mutable_floats_of(out));
  return out;
}

LatentSums latent_sums(const at::Tensor& values, const at::Tensor& slope,
                       const ByLatent& by_latent) {
  const std::int64_t d_sae = by_latent.starts.size(0) - 1;
  const auto made = [&] { return at::empty({d_sae}, values.options()); };
  LatentSums out{made(), made(), slope.defined() ? made() : at::Tensor()};
  launch(values.device(), "latent_sums", {blocks_for(d_sae, 8)}, kBlock, floats_of(values),
         floats_of(slope), indices_of(by_latent.entries), indices_of(by_latent.starts),
         Index{d_sae}, mutable_floats_of(out.fired), mutable_floats_of(out.magnitude),
         mutable_floats_of(out.contribution));
  return out;
}

at::Tensor tokens_of(const at::Tensor& offsets, const at::Tensor& entries) {
  at::Tensor tokens = empty_entries(entries.size(0), entries.options());
  launch(tokens.device(), "by_latent_tokens", {blocks_for(entries.size(0), kBlock)}, kBlock,
         indices_of(offsets), indices_of(entries), Index{offsets.size(0) - 1},
         Index{entries.size(0)}, mutable_indices_of(tokens));
  return tokens;
}

SquaredError squared_error(const at::Tensor& x_hat, const at::Tensor& x) {
  const std::int64_t count = blocks_for(x.numel(), 4096);
  at::Tensor error = at::empty_like(x);
  at::Tensor partial = at::empty({count}, x.options().dtype(at::kDouble));
  at::Tensor total = at::empty({}, partial.options());
  launch(x.device(), "squared_error", {count}, kBlock, floats_of(x_hat), floats_of(x),
         Index{x.numel()}, mutable_floats_of(error), partial.mutable_data_ptr<double>());
  launch(x.device(), "squared_error_finish", {1}, kBlock, partial.const_data_ptr<double>(),
         Index{count}, total.mutable_data_ptr<double>());
  return {total.to(at::kFloat), error};
}

}  // namespace sae::cuda

#include "sparse/products.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <vector>

#include "base/reused.h"
#include "cuda/launch.h"
#include "cuda/products.h"
#include "kernels/rows.h"

namespace sae::sparse {
namespace {

bool has_cpu_kernel(const at::Tensor& t) {
  return t.is_cpu() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kDouble);
}

cuda::ByLatent on_device(const Pattern& pattern) {
  const Pattern::ByLatent& by_latent = pattern.by_latent();
  return {by_latent.entries, by_latent.tokens, by_latent.offsets};
}

/// Splits `rows` rows, whose sizes `offsets` gives, into ranges of about equal numbers of entries
/// and runs them in parallel: popular latents own many times more entries than rare ones. The
/// ranges depend on the data only, and every row is summed by one thread in one order.
template <class Body>
void parallel_over_rows(std::int64_t rows, const std::int64_t* offsets, const Body& body) {
  const std::int64_t entries = offsets[rows];
  const std::int64_t chunks = std::min<std::int64_t>(rows, 64);
  const auto first_row = [&](std::int64_t chunk) -> std::int64_t {
    if (chunk == chunks) return rows;
    // An empty row costs something too (it is zeroed), so rows count as entries do.
    const std::int64_t wanted = chunk * (entries + rows) / chunks;
    std::int64_t low = 0;
    std::int64_t high = rows;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (offsets[middle] + middle < wanted) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  };
  at::parallel_for(0, chunks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t chunk = begin; chunk < end; ++chunk)
      body(first_row(chunk), first_row(chunk + 1));
  });
}

}  // namespace

at::Tensor gather_sum(const Pattern& pattern, const at::Tensor& values, const at::Tensor& weight,
                      const at::Tensor& bias) {
  if (cuda::has_kernels(values)) {
    return cuda::gather_sum(values.contiguous(), pattern.indices, pattern.offsets,
                            weight.contiguous(), bias);
  }
  if (!has_cpu_kernel(weight)) {
    at::Tensor out = reference::gather_sum(pattern, values, weight);
    return bias.defined() ? out.add_(bias) : out;
  }
  const at::Tensor v = values.contiguous();
  const at::Tensor w = weight.contiguous();
  const std::int64_t width = w.size(1);
  at::Tensor out = reused({pattern.batch, width}, w.options());
  const auto* offsets = pattern.offsets.const_data_ptr<std::int64_t>();
  const auto* indices = pattern.indices.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES(w.scalar_type(), "gather_sum", [&] {
    const auto* value = v.const_data_ptr<scalar_t>();
    const auto* table = w.const_data_ptr<scalar_t>();
    auto* result = out.mutable_data_ptr<scalar_t>();
    parallel_over_rows(pattern.batch, offsets, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end; ++b) {
        const std::int64_t e = offsets[b];
        rows::weighted_sum(width, offsets[b + 1] - e, value + e, indices + e, table,
                           result + b * width);
      }
    });
  });
  return bias.defined() ? out.add_(bias) : out;
}

at::Tensor gather_dot(const Pattern& pattern, const at::Tensor& rows_in, const at::Tensor& weight) {
  if (cuda::has_kernels(rows_in)) {
    return cuda::gather_dot(rows_in.contiguous(), pattern.indices, pattern.offsets,
                            weight.contiguous());
  }
  if (!has_cpu_kernel(weight)) return reference::gather_dot(pattern, rows_in, weight);
  const at::Tensor r = rows_in.contiguous();
  const at::Tensor w = weight.contiguous();
  const std::int64_t width = w.size(1);
  at::Tensor out = at::empty({pattern.indices.size(0)}, w.options());
  const auto* offsets = pattern.offsets.const_data_ptr<std::int64_t>();
  const auto* indices = pattern.indices.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES(w.scalar_type(), "gather_dot", [&] {
    const auto* row = r.const_data_ptr<scalar_t>();
    const auto* table = w.const_data_ptr<scalar_t>();
    auto* result = out.mutable_data_ptr<scalar_t>();
    parallel_over_rows(pattern.batch, offsets, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end; ++b) {
        const std::int64_t e = offsets[b];
        rows::dots(width, row + b * width, offsets[b + 1] - e, indices + e, table, result + e);
      }
    });
  });
  return out;
}

at::Tensor scatter_sum(const Pattern& pattern, const at::Tensor& values,
                       const at::Tensor& rows_in) {
  if (cuda::has_kernels(rows_in)) {
    return cuda::scatter_sum(values.contiguous(), on_device(pattern), rows_in.contiguous());
  }
  if (!has_cpu_kernel(rows_in)) return reference::scatter_sum(pattern, values, rows_in);
  const at::Tensor v = values.contiguous();
  const at::Tensor r = rows_in.contiguous();
  const std::int64_t width = r.size(1);
  at::Tensor out = reused({pattern.d_sae, width}, r.options());
  const Pattern::ByLatent& by_latent = pattern.by_latent();
  const auto* offsets = by_latent.offsets.const_data_ptr<std::int64_t>();
  const auto* entries = by_latent.entries.const_data_ptr<std::int64_t>();
  const auto* tokens = by_latent.tokens.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES(r.scalar_type(), "scatter_sum", [&] {
    const auto* value = v.const_data_ptr<scalar_t>();
    const auto* row = r.const_data_ptr<scalar_t>();
    auto* result = out.mutable_data_ptr<scalar_t>();
    parallel_over_rows(pattern.d_sae, offsets, [=](std::int64_t begin, std::int64_t end) {
      std::vector<scalar_t> of_latent;
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t first = offsets[i];
        const std::int64_t count = offsets[i + 1] - first;
        of_latent.resize(static_cast<std::size_t>(count));
        for (std::int64_t e = 0; e < count; ++e) {
          of_latent[static_cast<std::size_t>(e)] = value[entries[first + e]];
        }
        rows::weighted_sum(width, count, of_latent.data(), tokens + first, row, result + i * width);
      }
    });
  });
  return out;
}

at::Tensor sum_per_latent(const Pattern& pattern, const at::Tensor& values) {
  if (cuda::has_kernels(values)) {
    return cuda::latent_sum(values.contiguous(), on_device(pattern));
  }
  if (!has_cpu_kernel(values)) return reference::sum_per_latent(pattern, values);
  const at::Tensor v = values.contiguous();
  at::Tensor out = at::zeros({pattern.d_sae}, v.options());
  const auto* indices = pattern.indices.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES(v.scalar_type(), "sum_per_latent", [&] {
    const auto* value = v.const_data_ptr<scalar_t>();
    auto* result = out.mutable_data_ptr<scalar_t>();
    for (std::int64_t e = 0; e < v.size(0); ++e) result[indices[e]] += value[e];
  });
  return out;
}

namespace reference {

at::Tensor gather_sum(const Pattern& pattern, const at::Tensor& values, const at::Tensor& weight) {
  if (pattern.indices.size(0) == 0)
    return at::zeros({pattern.batch, weight.size(1)}, weight.options());
  return std::get<0>(at::_embedding_bag(weight, pattern.indices, pattern.offsets,
                                        /*scale_grad_by_freq=*/false, /*mode=*/0, /*sparse=*/false,
                                        values, /*include_last_offset=*/true));
}

at::Tensor gather_dot(const Pattern& pattern, const at::Tensor& rows, const at::Tensor& weight) {
  if (pattern.indices.size(0) == 0) return at::empty({0}, weight.options());
  return at::_embedding_bag_per_sample_weights_backward(
      rows, weight, pattern.indices, pattern.offsets, pattern.tokens(), /*mode=*/0);
}

namespace {

at::Tensor whole_scatter_sum(const Pattern& pattern, const at::Tensor& values,
                             const at::Tensor& rows) {
  const at::Tensor bag_sizes = pattern.offsets.diff();
  return at::_embedding_bag_dense_backward(rows, pattern.indices, pattern.tokens(), bag_sizes,
                                           /*maximum_indices=*/at::empty({0}, bag_sizes.options()),
                                           pattern.d_sae, /*scale_grad_by_freq=*/false, /*mode=*/0,
                                           values);
}

}  // namespace

double largest_buffer(std::int64_t d_sae, std::int64_t width) {
  constexpr double kAddressed = 2147483647;  // by a thread number of 32 bits
  constexpr double kGigabyte = 1 << 28;      // of float32
  const double all = static_cast<double>(d_sae) * static_cast<double>(width);
  return std::min(std::max(kGigabyte, all), kAddressed);
}

std::int64_t entries_within(double numbers, std::int64_t d_sae, std::int64_t width) {
  // Of n entries the buffer has n / 10 + min(n, F) rows.
  const double rows = numbers / static_cast<double>(width);
  const double few = rows / 1.1;
  const auto latents = static_cast<double>(d_sae);
  return std::max<std::int64_t>(
      1, static_cast<std::int64_t>(few <= latents ? few : 10 * (rows - latents)));
}

at::Tensor scatter_sum(const Pattern& pattern, const at::Tensor& values, const at::Tensor& rows,
                       std::int64_t at_once) {
  const std::int64_t entries = pattern.indices.size(0);
  if (entries == 0) return at::zeros({pattern.d_sae, rows.size(1)}, rows.options());
  if (at_once == 0) {
    const bool buffered = rows.is_cuda();
    at_once = buffered ? entries_within(largest_buffer(pattern.d_sae, rows.size(1)), pattern.d_sae,
                                        rows.size(1))
                       : entries;
  }
  if (entries <= at_once) return whole_scatter_sum(pattern, values, rows);
  // The host must know where tokens begin: one wait, in a case that is slow in itself.
  const at::Tensor host_offsets = pattern.offsets.cpu();
  const auto* offset = host_offsets.const_data_ptr<std::int64_t>();
  at::Tensor sum;
  for (std::int64_t begin = 0; begin < pattern.batch;) {
    std::int64_t end = begin + 1;
    while (end < pattern.batch && offset[end + 1] - offset[begin] <= at_once) ++end;
    const std::int64_t first = offset[begin];
    const std::int64_t last = offset[end];
    const auto part = Pattern::sparse(pattern.indices.slice(0, first, last),
                                      pattern.offsets.slice(0, begin, end + 1) - first,
                                      pattern.d_sae, pattern.is_padded);
    if (last > first) {
      const at::Tensor own =
          whole_scatter_sum(*part, values.slice(0, first, last), rows.slice(0, begin, end));
      sum = sum.defined() ? sum.add_(own) : own;
    }
    begin = end;
  }
  return sum;
}

at::Tensor sum_per_latent(const Pattern& pattern, const at::Tensor& values) {
  // One sum per latent in token order: reproducible, unlike a sum by atomics.
  const Pattern::ByLatent& by_latent = pattern.by_latent();
  return at::segment_reduce(values.index_select(0, by_latent.entries), "sum", /*lengths=*/{},
                            /*indices=*/{}, by_latent.offsets, /*axis=*/0, /*unsafe=*/true,
                            /*initial=*/0);
}

Pattern::ByLatent by_latent(const Pattern& pattern) {
  // A GPU sorts 32 bits at half the cost of 64, and a count by bins would make the host wait.
  const bool own = cuda::has_kernels(pattern.indices.device());
  const std::int64_t count = pattern.indices.size(0);
  const auto room = [&](at::ScalarType type) {
    const auto options = pattern.indices.options().dtype(type);
    return own ? cuda::empty_entries(count, options) : at::empty({count}, options);
  };
  at::Tensor latents = room(at::kInt);
  at::Tensor entries = room(at::kLong);
  at::sort_out(latents, entries, room(at::kInt).copy_(pattern.indices), /*stable=*/true, /*dim=*/0,
               /*descending=*/false);
  return {
      entries,
      own ? cuda::tokens_of(pattern.offsets, entries) : pattern.tokens().index_select(0, entries),
      at::searchsorted(latents, at::arange(pattern.d_sae + 1, latents.options()))};
}

}  // namespace reference
}  // namespace sae::sparse

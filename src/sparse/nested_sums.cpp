#include "sparse/nested_sums.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/reused.h"
#include "cuda/launch.h"
#include "cuda/nested.h"
#include "kernels/nested.h"
#include "sparse/products.h"

namespace sae::sparse {
namespace {

/// The entries of every token in order of rank, with what the kernel reads of each.
template <class T>
struct Ranked {
  std::vector<std::int64_t> entries;  // [nnz] positions in the pattern
  std::vector<std::int64_t> which;    // [nnz] their latents
  std::vector<T> values;              // [nnz]
  std::vector<T> weights;             // [nnz + B] p_0 .. p_n of token b from offsets[b] + b on
};

template <class T>
Ranked<T> ranked(const Pattern& pattern, const at::Tensor& values, const Nesting& nesting) {
  const at::Tensor rank = nesting.rank.contiguous();
  const at::Tensor chance = nesting.chance.contiguous();
  const auto* offsets = pattern.offsets.const_data_ptr<std::int64_t>();
  const auto* latents = pattern.indices.const_data_ptr<std::int64_t>();
  const auto* place = rank.const_data_ptr<std::int64_t>();
  const auto* q = chance.const_data_ptr<double>();
  const auto* value = values.const_data_ptr<T>();
  const auto count = static_cast<std::size_t>(pattern.indices.size(0));
  const auto batch = static_cast<std::size_t>(pattern.batch);
  Ranked<T> out{std::vector<std::int64_t>(count), std::vector<std::int64_t>(count),
                std::vector<T>(count), std::vector<T>(count + batch)};
  at::parallel_for(0, pattern.batch, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const std::int64_t from = offsets[b];
      const std::int64_t to = offsets[b + 1];
      auto* entries = out.entries.data();
      std::iota(entries + from, entries + to, from);
      std::sort(entries + from, entries + to, [&](std::int64_t i, std::int64_t j) {
        return place[latents[i]] < place[latents[j]];
      });
      double before = 1;
      for (std::int64_t e = from; e < to; ++e) {
        const auto at = static_cast<std::size_t>(e);
        out.which[at] = latents[entries[e]];
        out.values[at] = value[entries[e]];
        const double own = q[out.which[at]];
        out.weights[at + static_cast<std::size_t>(b)] = static_cast<T>(before - own);
        before = own;
      }
      out.weights[static_cast<std::size_t>(to + b)] = static_cast<T>(before);
    }
  });
  return out;
}

/// The arrays that slices of columns share; each slice is one thread's, and writes what no other
/// does.
template <class T>
struct Sweep {
  const std::int64_t* offsets;
  const Ranked<T>& ranked;
  std::int64_t batch, width;
  const T* x;
  const T* bias;
  const T* table;
  T* x_hat;
  T scale;
  bool gradients;
  T* dots;  // [slices, nnz]
  T* table_gradient;
  T* bias_gradient;

  double slice(std::int64_t number) const {
    const std::int64_t column = number * nested::kColumns;
    nested::Token<T> token{.columns = std::min(nested::kColumns, width - column),
                           .stride = width,
                           .bias = bias + column,
                           .table = table + column,
                           .scale = scale};
    if (gradients) {
      token.table_gradient = table_gradient + column;
      token.bias_gradient = bias_gradient + column;
    }
    double sum = 0;
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t first = offsets[b];
      token.count = offsets[b + 1] - first;
      token.x = x + b * width + column;
      token.x_hat = x_hat + b * width + column;
      token.values = ranked.values.data() + first;
      token.which = ranked.which.data() + first;
      token.weights = ranked.weights.data() + first + b;
      if (gradients) token.dots = dots + number * offsets[batch] + first;
      sum += gradients ? nested::errors_and_gradients(token) : nested::errors(token);
    }
    return sum;
  }
};

template <class T>
NestedSums swept(const Pattern& pattern, const at::Tensor& x, const at::Tensor& values,
                 const Nesting& nesting, const at::Tensor& W_dec, const at::Tensor& b_dec,
                 bool gradients) {
  const Ranked<T> order = ranked<T>(pattern, values, nesting);
  const std::int64_t width = x.size(1);
  const std::int64_t slices = (width + nested::kColumns - 1) / nested::kColumns;
  const auto entries = static_cast<std::int64_t>(order.entries.size());
  NestedSums out;
  out.x_hat = reused(x.sizes(), x.options());
  at::Tensor dots;
  if (gradients) {
    dots = reused({slices, entries}, x.options());
    out.dvalues = at::empty({entries}, x.options());
    out.dW = reused(W_dec.sizes(), W_dec.options()).zero_();
    out.db = at::zeros_like(b_dec);
  }
  const double scale = -2.0 / static_cast<double>(x.size(0));
  const Sweep<T> sweep{.offsets = pattern.offsets.const_data_ptr<std::int64_t>(),
                       .ranked = order,
                       .batch = x.size(0),
                       .width = width,
                       .x = x.const_data_ptr<T>(),
                       .bias = b_dec.const_data_ptr<T>(),
                       .table = W_dec.const_data_ptr<T>(),
                       .x_hat = out.x_hat.mutable_data_ptr<T>(),
                       .scale = static_cast<T>(scale),
                       .gradients = gradients,
                       .dots = gradients ? dots.mutable_data_ptr<T>() : nullptr,
                       .table_gradient = gradients ? out.dW.mutable_data_ptr<T>() : nullptr,
                       .bias_gradient = gradients ? out.db.mutable_data_ptr<T>() : nullptr};
  std::vector<double> sums(static_cast<std::size_t>(slices));
  at::parallel_for(0, slices, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t s = begin; s < end; ++s) sums[static_cast<std::size_t>(s)] = sweep.slice(s);
  });
  const double total = std::accumulate(sums.begin(), sums.end(), 0.0);
  out.error = at::full({}, total / static_cast<double>(x.size(0)), x.options());
  if (!gradients) return out;
  const at::Tensor slopes = dots.sum(0).mul_(scale);
  const auto* slope = slopes.const_data_ptr<T>();
  auto* dvalue = out.dvalues.mutable_data_ptr<T>();
  for (std::int64_t e = 0; e < entries; ++e) {
    dvalue[order.entries[static_cast<std::size_t>(e)]] = slope[e];
  }
  out.db.mul_(scale);
  return out;
}

/// By kernels of ours.
NestedSums on_device(const Pattern& pattern, const at::Tensor& x, const at::Tensor& values,
                     const Nesting& nesting, const at::Tensor& W_dec, const at::Tensor& b_dec,
                     bool gradients) {
  const at::Tensor rank = nesting.rank.index_select(0, pattern.indices);
  const at::Tensor order = at::argsort(pattern.tokens() * pattern.d_sae + rank);
  const at::Tensor chance = nesting.chance.contiguous();
  const cuda::NestedInput in{x,     values, pattern.indices, pattern.offsets,
                             order, chance, W_dec,           b_dec};
  cuda::NestedResult found;
  if (gradients) {
    const Pattern::ByLatent& by_latent = pattern.by_latent();
    const cuda::ByLatent same{by_latent.entries, by_latent.tokens, by_latent.offsets};
    found = cuda::nested_errors(in, &same);
  } else {
    found = cuda::nested_errors(in, nullptr);
  }
  return {found.error, found.x_hat, found.dvalues, found.dW, found.db};
}

}  // namespace

NestedSums nested_sums(const Pattern& pattern, const at::Tensor& x, const at::Tensor& values,
                       const Nesting& nesting, const at::Tensor& W_dec, const at::Tensor& b_dec,
                       bool gradients) {
  if (cuda::has_kernels(x)) {
    return on_device(pattern, x.contiguous(), values.contiguous(), nesting, W_dec.contiguous(),
                     b_dec.contiguous(), gradients);
  }
  const bool own = x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
  if (!own) return reference::nested_sums(pattern, x, values, nesting, W_dec, b_dec, gradients);
  NestedSums out;
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "nested_sums", [&] {
    out = swept<scalar_t>(pattern, x.contiguous(), values.contiguous(), nesting, W_dec.contiguous(),
                          b_dec.contiguous(), gradients);
  });
  return out;
}

namespace reference {
namespace {

constexpr std::int64_t kMostElements = std::int64_t{1} << 24;  // of one [b, n + 1, D]

/// Entries in order of rank as a table: row b holds those of token b, filled up with zeros.
struct Padded {
  at::Tensor entries;  // [nnz] positions in the pattern, token by token in order of rank
  at::Tensor places;   // [nnz] where they are in the flattened table
  std::int64_t most;   // n

  Padded(const Pattern& pattern, const Nesting& nesting) {
    const at::Tensor& tokens = pattern.tokens();
    entries = at::argsort(tokens * pattern.d_sae + nesting.rank.index_select(0, pattern.indices));
    const at::Tensor counts = pattern.offsets.diff();
    most = counts.numel() > 0 ? counts.max().item<std::int64_t>() : 0;
    const at::Tensor own =
        at::arange(entries.size(0), entries.options()) - pattern.offsets.index_select(0, tokens);
    places = tokens * most + own;
  }
  at::Tensor table(const at::Tensor& of_entry, std::int64_t batch) const {
    return at::zeros({batch * most}, of_entry.options())
        .index_put_({places}, of_entry.index_select(0, entries))
        .view({batch, most});
  }
};

}  // namespace

NestedSums nested_sums(const Pattern& pattern, const at::Tensor& x, const at::Tensor& values,
                       const Nesting& nesting, const at::Tensor& W_dec, const at::Tensor& b_dec,
                       bool gradients) {
  const std::int64_t batch = x.size(0);
  const Padded padded(pattern, nesting);
  const at::Tensor which = padded.table(pattern.indices, batch);
  const at::Tensor f = padded.table(values, batch);
  const at::Tensor chance = nesting.chance.index_select(0, pattern.indices);
  const at::Tensor q = padded.table(chance, batch);
  const at::Tensor ends = at::zeros({batch, 1}, q.options());
  const at::Tensor p = (at::cat({ends + 1, q}, 1) - at::cat({q, ends}, 1)).to(x.scalar_type());

  const double scale = -2.0 / static_cast<double>(batch);
  const std::int64_t rows = std::max<std::int64_t>(
      1, kMostElements / std::max<std::int64_t>(1, (padded.most + 1) * x.size(1)));
  NestedSums out;
  out.error = at::zeros({}, x.options());
  out.x_hat = at::empty_like(x);
  at::Tensor dtable;
  if (gradients) {
    dtable = at::zeros_like(f);
    out.dW = at::zeros_like(W_dec);
    out.db = at::zeros_like(b_dec);
  }
  for (std::int64_t from = 0; from < batch; from += rows) {
    const std::int64_t to = std::min(batch, from + rows);
    const at::Tensor rank_rows = which.slice(0, from, to);
    const at::Tensor d =
        W_dec.index_select(0, rank_rows.flatten()).view({to - from, padded.most, x.size(1)});
    const at::Tensor first = (x.slice(0, from, to) - b_dec).unsqueeze(1);
    const at::Tensor taken = (f.slice(0, from, to).unsqueeze(2) * d).cumsum(1);
    const at::Tensor e = at::cat({first, first - taken}, 1);  // [b, n + 1, D]
    const at::Tensor weight = p.slice(0, from, to);
    out.error += (weight * e.square().sum(2)).sum() / batch;
    out.x_hat.slice(0, from, to).copy_(x.slice(0, from, to) - e.select(1, padded.most));
    if (!gradients) continue;
    const at::Tensor s = (weight.unsqueeze(2) * e).flip(1).cumsum(1).flip(1);
    const at::Tensor later = s.slice(1, 1);
    dtable.slice(0, from, to).copy_(scale * (later * d).sum(2));
    out.db += scale * s.select(1, 0).sum(0);
    const at::Tensor one_each =
        at::arange(rank_rows.numel() + 1, pattern.indices.options());  // a bag an entry
    out.dW += scatter_sum(*Pattern::sparse(rank_rows.flatten(), one_each, pattern.d_sae),
                          scale * f.slice(0, from, to).flatten(), later.flatten(0, 1));
  }
  if (!gradients) return out;
  out.dvalues = at::empty_like(values).index_copy_(0, padded.entries,
                                                   dtable.flatten().index_select(0, padded.places));
  return out;
}

}  // namespace reference
}  // namespace sae::sparse

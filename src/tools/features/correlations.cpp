#include "tools/features/correlations.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "sparse/products.h"

namespace sae {
namespace {

constexpr std::size_t kMostCorrelated = 3;

/// Of one of two variables: their sums and the sums of their squares.
struct Moments {
  double sum = 0, squares = 0;
};

struct Correlation {
  std::int64_t index = 0;
  double pearson = 0, cosine = 0;
};

/// 0 for a variable that is constant.
Correlation correlation(std::int64_t index, double rows, double product, const Moments& a,
                        const Moments& b) {
  const double spread = (rows * a.squares - a.sum * a.sum) * (rows * b.squares - b.sum * b.sum);
  const double sizes = a.squares * b.squares;
  return {index, spread > 0 ? (rows * product - a.sum * b.sum) / std::sqrt(spread) : 0,
          sizes > 0 ? product / std::sqrt(sizes) : 0};
}

Correlated most_correlated(std::vector<Correlation> all) {
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(std::min(kMostCorrelated, all.size()));
  std::partial_sort(all.begin(), end, all.end(), [](const Correlation& a, const Correlation& b) {
    return a.pearson != b.pearson ? a.pearson > b.pearson : a.index < b.index;
  });
  Correlated out;
  for (auto one = all.begin(); one != end; ++one) {
    out.indices.push_back(one->index);
    out.pearson.push_back(one->pearson);
    out.cosine.push_back(one->cosine);
  }
  return out;
}

Moments moments_of(const LatentRange& range) { return {range.sum, range.squares}; }

}  // namespace

NeuronSums::NeuronSums(std::int64_t latents, std::int64_t d_in, const at::Device& device) {
  const auto options = at::TensorOptions().dtype(at::kDouble).device(device);
  products_ = at::zeros({latents, d_in}, options);
  sums_ = at::zeros({d_in}, options);
  squares_ = at::zeros({d_in}, options);
}

void NeuronSums::add(const EncodedBatch& batch) {
  const at::Tensor products =
      sparse::scatter_sum(*batch.codes.pattern(), batch.codes.values(), batch.x);
  products_.add_(products.slice(0, 0, products_.size(0)));
  const at::Tensor x = batch.x.to(at::kDouble);
  sums_.add_(x.sum(0));
  squares_.add_(x.square().sum(0));
  rows_ += static_cast<double>(x.size(0));
}

std::vector<Correlated> NeuronSums::most(const std::vector<LatentRange>& ranges, std::int64_t first,
                                         std::int64_t count) const {
  const at::Tensor products = products_.slice(0, first, first + count).cpu().contiguous();
  const at::Tensor sums = sums_.cpu(), squares = squares_.cpu();
  const std::int64_t d_in = products.size(1);
  const auto* product = products.const_data_ptr<double>();
  const auto* sum = sums.const_data_ptr<double>();
  const auto* square = squares.const_data_ptr<double>();
  std::vector<Correlated> out;
  for (std::int64_t i = 0; i < count; ++i, product += d_in) {
    const LatentRange& range = ranges[static_cast<std::size_t>(first + i)];
    std::vector<Correlation> all;
    for (std::int64_t d = 0; range.firings > 0 && d < d_in; ++d) {
      all.push_back(correlation(d, rows_, product[d], moments_of(range), {sum[d], square[d]}));
    }
    out.push_back(most_correlated(std::move(all)));
  }
  return out;
}

CofiringSums::CofiringSums(std::int64_t latents, std::int64_t group)
    : latents_(latents), group_(group), products_(static_cast<std::size_t>(latents * group)) {}

void CofiringSums::add(const FeatureBatch& batch) {
  const auto& [values, indices, offsets] = batch.codes;
  for (std::int64_t row = batch.begin; row < batch.end; ++row) {
    const auto end = static_cast<std::size_t>(batch.codes.end(row));
    for (auto a = static_cast<std::size_t>(batch.codes.begin(row)); a < end; ++a) {
      const std::int64_t beyond = (indices[a] / group_ + 1) * group_;
      for (std::size_t b = a + 1; b < end && indices[b] < beyond; ++b) {
        const double product = static_cast<double>(values[a]) * values[b];
        products_[static_cast<std::size_t>(indices[a] * group_ + indices[b] % group_)] += product;
        products_[static_cast<std::size_t>(indices[b] * group_ + indices[a] % group_)] += product;
      }
    }
  }
  rows_ += static_cast<double>(batch.end - batch.begin);
}

Correlated CofiringSums::most(const std::vector<LatentRange>& ranges, std::int64_t latent) const {
  const LatentRange& own = ranges[static_cast<std::size_t>(latent)];
  const std::int64_t first = latent / group_ * group_;
  std::vector<Correlation> all;
  for (std::int64_t i = first; i < std::min(first + group_, latents_); ++i) {
    const LatentRange& other = ranges[static_cast<std::size_t>(i)];
    if (i == latent || own.firings == 0 || other.firings == 0) continue;
    all.push_back(correlation(i, rows_,
                              products_[static_cast<std::size_t>(latent * group_ + i % group_)],
                              moments_of(own), moments_of(other)));
  }
  return most_correlated(std::move(all));
}

}  // namespace sae

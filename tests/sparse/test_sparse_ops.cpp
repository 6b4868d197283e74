#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "kernels/rows.h"
#include "sparse/products.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

// Lengths around every block and lane count that the loops have.
std::vector<std::int64_t> lengths() {
  std::vector<std::int64_t> out;
  for (std::int64_t n = 0; n <= 140; ++n) out.push_back(n);
  out.push_back(1000);
  return out;
}

template <class T>
std::vector<T> row(std::int64_t n, std::uint64_t index) {
  std::vector<T> out;
  for (const double value : numbers(normal({n}, index))) out.push_back(static_cast<T>(value));
  return out;
}

template <class T>
void expect_dots_and_sums(double tolerance) {
  constexpr std::int64_t kRows = 5;
  for (const std::int64_t n : lengths()) {
    const std::vector<T> x = row<T>(n, 1);
    const std::vector<T> table = row<T>(n * kRows, 2);
    for (std::int64_t count = 0; count <= 9; ++count) {  // four at a time and the rest
      std::vector<std::int64_t> which;
      for (std::int64_t e = 0; e < count; ++e) which.push_back((3 * e + 1) % kRows);
      const auto at = [&](std::size_t e, std::size_t j) {
        return static_cast<double>(table[static_cast<std::size_t>(which[e] * n) + j]);
      };
      std::vector<T> dots(which.size() + 1, T(7));  // the last must stay
      rows::dots(n, x.data(), count, which.data(), table.data(), dots.data());
      for (std::size_t e = 0; e < which.size(); ++e) {
        double sum = 0;
        for (std::size_t j = 0; j < x.size(); ++j) sum += x[j] * at(e, j);
        ASSERT_NEAR(dots[e], sum, tolerance * (1 + n)) << n << " " << e;
      }
      EXPECT_EQ(dots.back(), T(7));
      const std::vector<T> values = row<T>(count, 3);
      std::vector<T> sums(x.size() + 1, T(7));
      rows::weighted_sum(n, count, values.data(), which.data(), table.data(), sums.data());
      for (std::size_t j = 0; j < x.size(); ++j) {
        double sum = 0;
        for (std::size_t e = 0; e < which.size(); ++e) sum += values[e] * at(e, j);
        ASSERT_NEAR(sums[j], sum, tolerance * 10) << n << " " << j;
      }
      EXPECT_EQ(sums.back(), T(7));
    }
  }
}

TEST(RowKernels, DotsAndWeightedSumsAgreeWithPlainLoopsAtEveryLength) {
  expect_dots_and_sums<float>(1e-5);
  expect_dots_and_sums<double>(1e-13);
}

template <class T>
void expect_positions() {
  for (const std::int64_t n : lengths()) {
    std::vector<T> x = row<T>(n, 3);
    const std::vector<T> limits = row<T>(n, 4);
    for (std::size_t j = 0; j < x.size(); j += 7) x[j] = std::numeric_limits<T>::quiet_NaN();
    for (std::size_t j = 3; j < x.size(); j += 7) x[j] = T(0.5);  // equal is not above
    std::vector<std::int64_t> above_one;
    std::vector<std::int64_t> above_each;
    for (std::size_t j = 0; j < x.size(); ++j) {
      if (x[j] > T(0.5)) above_one.push_back(static_cast<std::int64_t>(j));
      if (x[j] > limits[j]) above_each.push_back(static_cast<std::int64_t>(j));
    }
    std::vector<std::int64_t> out(static_cast<std::size_t>(n) + 1, -1);
    out.resize(static_cast<std::size_t>(rows::positions_above(n, x.data(), T(0.5), out.data())));
    EXPECT_EQ(out, above_one) << n;
    out.assign(static_cast<std::size_t>(n) + 1, -1);
    const std::int64_t count = rows::positions_above(n, x.data(), limits.data(), out.data());
    EXPECT_EQ(out.back(), -1) << "wrote beyond n";
    out.resize(static_cast<std::size_t>(count));
    EXPECT_EQ(out, above_each) << n;
    // Everything above: as many positions as there is room for.
    out.assign(static_cast<std::size_t>(n) + 1, -1);
    const std::vector<T> ones(static_cast<std::size_t>(n), T(1));
    EXPECT_EQ(rows::positions_above(n, ones.data(), T(0), out.data()), n);
    EXPECT_EQ(out.back(), -1);
  }
}

TEST(RowKernels, PositionsAboveAreExactAtEveryLength) {
  expect_positions<float>();
  expect_positions<double>();
}

struct Batch {
  std::string name;
  Codes codes;  // float64
  std::int64_t width;
};

/// [B, F] with about `share` of its entries.
at::Tensor sparse_matrix(std::int64_t batch, std::int64_t d_sae, double share,
                         std::uint64_t index) {
  const at::Tensor uniform = normal({batch, d_sae}, index).erf().abs();  // not uniform: enough
  return normal({batch, d_sae}, index + 1) * (uniform < share);
}

std::vector<Batch> batches() {
  std::vector<Batch> out;
  const auto add = [&](const char* name, const at::Tensor& dense, std::int64_t width) {
    out.push_back({name, sparse_codes(dense), width});
  };
  add("more rows than chunks", sparse_matrix(300, 200, 0.05, 10), 33);
  add("fewer rows than chunks", sparse_matrix(5, 7, 0.4, 12), 3);
  add("one row, one latent", at::ones({1, 1}, at::kDouble), 1);
  add("every entry", normal({70, 9}, 14), 65);
  add("no entry", at::zeros({70, 90}, at::kDouble), 4);
  at::Tensor one = at::zeros({200, 300}, at::kDouble);
  one.select(1, 299).copy_(normal({200}, 15));
  add("all entries in the last latent", one, 6);
  add("all entries in the last token", one.t().contiguous(), 6);
  at::Tensor skewed = sparse_matrix(100, 400, 0.01, 16);
  skewed.select(1, 0).fill_(2);
  skewed.slice(0, 20, 60).zero_();
  add("a popular latent and empty tokens", skewed, 40);
  return out;
}

void expect_equals_reference(const Batch& batch, at::ScalarType type, double tolerance) {
  const Pattern& pattern = *batch.codes.pattern();
  const at::Tensor values = batch.codes.values().to(type);
  const at::Tensor weight = normal({pattern.d_sae, batch.width}, 20).to(type);
  const at::Tensor rows = normal({pattern.batch, batch.width}, 21).to(type);
  const at::Tensor dense = batch.codes.to_dense().to(type);
  const std::string name = batch.name + (type == at::kFloat ? ", float" : ", double");

  const at::Tensor sum = sparse::gather_sum(pattern, values, weight);
  expect_close(sum, sparse::reference::gather_sum(pattern, values, weight), name, tolerance);
  expect_close(sum, at::mm(dense, weight), name, tolerance);
  expect_close(sparse::gather_dot(pattern, rows, weight),
               sparse::reference::gather_dot(pattern, rows, weight), name, tolerance);
  const at::Tensor scattered = sparse::scatter_sum(pattern, values, rows);
  expect_close(scattered, sparse::reference::scatter_sum(pattern, values, rows), name, tolerance);
  expect_close(scattered, at::mm(dense.t(), rows), name, tolerance);
  expect_close(sparse::sum_per_latent(pattern, values), dense.sum(0), name, tolerance);
}

TEST(SparseOps, EqualTheEmbeddingBagReferenceAndTheDenseProduct) {
  for (const Batch& batch : batches()) {
    expect_equals_reference(batch, at::kDouble, 1e-12);
    expect_equals_reference(batch, at::kFloat, 1e-5);
  }
}

TEST(SparseOps, AcceptAnyStrides) {
  const Batch batch = batches().front();
  const Pattern& pattern = *batch.codes.pattern();
  const at::Tensor weight = normal({33, pattern.d_sae}, 20).t();
  const at::Tensor rows = normal({1, 33}, 21).expand({pattern.batch, 33});
  const at::Tensor values = at::ones({1}, at::kDouble).expand({pattern.indices.size(0)});
  const at::Tensor on = (batch.codes.to_dense() != 0).to(at::kDouble);
  expect_close(sparse::gather_sum(pattern, values, weight), at::mm(on, weight), "", 1e-12);
  expect_close(sparse::scatter_sum(pattern, values, rows), at::mm(on.t(), rows), "", 1e-12);
  expect_close(sparse::gather_dot(pattern, rows, weight),
               sparse::reference::gather_dot(pattern, rows.contiguous(), weight.contiguous()));
  expect_close(sparse::sum_per_latent(pattern, values), on.sum(0));
}

TEST(SparseOps, OrderEntriesByLatentThenToken) {
  for (const Batch& batch : batches()) {
    const Pattern& pattern = *batch.codes.pattern();
    const Pattern::ByLatent& own = pattern.by_latent();
    const Pattern::ByLatent reference = sparse::reference::by_latent(pattern);
    EXPECT_TRUE(at::equal(own.entries, reference.entries)) << batch.name;
    EXPECT_TRUE(at::equal(own.tokens, reference.tokens)) << batch.name;
    EXPECT_TRUE(at::equal(own.offsets, reference.offsets)) << batch.name;
  }
  // [[0, 5], [6, 7]]: latent 0 has entry 1 of token 1, latent 1 entries 0 and 2.
  const Codes codes = sparse_codes(tensor({0, 5, 6, 7}).view({2, 2}));
  EXPECT_EQ(indices(codes.pattern()->by_latent().entries), (std::vector<std::int64_t>{1, 0, 2}));
  EXPECT_EQ(indices(codes.pattern()->by_latent().tokens), (std::vector<std::int64_t>{1, 0, 1}));
  EXPECT_EQ(indices(codes.pattern()->by_latent().offsets), (std::vector<std::int64_t>{0, 1, 3}));
}

TEST(SparseOps, AddUpPartsOfTheTokensWhereABufferForAllWouldBeTooLarge) {
  // A token with more entries than a part may have, and some with none.
  const at::Tensor indices = at::tensor(std::vector<std::int64_t>{0, 2, 3, 1, 0, 1, 2, 3, 4, 3});
  const at::Tensor offsets = at::tensor(std::vector<std::int64_t>{0, 0, 3, 4, 4, 9, 10, 10});
  const auto pattern = Pattern::sparse(indices, offsets, 6);
  const at::Tensor values = normal({10}, 1);
  const at::Tensor rows = normal({7, 5}, 2);
  const at::Tensor whole = sparse::reference::scatter_sum(*pattern, values, rows);
  for (const std::int64_t at_once : {1, 3, 4, 9, 10}) {
    expect_close(sparse::reference::scatter_sum(*pattern, values, rows, at_once), whole,
                 std::to_string(at_once), 1e-14);
  }
}

TEST(SparseOps, TakeAsManyEntriesAsABufferHasRoomFor) {
  const auto rows_of = [](std::int64_t n, std::int64_t d_sae) {
    return static_cast<double>(n) / 10 + static_cast<double>(std::min(n, d_sae));
  };
  for (const auto& [d_sae, width] : {std::pair<std::int64_t, std::int64_t>{131072, 4096},
                                     {16384, 2304},
                                     {24576, 768},
                                     {1 << 20, 8192},
                                     {4, 1 << 20}}) {
    const double numbers = sparse::reference::largest_buffer(d_sae, width);
    EXPECT_LT(numbers, 2147483648.0);
    const std::int64_t n = sparse::reference::entries_within(numbers, d_sae, width);
    const auto limit = numbers / static_cast<double>(width);
    EXPECT_LE(rows_of(n, d_sae), limit * (1 + 1e-9)) << d_sae;
    EXPECT_GT(rows_of(n + 11, d_sae), limit) << d_sae;
  }
}

TEST(SparseOps, GiveTheSameBitsWithAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  const Batch batch = batches().front();
  const Pattern& pattern = *batch.codes.pattern();
  const at::Tensor values = batch.codes.values().to(at::kFloat);
  const at::Tensor weight = normal({pattern.d_sae, 33}, 20).to(at::kFloat);
  const at::Tensor rows = normal({pattern.batch, 33}, 21).to(at::kFloat);
  const auto all = [&](int threads) {
    at::set_num_threads(threads);
    return at::cat({sparse::gather_sum(pattern, values, weight).flatten(),
                    sparse::gather_dot(pattern, rows, weight),
                    sparse::scatter_sum(pattern, values, rows).flatten()});
  };
  const at::Tensor one = all(1);
  EXPECT_TRUE(at::equal(all(2), one));
  EXPECT_TRUE(at::equal(all(3), one));
  at::set_num_threads(before);
}

}  // namespace
}  // namespace sae

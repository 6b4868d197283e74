#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "sae/sparse/select.h"
#include "sparse/select_reference.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

/// What a selection keeps, as [B, F] of bool.
at::Tensor kept(const Selection& selection) {
  const Pattern& pattern = *selection.pattern;
  if (!pattern.is_dense) {
    const at::Tensor ones = at::ones({pattern.indices.size(0)}, at::kDouble);
    return Codes(selection.pattern, ones).to_dense() > 0;
  }
  if (selection.keep.defined()) return selection.keep;
  return at::ones({pattern.batch, pattern.d_sae}, at::kBool);
}

at::Tensor matrix(const std::vector<std::vector<double>>& rows) {
  std::vector<at::Tensor> out;
  for (const auto& row : rows) out.push_back(tensor(row));
  return at::stack(out);
}

at::Tensor keeps(const std::vector<std::vector<double>>& rows) { return matrix(rows) > 0; }

constexpr Storage kBoth[] = {Storage::kSparse, Storage::kDense};

TEST(Select, TopKTakesTheLargestPositiveEntriesAndTheFirstAmongEquals) {
  const at::Tensor h = matrix({{3, 1, 2, 4}, {-1, -2, 5, -3}, {2, 2, 2, 2}, {0, -1, 0, -1}});
  const at::Tensor expected = keeps({{1, 0, 0, 1}, {0, 0, 1, 0}, {1, 1, 0, 0}, {0, 0, 0, 0}});
  for (const Storage storage : kBoth) {
    EXPECT_TRUE(at::equal(kept(select(h, LargestOfToken{2}, storage)), expected));
  }
  EXPECT_TRUE(at::equal(kept(select(h, LargestOfToken{99}, Storage::kSparse)), h > 0)) << "k > F";
}

TEST(Select, BatchTopKCountsOverTheBatchAndTakesTheFirstTokenAmongEquals) {
  const at::Tensor h = matrix({{1, 5, 2}, {2, -4, 9}, {2, 2, 0}});
  for (const Storage storage : kBoth) {
    EXPECT_TRUE(at::equal(kept(select(h, LargestOfBatch{4}, storage)),
                          keeps({{0, 1, 1}, {1, 0, 1}, {0, 0, 0}})));
    EXPECT_TRUE(at::equal(kept(select(h, LargestOfBatch{5}, storage)),
                          keeps({{0, 1, 1}, {1, 0, 1}, {1, 0, 0}})));
    EXPECT_TRUE(at::equal(kept(select(h, LargestOfBatch{99}, storage)), h > 0));
  }
}

TEST(Select, AboveComparesStrictlyWithOneThresholdOrOneALatent) {
  const at::Tensor h = matrix({{0, 1, 2}, {3, -1, 0.5}});
  EXPECT_TRUE(
      at::equal(kept(select(h, Positive{}, Storage::kSparse)), keeps({{0, 1, 1}, {1, 0, 1}})));
  EXPECT_TRUE(at::equal(kept(select(h, Above{at::scalar_tensor(1)}, Storage::kSparse)),
                        keeps({{0, 0, 1}, {1, 0, 0}})));
  EXPECT_TRUE(at::equal(kept(select(h, Above{tensor({-1, 1, 2})}, Storage::kSparse)),
                        keeps({{1, 0, 0}, {1, 0, 0}})));
}

/// Few distinct values, so full of ties; rows of very different size; some NaN and infinities.
at::Tensor hostile(std::int64_t batch, std::int64_t d_sae, std::uint64_t index) {
  at::Tensor h = (normal({batch, d_sae}, index) * 4).round() / 4;
  h = h * at::pow(2, (normal({batch, 1}, index + 1) * 3).round());
  h.masked_fill_(normal({batch, d_sae}, index + 2) > 2.2, NAN);
  h.masked_fill_(normal({batch, d_sae}, index + 3) > 2.6, INFINITY);
  h.select(0, 0).zero_();
  h.select(0, 1).fill_(NAN);
  h.select(0, 2).abs_().neg_();
  return h;
}

void expect_same_pattern(const Selection& got, const Selection& expected) {
  EXPECT_TRUE(at::equal(got.pattern->indices, expected.pattern->indices));
  EXPECT_TRUE(at::equal(got.pattern->offsets, expected.pattern->offsets));
}

TEST(Select, OwnLoopsEqualAtensOperatorsOnHostileInput) {
  for (const auto& [batch, d_sae] : {std::pair{40, 130}, {9, 64}, {70, 3}}) {
    const at::Tensor all = hostile(batch, d_sae, 30);
    for (const at::Tensor& h : {all, all.to(at::kFloat), all.t().contiguous().t()}) {
      const at::Tensor limits = normal({d_sae}, 40).to(h.scalar_type());
      expect_same_pattern(select(h, Above{limits}, Storage::kSparse),
                          reference::select_above(h, limits, true, Storage::kSparse));
      for (const std::int64_t k : {1, 2, 5, d_sae - 1, d_sae, d_sae + 9}) {
        expect_same_pattern(select(h, LargestOfToken{k}, Storage::kSparse),
                            reference::select_top_k(h, k, Storage::kSparse));
      }
      for (const std::int64_t count : {1, 7, batch, 3 * batch, batch * d_sae, 9 * batch * d_sae}) {
        const Selection expected = reference::select_batch_top_k(h, count, Storage::kSparse);
        expect_same_pattern(select(h, LargestOfBatch{count}, Storage::kSparse), expected);
      }
    }
  }
}

TEST(Select, StorageDoesNotChangeWhatIsKept) {
  const at::Tensor h = hostile(20, 50, 50);
  for (const Storage storage : {Storage::kAuto, Storage::kDense}) {
    EXPECT_TRUE(at::equal(kept(select(h, LargestOfToken{3}, storage)),
                          kept(select(h, LargestOfToken{3}, Storage::kSparse))));
    EXPECT_TRUE(at::equal(kept(select(h, LargestOfBatch{60}, storage)),
                          kept(select(h, LargestOfBatch{60}, Storage::kSparse))));
    EXPECT_TRUE(at::equal(kept(reference::select_top_k(h, 3, storage)),
                          kept(select(h, LargestOfToken{3}, Storage::kSparse))));
  }
}

TEST(Select, StoresByMeasuredDensity) {
  const double limit = StoragePolicy(Storage::kAuto).dense_above;
  ASSERT_GT(limit, 0);
  ASSERT_LT(limit, 1);
  constexpr std::int64_t kLatents = 1000;
  const at::Tensor h = at::ones({64, kLatents}, at::kDouble);
  const auto few = static_cast<std::int64_t>(0.9 * limit * kLatents);
  const auto many = static_cast<std::int64_t>(1.1 * limit * kLatents) + 1;
  EXPECT_FALSE(select(h, LargestOfToken{few}, Storage::kAuto).pattern->is_dense);
  EXPECT_TRUE(select(h, LargestOfToken{many}, Storage::kAuto).pattern->is_dense);
  EXPECT_FALSE(select(h, LargestOfBatch{64 * few}, Storage::kAuto).pattern->is_dense);
  EXPECT_TRUE(select(h, LargestOfBatch{64 * many}, Storage::kAuto).pattern->is_dense);
  at::Tensor some = -h;
  some.slice(1, 0, few).fill_(1);
  EXPECT_FALSE(select(some, Positive{}, Storage::kAuto).pattern->is_dense);
  some.slice(1, 0, many).fill_(1);
  EXPECT_TRUE(select(some, Positive{}, Storage::kAuto).pattern->is_dense);
  // Every 32nd of the rows is looked at first; the others count too.
  some.fill_(1);
  some.slice(0, 0, 64, 2).fill_(-1);
  const Selection uneven = select(some, Positive{}, Storage::kAuto);
  EXPECT_TRUE(uneven.pattern->is_dense);
}

TEST(Select, AcceptsABatchOfNoTokens) {
  const at::Tensor h = at::zeros({0, 8}, at::kDouble);
  for (const Selection& selection :
       {select(h, Positive{}, Storage::kAuto), select(h, LargestOfToken{2}, Storage::kAuto)}) {
    EXPECT_EQ(selection.pattern->batch, 0);
    EXPECT_EQ(selection.pattern->indices.size(0), 0);
  }
}

TEST(Select, RefusesToKeepFewerThanOneEntry) {
  const at::Tensor h = at::ones({2, 3}, at::kDouble);
  EXPECT_THROW(select(h, LargestOfToken{0}, Storage::kAuto), std::invalid_argument);
  EXPECT_THROW(select(h, LargestOfBatch{0}, Storage::kAuto), std::invalid_argument);
  EXPECT_THROW(select(h, LargestOfBatch{-3}, Storage::kAuto), std::invalid_argument);
}

}  // namespace
}  // namespace sae

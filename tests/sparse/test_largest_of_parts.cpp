#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sae/sparse/encoder.h"
#include "sparse/largest_of_parts.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

/// The rows of h [B, F] offered in parts of `size`; what is kept of all of them, [B, F].
at::Tensor kept_in_parts(const at::Tensor& h, std::int64_t count, std::int64_t size) {
  LargestOfParts largest(count);
  for (const at::Tensor& part : h.split(size)) {
    const auto pattern = select(part, largest.rule(), Storage::kSparse).pattern;
    largest.add({pattern, part.reshape({-1}).index_select(
                              0, pattern->tokens() * part.size(1) + pattern->indices)});
  }
  std::vector<at::Tensor> rows;
  for (const Codes& part : largest.kept()) rows.push_back(part.to_dense());
  return at::cat(rows);
}

at::Tensor kept_at_once(const at::Tensor& h, std::int64_t count) {
  const auto pattern = select(h, LargestOfBatch{count}, Storage::kSparse).pattern;
  const at::Tensor places = pattern->tokens() * h.size(1) + pattern->indices;
  return at::zeros({h.numel()}, h.options())
      .index_copy_(0, places, h.reshape({-1}).index_select(0, places))
      .view_as(h);
}

TEST(LargestOfParts, KeepWhatTheBatchKeepsHoweverItIsCut) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    const at::Tensor h = normal({23, 9}, 1).to(type);
    for (const std::int64_t count : {1, 5, 23, 60, 100, 500}) {
      for (const std::int64_t size : {1, 2, 7, 22, 23}) {
        EXPECT_TRUE(at::equal(kept_in_parts(h, count, size), kept_at_once(h, count)))
            << count << " in parts of " << size;
      }
    }
  }
}

TEST(LargestOfParts, TakeEqualsInOrderOfTokenThenLatent) {
  // Few values, each many times: 0 and 1 and 2, below 0 nothing counts.
  for (std::uint64_t index = 0; index < 5; ++index) {
    const at::Tensor h = (2 * normal({17, 8}, index)).round().clamp(-1, 2);
    for (std::int64_t count = 1; count < 60; count += 3) {
      for (const std::int64_t size : {1, 3, 8}) {
        EXPECT_TRUE(at::equal(kept_in_parts(h, count, size), kept_at_once(h, count)))
            << count << " in parts of " << size;
      }
    }
  }
}

TEST(LargestOfParts, KeepNothingOfNothing) {
  const at::Tensor h = -normal({6, 4}, 2).abs();
  EXPECT_EQ(kept_in_parts(h, 3, 2).abs().max().item<double>(), 0);
  EXPECT_TRUE(LargestOfParts(3).kept().empty());
}

TEST(LargestOfParts, HoldTwiceWhatTheyKeepAtMost) {
  // Every part is larger than all before: each adds as much as it may.
  constexpr std::int64_t kCount = 10;
  LargestOfParts largest(kCount);
  std::int64_t offered = 0;
  for (int i = 0; i < 40; ++i) {
    const at::Tensor part = (i + 1) * normal({1, 30}, 3).abs() + i;
    const auto pattern = select(part, largest.rule(), Storage::kSparse).pattern;
    offered += pattern->indices.size(0);
    largest.add({pattern, part.view({-1}).index_select(0, pattern->indices)});
    EXPECT_LE(largest.size(), 2 * kCount + 30);
  }
  EXPECT_GT(offered, 20 * kCount);
}

TEST(EncodeKept, IsWhatEncodeReturnsAndHasItsGradient) {
  for (const Storage storage : {Storage::kSparse, Storage::kDense, Storage::kAuto}) {
    const auto sae = make_sae({{"architecture", "topk"}, {"d_in", 5}, {"d_sae", 12}, {"k", 3}});
    const at::Tensor x = normal({7, 5}, 4);
    const EncodeOptions how{storage, Screening::kOff};
    const auto loss = [](const Codes& h) { return (h.to_dense().relu().square()).sum(); };
    const Codes expected = encode(x, sae->encoder(), LargestOfToken{3}, how);
    const Codes got = encode_kept(x, sae->encoder(), expected.to_sparse(), how);
    EXPECT_EQ(got.is_dense(), expected.is_dense());
    EXPECT_TRUE(at::equal(got.to_dense(), expected.to_dense()));
    const Tensors gradient = gradients(*sae, loss(expected));
    expect_close(gradients(*sae, loss(got)), gradient);
  }
}

}  // namespace
}  // namespace sae

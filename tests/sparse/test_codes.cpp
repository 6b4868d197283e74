#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "sae/sparse/decode.h"
#include "sae/sparse/encoder.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

// [[0, 2, 0], [0, 0, 0], [-1, 0, 3]]
at::Tensor example() { return tensor({0, 2, 0, 0, 0, 0, -1, 0, 3}).view({3, 3}); }

TEST(Codes, StoresEntriesInTokenOrderWithOffsets) {
  const Codes codes = sparse_codes(example());
  EXPECT_FALSE(codes.is_dense());
  EXPECT_EQ(codes.batch(), 3);
  EXPECT_EQ(codes.d_sae(), 3);
  EXPECT_EQ(numbers(codes.values()), (std::vector<double>{2, -1, 3}));
  EXPECT_EQ(indices(codes.pattern()->indices), (std::vector<std::int64_t>{1, 0, 2}));
  EXPECT_EQ(indices(codes.pattern()->offsets), (std::vector<std::int64_t>{0, 1, 1, 3}));
  EXPECT_EQ(indices(codes.pattern()->tokens()), (std::vector<std::int64_t>{0, 2, 2}));
  EXPECT_TRUE(at::equal(codes.to_dense(), example()));
}

TEST(Codes, ToSparseLeavesOutZerosThatASparsePatternHolds) {
  const Codes codes = sparse_codes(example());
  const Codes fewer = codes.with_values(tensor({2, 0, 3})).to_sparse();
  EXPECT_EQ(numbers(fewer.values()), (std::vector<double>{2, 3}));
  EXPECT_EQ(indices(fewer.pattern()->indices), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(indices(fewer.pattern()->offsets), (std::vector<std::int64_t>{0, 1, 1, 2}));
  EXPECT_EQ(codes.to_sparse().pattern(), codes.pattern()) << "nothing to leave out: no copy";
  const Codes none = codes.with_values(tensor({0, 0, 0})).to_sparse();
  EXPECT_EQ(none.values().size(0), 0);
  EXPECT_TRUE(at::equal(none.to_dense(), at::zeros({3, 3}, at::kDouble)));
}

TEST(Codes, BringNumbersPerLatentToEntriesAndBack) {
  const Codes sparse = sparse_codes(example());
  const Codes dense = Codes::from_dense(example());
  const at::Tensor v = tensor({10, 20, 30});
  EXPECT_EQ(numbers(sparse.per_entry(v)), (std::vector<double>{20, 10, 30}));
  EXPECT_EQ(numbers(dense.per_entry(v)), (std::vector<double>{10, 20, 30}));
  for (const Codes& codes : {sparse, dense}) {
    EXPECT_EQ(numbers(codes.sum_per_latent(codes.values() * codes.per_entry(v))),
              (std::vector<double>{-10, 40, 90}));
  }
}

TEST(Codes, ToDenseAndPerEntryAreDifferentiable) {
  const Codes codes = sparse_codes(example());
  const at::Tensor values = codes.values().clone().requires_grad_(true);
  const at::Tensor weight = normal({3, 3}, 1);
  (codes.with_values(values).to_dense() * weight).sum().backward();
  EXPECT_TRUE(at::equal(values.grad(), at::stack({weight[0][1], weight[2][0], weight[2][2]})));
  const at::Tensor v = tensor({1, 1, 1}).requires_grad_(true);
  (codes.per_entry(v) * tensor({5, 6, 7})).sum().backward();
  EXPECT_EQ(numbers(v.grad()), (std::vector<double>{6, 5, 7}));
}

/// Patterns of [B, F]: dense, everything, some with empty rows, nothing.
std::vector<Codes> patterns(std::int64_t batch, std::int64_t d_sae) {
  at::Tensor some = (normal({batch, d_sae}, 5) > 0.7).to(at::kDouble);
  some.slice(0, 1, 3).zero_();
  return {Codes::from_dense(at::ones({batch, d_sae}, at::kDouble)),
          sparse_codes(at::ones({batch, d_sae}, at::kDouble)), sparse_codes(some),
          sparse_codes(at::zeros({batch, d_sae}, at::kDouble))};
}

/// h [B, F] at the entries of a pattern, shaped like its values.
at::Tensor at_pattern(const at::Tensor& h, const Codes& like) {
  if (like.is_dense()) return h;
  return h.index({like.pattern()->tokens(), like.pattern()->indices});
}

at::Tensor leaf(at::IntArrayRef shape, std::uint64_t index) {
  return normal(shape, index).requires_grad_(true);
}

TEST(Codes, PickAndDecodeHaveTheGradientsOfDenseAutograd) {
  constexpr std::int64_t kBatch = 6;
  constexpr std::int64_t kLatents = 10;
  for (const Codes& like : patterns(kBatch, kLatents)) {
    const at::Tensor on = like.with_values(at::ones_like(like.values())).to_dense();
    const at::Tensor x = normal({kBatch, 4}, 1);
    const at::Tensor target = normal({kBatch, 4}, 2);
    std::vector<Tensors> results;
    for (const bool own : {true, false}) {
      Tensors p{{"W_enc", leaf({kLatents, 4}, 11)},
                {"b_enc", leaf({kLatents}, 12)},
                {"W_dec", leaf({kLatents, 4}, 13)},
                {"b_dec", leaf({4}, 14)}};
      at::Tensor x_hat;
      if (own) {
        const EncoderWeights encoder{p["W_enc"], p["b_enc"], p["b_dec"]};
        const Codes h =
            pick(x, encoder, at_pattern(preactivations(x, encoder), like), like.pattern());
        x_hat = decode(h.with_values(h.values().square()), p["W_dec"], p["b_dec"]);
      } else {
        const at::Tensor h = at::mm(x - p["b_dec"], p["W_enc"].t()) + p["b_enc"];
        x_hat = at::mm(h.square() * on, p["W_dec"]) + p["b_dec"];
      }
      (x_hat * target).sum().backward();
      Tensors result{{"x_hat", x_hat}};
      for (const auto& [name, value] : p) result[name] = value.grad();
      results.push_back(result);
    }
    expect_close(results[0], results[1]);
  }
}

TEST(Codes, PrefixesEqualDecodingEachPrefixOnItsOwn) {
  const std::vector<std::int64_t> widths{1, 4, 5, 10};
  for (const Codes& like : patterns(6, 10)) {
    const at::Tensor start = normal(like.values().sizes(), 3);
    std::vector<Tensors> results;
    for (const bool own : {true, false}) {
      Tensors p{{"values", start.clone().requires_grad_(true)},
                {"W_dec", leaf({10, 4}, 13)},
                {"b_dec", leaf({4}, 14)}};
      const Codes codes = like.with_values(p["values"]);
      std::vector<at::Tensor> all;
      if (own) {
        all = decode_prefixes(codes, widths, p["W_dec"], p["b_dec"]);
      } else {
        for (const std::int64_t w : widths) {
          all.push_back(at::mm(codes.to_dense().narrow(1, 0, w), p["W_dec"].narrow(0, 0, w)) +
                        p["b_dec"]);
        }
      }
      const at::Tensor stacked = at::stack(all);
      (stacked * normal(stacked.sizes(), 4)).sum().backward();
      Tensors result{{"reconstructions", stacked}};
      for (const auto& [name, value] : p) result[name] = value.grad();
      results.push_back(result);
    }
    expect_close(results[0], results[1]);
  }
}

TEST(Codes, RefusesWidthsThatDoNotAscendToTheDictionary) {
  const Codes codes = sparse_codes(example());
  const at::Tensor W_dec = normal({3, 2}, 1);
  const at::Tensor b_dec = normal({2}, 2);
  const std::vector<std::vector<std::int64_t>> wrong{{}, {1, 2}, {2, 2, 3}, {2, 1, 3}, {0, 3}, {4}};
  for (const auto& widths : wrong) {
    EXPECT_THROW(decode_prefixes(codes, widths, W_dec, b_dec), std::invalid_argument);
  }
  EXPECT_EQ(decode_prefixes(codes, {3}, W_dec, b_dec).size(), 1U);
}

/// Notes the largest tensor allocated on this thread.
struct LargestAllocation : c10::MemoryReportingInfoBase {
  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
    largest = std::max(largest, size);
  }
  bool memoryProfilingEnabled() const override { return true; }
  std::int64_t largest = 0;
};

TEST(Codes, SparseBackwardMakesNoMatrixOfAllActivations) {
  constexpr std::int64_t kBatch = 256;
  constexpr std::int64_t kLatents = 1024;
  const at::Tensor x = normal({kBatch, 4}, 1);
  const EncoderWeights encoder{leaf({kLatents, 4}, 2), leaf({kLatents}, 3), leaf({4}, 4)};
  const at::Tensor W_dec = leaf({kLatents, 4}, 5);
  const at::Tensor h = preactivations(x, encoder);
  const at::Tensor on = (h > std::get<0>(h.topk(3, 1)).amin(1, true)).to(at::kDouble);
  const auto loss = [&](const c10::intrusive_ptr<Pattern>& pattern) {
    const Codes codes = pick(x, encoder, at_pattern(h, Codes(pattern, {})), pattern);
    return decode(codes.with_values(codes.values().relu()), W_dec, encoder.b_dec).square().sum();
  };
  const auto largest = [&](const c10::intrusive_ptr<Pattern>& pattern) {
    auto seen = std::make_shared<LargestAllocation>();
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, seen);
    loss(pattern).backward();
    return seen->largest;
  };
  const auto matrix = static_cast<std::int64_t>(kBatch * kLatents * sizeof(double));
  EXPECT_GE(largest(Pattern::dense(kBatch, kLatents)), matrix);  // so the measurement works
  const std::int64_t sparse = largest(sparse_codes(on).pattern());
  EXPECT_GT(sparse, 0);
  EXPECT_LE(sparse, matrix / 8);
}

}  // namespace
}  // namespace sae

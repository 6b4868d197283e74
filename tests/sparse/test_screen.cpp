#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/rows.h"
#include "sparse/screen.h"
#include "sparse/screened_batch.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

/// A batch and an encoder on which a screen might go wrong.
struct Case {
  std::string name;
  at::Tensor x;  // [B, D], b_dec subtracted
  EncoderWeights weights;
};

Case make_case(const std::string& name, const at::Tensor& x, const at::Tensor& W_enc,
               const at::Tensor& b_enc) {
  const auto f32 = [](const at::Tensor& t) { return t.to(at::kFloat).contiguous(); };
  return {name, f32(x), {f32(W_enc), f32(b_enc), at::zeros({x.size(1)}, at::kFloat)}};
}

constexpr std::int64_t kTokens = 300;  // more than the probe of 256, and no multiple of a chunk
constexpr std::int64_t kLatents = 1000;

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::int64_t width : {3, 64, 200}) {
    const std::string of_width = " of width " + std::to_string(width);
    const at::Tensor x = normal({kTokens, width}, 1);
    const at::Tensor W = normal({kLatents, width}, 2);
    const at::Tensor none = at::zeros({kLatents}, at::kDouble);
    all.push_back(make_case("normal" + of_width, x, W, none));
    all.push_back(make_case("with biases" + of_width, x, W, 10 * normal({kLatents}, 3)));
    // All latents nearly the same: their order is decided far below bfloat16's precision.
    const at::Tensor tie = W[0] * (1 + 1e-6 * normal({kLatents, 1}, 4));
    all.push_back(make_case("near ties" + of_width, x, tie, none));
    all.push_back(make_case("exact ties" + of_width, x, W[0].expand_as(W), none));
    // Everything is rounded the same way, so no error cancels.
    const at::Tensor halfway = at::full({kTokens, width}, 1 + 0x1p-8 - 0x1p-20, at::kDouble);
    const at::Tensor same = at::full({kLatents, width}, 1 + 0x1p-8 - 0x1p-18, at::kDouble) *
                            (1 + 1e-4 * normal({kLatents, 1}, 5));
    all.push_back(make_case("one-sided rounding" + of_width, halfway, same, none));
    // Token and latent sizes over many orders of magnitude.
    const at::Tensor size = at::pow(10, 4 * normal({kTokens, 1}, 6));
    all.push_back(make_case("any scale" + of_width, x * size,
                            W * at::pow(10, normal({kLatents, 1}, 7)), none));
    all.push_back(make_case("tiny" + of_width, x * 1e-22, W * 1e-20, none));
    // One latent is large where it does not matter, so that a bound common to all is loose.
    at::Tensor spiked = W.clone();
    spiked[5].fill_(0)[0] = 1000 + 0x1p-1;
    all.push_back(make_case("one odd latent" + of_width, x, spiked, none));
  }
  return all;
}

/// What a float32 encoder compares: h [B, F], summed as the screen's exact values are.
at::Tensor exact(const Case& data) {
  at::Tensor h = at::empty({data.x.size(0), data.weights.W_enc.size(0)}, at::kFloat);
  const at::Tensor all = at::arange(h.size(1));
  for (std::int64_t b = 0; b < h.size(0); ++b) {
    rows::dots(data.x.size(1), data.x[b].const_data_ptr<float>(), h.size(1),
               all.const_data_ptr<std::int64_t>(), data.weights.W_enc.const_data_ptr<float>(),
               h[b].mutable_data_ptr<float>());
  }
  return h + data.weights.b_enc;
}

std::vector<bool> kinds_of_product() {
  std::vector<bool> kinds{false};
  if (screen::has_native_bf16()) kinds.push_back(true);
  return kinds;
}

TEST(Screen, NoPreactivationLiesOutsideItsInterval) {
  double closest = 0;
  for (const bool native : kinds_of_product()) {
    for (const Case& data : cases()) {
      // Against float64 and against float32 in two orders of summation.
      const at::Tensor x = data.x.to(at::kDouble);
      const at::Tensor truth =
          at::addmm(data.weights.b_enc.to(at::kDouble), x, data.weights.W_enc.to(at::kDouble).t());
      const at::Tensor product = at::addmm(data.weights.b_enc, data.x, data.weights.W_enc.t());
      const at::Tensor values[] = {truth, exact(data).to(at::kDouble), product.to(at::kDouble)};
      screen::ScreenedBatch batch(data.x, data.weights, native);
      batch.multiply(0, kTokens);
      for (std::int64_t b = 0; b < kTokens; b += 7) {
        const screen::Entries all = batch.candidates(b, -INFINITY);
        ASSERT_EQ(all.size(), static_cast<std::size_t>(kLatents));
        for (const screen::Entry& entry : all) {
          const double radius = static_cast<double>(entry.upper) - entry.value;
          for (const at::Tensor& value : values) {
            const double* row = value.const_data_ptr<double>() + b * kLatents;
            const double error = std::abs(row[entry.latent] - entry.value);
            ASSERT_LE(error, radius) << data.name << ", token " << b << ", latent " << entry.latent;
            closest = std::max(closest, error / radius);
          }
        }
      }
    }
  }
  EXPECT_GT(closest, 0.9) << "no case comes near the bound, so this test proves little";
}

std::vector<std::pair<std::string, SelectionRule>> rules() {
  return {{"top 1", LargestOfToken{1}},
          {"top 7", LargestOfToken{7}},
          {"top 30", LargestOfToken{30}},
          {"batch top 1", LargestOfBatch{1}},
          {"batch top 2000", LargestOfBatch{2000}},
          {"positive", Positive{}},
          {"above one", Above{at::scalar_tensor(2.5, at::kFloat)}},
          {"above each", Above{(3 + normal({kLatents}, 20)).to(at::kFloat)}}};
}

TEST(Screen, KeepsExactlyWhatTheSameNumbersKeepWithoutIt) {
  int found = 0;
  for (const bool native : kinds_of_product()) {
    for (const Case& data : cases()) {
      const at::Tensor h = exact(data);
      for (const auto& [name, rule] : rules()) {
        const auto got = screen::encode(data.x, data.weights, rule, native);
        if (!got) continue;  // too many candidates
        ++found;
        const Selection expected = select(h, rule, Storage::kSparse);
        const Pattern& pattern = *expected.pattern;
        const std::string what = data.name + ", " + name + (native ? ", bf16" : ", f32");
        ASSERT_TRUE(at::equal(got->pattern->offsets, pattern.offsets)) << what;
        ASSERT_TRUE(at::equal(got->pattern->indices, pattern.indices)) << what;
        ASSERT_TRUE(at::equal(got->values, h.index({pattern.tokens(), pattern.indices}))) << what;
      }
    }
  }
  EXPECT_GT(found, 60) << "most cases gave up";
}

TEST(Screen, TreatsTokensWithoutAMeaningAsTheEncoderDoes) {
  Case data = make_case("", normal({kTokens, 40}, 1), normal({kLatents, 40}, 2),
                        at::full({kLatents}, -20, at::kDouble));
  data.x[3].fill_(NAN);
  data.x[4][7] = INFINITY;
  data.x[5].zero_();
  data.x[6].fill_(3e38F);
  const at::Tensor h = exact(data);
  for (const bool native : kinds_of_product()) {
    for (const auto& [name, rule] : rules()) {
      const auto got = screen::encode(data.x, data.weights, rule, native);
      // A batch with NaN is not screened as a whole.
      if (!got) {
        EXPECT_TRUE(name.starts_with("batch")) << name;
        continue;
      }
      const Selection expected = select(h, rule, Storage::kSparse);
      EXPECT_TRUE(at::equal(got->pattern->indices, expected.pattern->indices)) << name;
      EXPECT_TRUE(at::equal(got->pattern->offsets, expected.pattern->offsets)) << name;
    }
  }
}

TEST(Screen, GivesUpWhereItCannotPay) {
  const Case data = make_case("", normal({kTokens, 40}, 1), normal({kLatents, 40}, 2),
                              at::zeros({kLatents}, at::kDouble));
  EXPECT_FALSE(screen::encode(data.x, data.weights, Positive{}));  // half of all
  EXPECT_FALSE(screen::encode(data.x, data.weights, LargestOfToken{100}));
  EXPECT_FALSE(screen::encode(data.x, data.weights, LargestOfBatch{100 * kTokens}));
  EXPECT_TRUE(screen::encode(data.x, data.weights, LargestOfToken{10}));
}

TEST(Screen, IsOnlyForFloat32OnACpu) {
  const Case data = make_case("", normal({4, 40}, 1), normal({kLatents, 40}, 2),
                              at::zeros({kLatents}, at::kDouble));
  EXPECT_TRUE(screen::possible(data.x, data.weights));
  EXPECT_FALSE(screen::possible(data.x.to(at::kDouble), data.weights));
  EXPECT_FALSE(screen::possible(data.x.slice(0, 0, 0), data.weights));
  EncoderWeights transposed = data.weights;
  transposed.W_enc = transposed.W_enc.t().contiguous().t();
  EXPECT_FALSE(screen::possible(data.x, transposed));
}

}  // namespace
}  // namespace sae

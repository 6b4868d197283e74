#include <gtest/gtest.h>

#include <cmath>

#include "models/batch_statistics.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

TEST(DenseStatistics, AgreeWithFormulas) {
  for (const std::int64_t d_sae : {1, 63, 1500}) {
    const at::Tensor f = normal({17, d_sae}, 1).relu().to(at::kFloat);
    const at::Tensor slope = normal({17, d_sae}, 2).to(at::kFloat);
    const DenseStatistics got = dense_statistics(f, slope);
    EXPECT_TRUE(at::equal(got.fired, (f > 0).to(at::kFloat).sum(0)));
    expect_close(got.magnitude, f.to(at::kDouble).sum(0), "magnitude", 1e-6);
    expect_close(got.contribution, (f * slope).to(at::kDouble).abs().sum(0), "contribution", 1e-6);
    EXPECT_EQ(got.min_positive.item<float>(), f.masked_select(f > 0).min().item<float>());
    EXPECT_FALSE(dense_statistics(f, {}).contribution.defined());
  }
}

TEST(DenseStatistics, NothingFiresInZeros) {
  const DenseStatistics got = dense_statistics(at::zeros({3, 5}), {});
  EXPECT_EQ(got.fired.max().item<float>(), 0);
  EXPECT_EQ(got.min_positive.item<float>(), INFINITY);
}

TEST(DenseStatistics, AreThoseOfTheOtherPath) {
  const auto sae = make_autoencoder(config_from_json(
      Json{{"architecture", "atm"}, {"d_in", 7}, {"d_sae", 40}, {"mask", Json::object()}}, "test"));
  sae->initialise(1);
  const at::Tensor x = normal({50, 7}, 3).to(at::kFloat);
  std::vector<BatchStatistics> both;
  for (const Storage storage : {Storage::kDense, Storage::kSparse}) {
    sae->set_encoding({storage, Screening::kOff});
    const Forward pass = sae->forward(x, {});
    total(sae->losses(pass, {})).backward();
    both.push_back(sae->statistics(pass));
    sae->zero_grad();
  }
  EXPECT_TRUE(at::equal(both[0].fired, both[1].fired));
  expect_close(both[0].magnitude, both[1].magnitude, "magnitude", 1e-5);
  expect_close(both[0].contribution, both[1].contribution, "contribution", 1e-5);
  EXPECT_GT(both[0].contribution.max().item<float>(), 0);
  expect_close(both[0].min_positive, both[1].min_positive, "min_positive", 1e-5);
  expect_close(both[0].l0(), both[1].l0(), "l0", 1e-6);
}

}  // namespace
}  // namespace sae

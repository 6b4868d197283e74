#include <gtest/gtest.h>

#include "sae/base/error.h"
#include "sae/models/matryoshka.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

using Widths = std::vector<std::int64_t>;

Widths widths_of(std::int64_t d_sae, const Widths& widths = {}) {
  MatryoshkaOptions options;
  options.batch_topk.base.d_in = 2;
  options.batch_topk.base.d_sae = d_sae;
  options.widths = widths;
  return Matryoshka(options).widths();
}

TEST(Matryoshka, HasFourWidthsUnlessToldOtherwise) {
  EXPECT_EQ(widths_of(256), (Widths{8, 32, 128, 256}));
  EXPECT_EQ(widths_of(20), (Widths{2, 10, 20}));
  EXPECT_EQ(widths_of(3), (Widths{1, 3}));
  EXPECT_EQ(widths_of(1), (Widths{1}));
  EXPECT_EQ(widths_of(9, {1, 4, 9}), (Widths{1, 4, 9}));
}

TEST(Matryoshka, RefusesWidthsThatDoNotAscendToTheDictionary) {
  for (const Widths& widths :
       {Widths{4, 8}, Widths{4, 4, 9}, Widths{5, 3, 9}, Widths{0, 9}, Widths{10}}) {
    EXPECT_THROW(widths_of(9, widths), ConfigError);
  }
  try {
    widths_of(9, {4, 8});
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "model.widths: got [4, 8], expected ascending sizes that end with d_sae = 9");
  }
}

TEST(Matryoshka, AveragesTheErrorsOfItsPrefixes) {
  const std::shared_ptr<Autoencoder> sae = make_sae(
      {{"architecture", "matryoshka"}, {"d_in", 3}, {"d_sae", 3}, {"k", 2}, {"widths", {1, 2, 3}}});
  {
    const at::NoGradGuard no_grad;
    sae->W_enc.copy_(at::eye(3));
    sae->W_dec.copy_(at::eye(3));
    sae->b_enc.zero_();
    sae->b_dec.zero_();
  }
  // Two of three are kept, 3 and 2: prefixes reconstruct (0 0 0), (0 3 0) and (0 3 2).
  const at::Tensor x = tensor({1, 3, 2}).view({1, 3});
  for (const Storage storage : {Storage::kSparse, Storage::kDense}) {
    set_storage(*sae, storage);
    const Forward pass = sae->forward(x, {});
    ASSERT_EQ(pass.reconstructions.size(), 3U);
    EXPECT_EQ(numbers(pass.reconstructions[0]), (std::vector<double>{0, 0, 0}));
    EXPECT_EQ(numbers(pass.reconstructions[1]), (std::vector<double>{0, 3, 0}));
    EXPECT_EQ(numbers(pass.x_hat), (std::vector<double>{0, 3, 2}));
    EXPECT_NEAR(sae->losses(pass, {})[0].second.item<double>(), (14 + 5 + 1) / 3.0, 1e-12);
  }
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>

#include <cmath>

#include "sae/models/batch_topk.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

/// W_enc and W_dec are the identity, biases 0: h = x.
std::shared_ptr<BatchTopK> make(double k, double decay = 0.75) {
  const std::shared_ptr<Autoencoder> sae = make_sae({{"architecture", "batch_topk"},
                                                     {"d_in", 3},
                                                     {"d_sae", 3},
                                                     {"k", k},
                                                     {"threshold_decay", decay}});
  const at::NoGradGuard no_grad;
  sae->W_enc.copy_(at::eye(3));
  sae->W_dec.copy_(at::eye(3));
  sae->b_enc.zero_();
  sae->b_dec.zero_();
  return std::dynamic_pointer_cast<BatchTopK>(sae);
}

at::Tensor inputs() { return tensor({1, 5, 2, 3, -4, 9}).view({2, 3}); }

std::int64_t kept(double k) {
  return make(k)->forward(inputs(), {}).latents.to_sparse().values().size(0);
}

TEST(BatchTopK, KeepsFloorOfKTimesBAndAtLeastOne) {
  EXPECT_EQ(kept(1), 2);
  EXPECT_EQ(kept(1.49), 2);
  EXPECT_EQ(kept(1.5), 3);
  EXPECT_EQ(kept(0.1), 1);
  EXPECT_EQ(kept(100), 5) << "all that are positive";
}

void train(BatchTopK& sae, const at::Tensor& x) {
  sae.observe(sae.statistics(sae.forward(x, {})), {});
}

TEST(BatchTopK, AveragesTheSmallestKeptValueIntoItsThreshold) {
  const auto sae = make(1.5);
  EXPECT_LT(sae->threshold().item<double>(), 0) << "not yet known";
  train(*sae, inputs());  // keeps 9, 5, 3
  EXPECT_EQ(sae->threshold().item<double>(), 3);
  train(*sae, 2 * inputs());
  EXPECT_EQ(sae->threshold().item<double>(), 0.75 * 3 + 0.25 * 6);
  train(*sae, -inputs().abs());
  EXPECT_EQ(sae->threshold().item<double>(), 3.75) << "nothing fired";
}

TEST(BatchTopK, InfersByItsThresholdWhateverTheBatch) {
  const auto sae = make(1.5);
  for (const Storage storage : {Storage::kSparse, Storage::kDense}) {
    set_storage(*sae, storage);
    buffer(*sae, "threshold").fill_(-1);
    EXPECT_EQ(numbers(sae->encode(inputs()).to_dense()), (std::vector<double>{1, 5, 2, 3, 0, 9}))
        << "without a threshold whatever is positive";
    train(*sae, inputs());  // 3, and 3 is not above 3
    EXPECT_EQ(numbers(sae->encode(inputs()).to_dense()), (std::vector<double>{0, 5, 0, 0, 0, 9}));
    EXPECT_EQ(numbers(sae->encode(inputs().slice(0, 0, 1)).to_dense()),
              (std::vector<double>{0, 5, 0}));
  }
}

TEST(BatchTopK, TrainsAlikeWhateverItsThresholdIs) {
  const auto sae = make(1.5);
  const at::Tensor expected = sae->forward(inputs(), {}).x_hat;
  for (const double threshold : {0.0, 1e-3, 2.9, 4.0, 5.0, 1e6, double(NAN), double(INFINITY)}) {
    buffer(*sae, "threshold").fill_(threshold);
    EXPECT_TRUE(at::equal(sae->forward(inputs(), {}).x_hat, expected)) << threshold;
  }
}

}  // namespace
}  // namespace sae

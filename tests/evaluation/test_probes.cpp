#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "sae/evaluation/probes.h"
#include "support/golden_file.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

/// Largest difference, relative to the largest expected number.
double difference(const at::Tensor& got, const at::Tensor& expected) {
  const at::Tensor e = expected.to(at::kDouble);
  return ((got.to(at::kDouble) - e).abs().max() / e.abs().max()).item<double>();
}

struct Trainer {
  GoldenFile golden{"trainer"};
  at::Tensor y = golden.longs("y");

  ProbeDraws draws(bool shuffled) const {
    ProbeDraws draws;
    draws.initial = {golden["W"], golden["b"]};
    if (shuffled) {
      draws.orders = golden.longs("orders").unbind(0);
    } else {
      draws.orders.assign(50, at::arange(520, at::kLong));
    }
    return draws;
  }
  LinearProbe train(const MultiProbeTraining& how, bool shuffled, at::ScalarType dtype,
                    bool sparse = false) const {
    Codes x = Codes::from_dense(golden["x"].to(dtype));
    if (sparse) x = x.to_sparse();
    return train_multi_probe(x, y, 26, how, 0, draws(shuffled));
  }
};

TEST(Probes, OneFullBatchStepIsSaeBenchs) {
  const Trainer t;
  const LinearProbe probe =
      t.train({.epochs = 1, .batch_size = 520, .weight_decay = 1e-4}, false, at::kDouble);
  EXPECT_LT(difference(probe.W, t.golden["full_1.W"]), 1e-9);
  EXPECT_LT(difference(probe.b, t.golden["full_1.b"]), 1e-9);
}

TEST(Probes, FiftyEpochsOfFullBatchesAreSaeBenchs) {
  const Trainer t;
  const MultiProbeTraining how{.epochs = 50, .batch_size = 520, .weight_decay = 1e-4};
  const LinearProbe probe = t.train(how, false, at::kDouble);
  EXPECT_LT(difference(probe.W, t.golden["full_50.W"]), 1e-9);
  EXPECT_LT(difference(probe.b, t.golden["full_50.b"]), 1e-9);
}

TEST(Probes, SinglePrecisionStaysWithinItsRounding) {
  const Trainer t;
  const MultiProbeTraining how{.epochs = 50, .batch_size = 520, .weight_decay = 1e-4};
  const LinearProbe probe = t.train(how, false, at::kFloat);
  EXPECT_LT(difference(probe.W, t.golden["full_50_f32.W"]), 1e-3);
  const Codes x = Codes::from_dense(t.golden["x"]);
  const at::Tensor mine = probe_scores(probe, x);
  const at::Tensor theirs = probe_scores({t.golden["full_50_f32.W"], t.golden["full_50_f32.b"]}, x);
  const at::Tensor differ = (mine > 0).ne(theirs > 0).logical_and(theirs.abs() >= 1e-3);
  EXPECT_EQ(differ.sum().item<std::int64_t>(), 0);
}

TEST(Probes, ShuffledMiniBatchesAreSaeBenchs) {
  const Trainer t;
  const MultiProbeTraining how{.epochs = 10, .batch_size = 64, .weight_decay = 1e-4};
  const LinearProbe probe = t.train(how, true, at::kDouble);
  EXPECT_LT(difference(probe.W, t.golden["mini.W"]), 1e-9);
  EXPECT_LT(difference(probe.b, t.golden["mini.b"]), 1e-9);
}

TEST(Probes, TheL1PenaltyIsSaeBenchsOnDenseAndOnSparseSamples) {
  const Trainer t;
  const MultiProbeTraining how{
      .epochs = 10, .batch_size = 100, .weight_decay = 1e-6, .l1_decay = 0.01};
  for (const bool sparse : {false, true}) {
    const LinearProbe probe = t.train(how, true, at::kDouble, sparse);
    EXPECT_LT(difference(probe.W, t.golden["l1.W"]), 1e-8) << sparse;
    EXPECT_LT(difference(probe.b, t.golden["l1.b"]), 1e-8) << sparse;
  }
}

TEST(Probes, FollowTheirSeedAndNothingElse) {
  const Codes x = Codes::from_dense(normal({60, 5}, 1));
  const at::Tensor y = at::arange(60, at::kLong) % 3;
  const MultiProbeTraining how{.epochs = 3, .batch_size = 16};
  const LinearProbe one = train_multi_probe(x, y, 3, how, 7);
  EXPECT_TRUE(at::equal(one.W, train_multi_probe(x, y, 3, how, 7).W));
  EXPECT_FALSE(at::equal(one.W, train_multi_probe(x, y, 3, how, 8).W));
}

TEST(Probes, TheNumberOfThreadsChangesNothing) {
  const at::Tensor x = normal({70, 37}, 1).relu().to(at::kFloat);
  const at::Tensor y = at::arange(70, at::kLong) % 5;
  const MultiProbeTraining how{.epochs = 3, .batch_size = 16, .l1_decay = 0.01};
  const int before = at::get_num_threads();
  for (const Codes& codes : {Codes::from_dense(x), Codes::from_dense(x).to_sparse()}) {
    at::set_num_threads(1);
    const LinearProbe one = train_multi_probe(codes, y, 5, how, 7);
    at::set_num_threads(3);
    const LinearProbe three = train_multi_probe(codes, y, 5, how, 7);
    EXPECT_TRUE(at::equal(one.W, three.W) && at::equal(one.b, three.b));
  }
  at::set_num_threads(before);
}

TEST(Probes, BadLabelsAreRefused) {
  const Codes x = Codes::from_dense(normal({4, 3}, 1));
  const auto message = [&](const at::Tensor& y, std::int64_t classes) -> std::string {
    try {
      train_multi_probe(x, y, classes, {}, 0);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "none";
  };
  EXPECT_EQ(message(integers({0, 1, 2, 1}), 2),
            "train_multi_probe: got labels from 0 to 2, expected 0 to 1");
  EXPECT_EQ(message(integers({0, 1, 0, 1}), 3),
            "train_multi_probe: class 2 has no samples, expected some of each");
  EXPECT_EQ(message(integers({0, 1}), 2),
            "train_multi_probe: expected an integer label for each of 4 samples");
}

TEST(Probes, TheBinaryOneKeepsSaeBenchsEpoch) {
  const GoldenFile golden("sparse_probing");
  const at::Tensor rows = golden.longs("llm.1.0.train");
  const at::Tensor held = golden.longs("llm.1.0.test");
  const auto samples = [&](const char* name, const at::Tensor& which) {
    return Codes::from_dense(golden[name].reshape({-1, 16}).index_select(0, which));
  };
  const auto labels = [](const at::Tensor& which, std::int64_t each) {
    return which.div(each, "floor").eq(0).to(at::kLong);
  };
  ProbeDraws draws;
  draws.initial = {golden["dense.W"], golden["dense.b"]};
  draws.orders = golden.longs("dense.orders").unbind(0);
  const BinaryProbe best =
      train_binary_probe(samples("train.llm", rows), labels(rows, 200), samples("test.llm", held),
                         labels(held, 50), {.batch_size = 50}, 0, draws);
  EXPECT_EQ(best.epochs, golden["dense.orders"].size(0)) << "stops when SAEBench stops";
  EXPECT_NEAR(best.test_accuracy, golden.number("dense.accuracy"), 1e-6);
  EXPECT_LT(difference(best.probe.W, golden["dense.best.W"]), 1e-3);
}

TEST(Probes, SelectedSamplesAreThoseRows) {
  const at::Tensor dense = normal({7, 9}, 3).relu();
  const Codes sparse = Codes::from_dense(dense).to_sparse();
  const at::Tensor rows = integers({6, 0, 3, 3});
  expect_close(rows_of(sparse, rows).to_dense(), dense.index_select(0, rows));
  expect_close(rows_of(Codes::from_dense(dense), rows).to_dense(), dense.index_select(0, rows));
}

TEST(Probes, RandomOrdersArePermutations) {
  const at::Tensor order = random_order(1000, 1, 2);
  EXPECT_TRUE(at::equal(std::get<0>(order.sort()), at::arange(1000, at::kLong)));
  EXPECT_FALSE(at::equal(order, random_order(1000, 1, 3)));
}

}  // namespace
}  // namespace sae

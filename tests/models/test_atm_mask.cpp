#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "sae/models/atm_mask.h"
#include "support/dense_reference.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

using Numbers = std::vector<double>;

at::Tensor floats(const Numbers& values) { return tensor(values).to(at::kFloat); }

/// A step of 10 tokens with these means.
BatchStatistics step_of(const Numbers& magnitude, const Numbers& frequency,
                        const Numbers& contribution) {
  BatchStatistics batch;
  batch.tokens = 10;
  batch.magnitude = floats(magnitude) * 10;
  batch.fired = floats(frequency) * 10;
  batch.contribution = floats(contribution) * 10;
  batch.min_positive = at::ones({});
  return batch;
}

/// A mask whose importance is `importance`, masking from step 0 on, with no floor.
AtmMask mask_of(const Numbers& importance, AtmMaskOptions options = {}) {
  options.importance = Importance::kMagnitude;
  options.warmup_steps = 0;
  AtmMask mask(static_cast<std::int64_t>(importance.size()), options);
  mask.observe(step_of(importance, importance, importance));
  return mask;
}

AtmMaskOptions no_floor() {
  AtmMaskOptions options;
  options.min_keep = 0;
  return options;
}

const Numbers kMagnitude{1, 2, 3};
const Numbers kFrequency{0.5, 0.25, 0};
const Numbers kContribution{4, 1, 1};

TEST(AtmMask, CombinesTheThreeSignalsByEachRule) {
  const auto importance = [](Importance rule) {
    AtmMaskOptions options;
    options.importance = rule;
    options.weights = {1, 10, 100};
    AtmMask mask(3, options);
    mask.observe(step_of(kMagnitude, kFrequency, kContribution));
    return mask.importance();
  };
  expect_close(importance(Importance::kMagnitude), tensor(kMagnitude), "", 1e-5);
  expect_close(importance(Importance::kFrequency), tensor(kFrequency), "", 1e-5);
  expect_close(importance(Importance::kContribution), tensor(kContribution), "", 1e-5);
  expect_close(importance(Importance::kProduct), tensor({2, 0.5, 0}), "", 1e-5);
  // Divided by their means 2, 0.25 and 2: (.5, 1, 1.5), (2, 1, 0), (2, .5, .5).
  expect_close(importance(Importance::kMean), tensor({4.5 / 3, 2.5 / 3, 2.0 / 3}), "", 1e-5);
  expect_close(importance(Importance::kWeighted), tensor({220.5, 61, 51.5}), "", 1e-5);
}

TEST(AtmMask, AveragesExponentiallyAndCorrectsTheBiasOfItsStart) {
  AtmMaskOptions options;
  options.importance = Importance::kMagnitude;
  options.decay = 0.9;
  AtmMask mask(2, options);
  EXPECT_EQ(numbers(mask.importance()), (Numbers{0, 0}));
  mask.observe(step_of({5, 1}, {0, 0}, {0, 0}));
  expect_close(mask.importance(), tensor({5, 1}), "one step: its own mean", 1e-6);
  mask.observe(step_of({2, 1}, {0, 0}, {0, 0}));
  expect_close(mask.importance(), tensor({(0.09 * 5 + 0.1 * 2) / 0.19, 1}), "", 1e-6);
  expect_close(mask.named_buffers()["magnitude"], tensor({0.09 * 5 + 0.1 * 2, 0.19}), "", 1e-6);
}

TEST(AtmMask, HasTheThresholdAndProbabilitiesOfThePaper) {
  AtmMaskOptions options;
  options.rate = 0.5;
  options.threshold = 1;
  const AtmMask mask = mask_of({1, 2, 3, 6}, options);
  const double theta = 3 + std::sqrt(3.5);  // mean 3, variance (4 + 1 + 0 + 9) / 4
  EXPECT_NEAR(mask.theta(0).item<double>(), theta, 1e-5);
  Numbers p;
  for (const double value : {1, 2, 3}) p.push_back(1 - std::exp(-0.5 * (theta - value) / theta));
  p.push_back(0);
  expect_close(mask.mask_probability(0), tensor(p), "", 1e-6);
}

TEST(AtmMask, MasksNothingWhereThetaIsNotPositive) {
  AtmMaskOptions options = no_floor();
  options.threshold = -10;
  options.rate = 100;
  const AtmMask mask = mask_of({1, 2, 3, 6}, options);
  ASSERT_LT(mask.theta(0).item<double>(), 0);
  EXPECT_EQ(numbers(mask.mask_probability(0)), (Numbers{0, 0, 0, 0}));
  EXPECT_EQ(numbers(mask.sample(1, 0)), (Numbers{1, 1, 1, 1}));
  const AtmMask silent = mask_of({0, 0, 0, 0}, options);  // theta = 0
  EXPECT_EQ(numbers(silent.sample(1, 0)), (Numbers{1, 1, 1, 1}));
}

TEST(AtmMask, WaitsForTheEndOfTheWarmUp) {
  AtmMaskOptions options = no_floor();
  options.warmup_steps = 100;
  options.rate = 1e6;
  options.importance = Importance::kMagnitude;
  AtmMask mask(4, options);
  mask.observe(step_of({1, 2, 3, 6}, {1, 1, 1, 1}, {1, 1, 1, 1}));
  EXPECT_FALSE(mask.active(99));
  EXPECT_EQ(numbers(mask.sample(1, 99)), (Numbers{1, 1, 1, 1}));
  EXPECT_TRUE(mask.active(100));
  EXPECT_EQ(numbers(mask.sample(1, 100)), (Numbers{0, 0, 0, 1}));
}

TEST(AtmMask, AlternatesTwoThresholdsInCycles) {
  AtmMaskOptions options;
  options.threshold = 2;
  options.relaxed_threshold = -0.5;
  options.cycle = 4;
  const auto pruning = [&](double active_fraction) {
    options.active_fraction = active_fraction;
    const AtmMask mask = mask_of({1, 2, 3, 6}, options);
    std::string out;
    for (std::int64_t step = 0; step < 9; ++step) {
      const double c = (mask.theta(step).item<double>() - 3) / std::sqrt(3.5);
      EXPECT_NEAR(c, c > 0 ? 2 : -0.5, 1e-5);
      out += c > 0 ? 'P' : 'r';
    }
    return out;
  };
  EXPECT_EQ(pruning(1), "PPPPPPPPP");
  EXPECT_EQ(pruning(0.5), "PPrrPPrrP");
  EXPECT_EQ(pruning(0.25), "PrrrPrrrP");
  EXPECT_EQ(pruning(0), "rrrrrrrrr");
}

TEST(AtmMask, MasksEachLatentAtItsProbability) {
  AtmMaskOptions options = no_floor();
  options.rate = 2;
  const AtmMask mask = mask_of({1, 2, 3, 4, 6}, options);
  constexpr int kSteps = 3000;
  at::Tensor masked = at::zeros({5});
  for (int step = 0; step < kSteps; ++step) masked += 1 - mask.sample(7, step);
  const Numbers share = numbers(masked / kSteps);
  const Numbers p = numbers(mask.mask_probability(0));
  for (std::size_t i = 0; i < share.size(); ++i) {
    EXPECT_NEAR(share[i], p[i], 4 * std::sqrt(p[i] * (1 - p[i]) / kSteps) + 1e-9) << i;
  }
  EXPECT_EQ(share.back(), 0);
}

TEST(AtmMask, BringsTheMostImportantBackUntilTheFloorIsMet) {
  AtmMaskOptions options;
  options.rate = 1e6;  // everything below theta is masked
  const auto kept = [&](double min_keep) {
    options.min_keep = min_keep;
    return numbers(mask_of({4, 1, 9, 2, 3, 1}, options).sample(1, 0));
  };
  EXPECT_EQ(kept(0), (Numbers{0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(kept(0.5), (Numbers{1, 0, 1, 0, 1, 0}));
  EXPECT_EQ(kept(0.51), (Numbers{1, 0, 1, 1, 1, 0})) << "rounded up";
  EXPECT_EQ(kept(0.8), (Numbers{1, 1, 1, 1, 1, 0})) << "the first among equals";
  EXPECT_EQ(kept(1), (Numbers{1, 1, 1, 1, 1, 1}));
}

TEST(AtmMask, NestedDrawsKeepTheMostImportantFloorOfFToTheU) {
  AtmMaskOptions options = no_floor();
  options.draw = MaskDraw::kNested;
  constexpr std::int64_t kLatents = 64;
  const at::Tensor value = normal({kLatents}, 1).abs();
  const AtmMask mask = mask_of(numbers(value), options);
  const at::Tensor order = value.argsort(/*dim=*/0, /*descending=*/true);
  int below_8 = 0;
  constexpr int kSteps = 2000;
  for (int step = 0; step < kSteps; ++step) {
    Rng rng(9, Stream::kMask, static_cast<std::uint64_t>(step));
    const auto width = static_cast<std::int64_t>(std::pow(kLatents, rng.uniform()));
    const at::Tensor expected = at::zeros({kLatents}).index_fill(0, order.narrow(0, 0, width), 1);
    ASSERT_TRUE(at::equal(mask.sample(9, step), expected)) << step;
    below_8 += width < 8;
  }
  // P(width < 8) = log 8 / log 64.
  EXPECT_NEAR(below_8 / double(kSteps), 0.5, 4 * std::sqrt(0.25 / kSteps));

  options.min_keep = 0.25;
  const AtmMask bounded = mask_of(numbers(value), options);
  for (int step = 0; step < 50; ++step) EXPECT_GE(bounded.sample(9, step).sum().item<double>(), 16);
  const AtmMask equals = mask_of({2, 2, 2, 2}, options);
  for (int step = 0; step < 20; ++step) {
    EXPECT_TRUE((equals.sample(9, step).diff() <= 0).all().item<bool>()) << "the first stay";
  }
}

TEST(AtmMask, InExpectationALatentTakesPartWithTheChanceThatANestedDrawKeepsIt) {
  AtmMaskOptions options = no_floor();
  options.importance = Importance::kFrequency;
  options.draw = MaskDraw::kNested;
  constexpr std::int64_t kLatents = 30;
  const at::Tensor value = normal({kLatents}, 1).abs();
  for (const double floor : {0.0, 0.2}) {
    options.min_keep = floor;
    const AtmMask drawn = mask_of(numbers(value), options);
    at::Tensor kept = at::zeros({kLatents});
    constexpr int kSteps = 4000;
    for (int step = 0; step < kSteps; ++step) kept += drawn.sample(9, step);

    AtmMaskOptions expected = options;
    expected.draw = MaskDraw::kExpected;
    expected.nested_weight = 0.7;
    const Nesting nesting = mask_of(numbers(value), expected).nesting({0, 9});
    expect_close(nesting.chance, 0.3 + 0.7 * (kept / kSteps).to(at::kDouble), "chance",
                 0.7 * 4 * 0.5 / std::sqrt(kSteps));
    const at::Tensor order = value.argsort(/*dim=*/0, /*descending=*/true);
    EXPECT_TRUE(at::equal(nesting.rank.index_select(0, order), at::arange(kLatents)));
    for (std::int64_t rank = 1; rank <= kLatents; ++rank) {
      const double q = rank <= floor * kLatents ? 1 : 1 - 0.7 * std::log(rank) / std::log(kLatents);
      EXPECT_NEAR(nesting.chance[order[rank - 1]].item<double>(), q, 1e-12) << rank;
    }
  }
  const Nesting equals = mask_of({2, 2, 2, 2}, options).nesting({0, 0});
  EXPECT_TRUE(at::equal(equals.rank, at::arange(4))) << "the first among equals";
  EXPECT_EQ(mask_of({3}, options).nesting({0, 0}).chance[0].item<double>(), 1) << "of one latent";
}

TEST(AtmMask, RankedDrawsKeepEachLatentByItselfWithTheChanceOfANestedDraw) {
  AtmMaskOptions options = no_floor();
  options.draw = MaskDraw::kRanked;
  constexpr std::int64_t kLatents = 16;
  const at::Tensor value = normal({kLatents}, 1).abs();
  const at::Tensor order = value.argsort(/*dim=*/0, /*descending=*/true);
  constexpr int kSteps = 4000;
  for (const double floor : {0.0, 0.25}) {
    options.min_keep = floor;
    const AtmMask mask = mask_of(numbers(value), options);
    at::Tensor drawn = at::empty({kSteps, kLatents});
    for (int step = 0; step < kSteps; ++step) drawn[step] = mask.sample(9, step);
    drawn = drawn.index_select(1, order).to(at::kDouble);
    const Numbers share = numbers(drawn.mean(0));
    for (std::int64_t rank = 1; rank <= kLatents; ++rank) {
      const double q = rank <= floor * kLatents ? 1 : 1 - std::log(rank) / std::log(kLatents);
      EXPECT_NEAR(share[static_cast<std::size_t>(rank - 1)], q,
                  4 * std::sqrt(q * (1 - q) / kSteps) + 1e-9)
          << rank << " floor " << floor;
    }
    // Apart from each other: rank 6 without rank 5, which a nested draw never keeps.
    const double alone = ((1 - drawn.select(1, 4)) * drawn.select(1, 5)).mean().item<double>();
    const double expected = (1 - share[4]) * share[5];
    EXPECT_NEAR(alone, expected, 4 * std::sqrt(expected / kSteps)) << "floor " << floor;
    ASSERT_GT(expected, 0.1);
  }
  EXPECT_EQ(numbers(mask_of({3}, options).sample(9, 1)), (Numbers{1})) << "of one latent";
}

TEST(AtmMask, TheNestedWeightStaysAndThenGoesToItsEndOverTheRun) {
  AtmMaskOptions options;
  options.draw = MaskDraw::kExpected;
  options.nested_weight = 0.8;
  options.nested_weight_end = 0.4;
  options.nested_weight_hold = 0.5;
  const AtmMask mask(4, options);
  const auto weight = [&](std::int64_t step) { return mask.nested_weight({step, 0, 1000}); };
  EXPECT_EQ(weight(0), 0.8);
  EXPECT_EQ(weight(500), 0.8);
  EXPECT_NEAR(weight(750), 0.6, 1e-12);
  EXPECT_NEAR(weight(1000), 0.4, 1e-12);
  EXPECT_EQ(mask.nested_weight({900, 0}), 0.8) << "of a run without an end";
  options.nested_weight_hold = 1;
  EXPECT_EQ(AtmMask(4, options).nested_weight({999, 0, 1000}), 0.8);
}

TEST(AtmMask, HasThreeFormsOfInference) {
  AtmMaskOptions options;
  options.rate = 0.5;
  const auto factor = [&](MaskInference inference) {
    options.inference = inference;
    return mask_of({1, 2, 3, 6}, options).inference_factor();
  };
  EXPECT_FALSE(factor(MaskInference::kNone).defined());
  expect_close(factor(MaskInference::kExpected),
               1 - mask_of({1, 2, 3, 6}, options).mask_probability(0));
  EXPECT_EQ(numbers(factor(MaskInference::kHard)), (Numbers{0, 0, 0, 1}));
  EXPECT_FALSE(AtmMask(4, options).inference_factor().defined()) << "nothing seen yet";
}

TEST(AtmMask, IsAFunctionOfSeedStepAndStatisticsOnAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  constexpr std::int64_t kLatents = 200'000;  // enough for parallel reductions
  for (const MaskDraw draw : {MaskDraw::kBernoulli, MaskDraw::kNested, MaskDraw::kRanked}) {
    AtmMaskOptions options = no_floor();
    options.draw = draw;
    const AtmMask mask = mask_of(numbers(normal({kLatents}, 1).abs()), options);
    at::set_num_threads(1);
    const at::Tensor one = mask.sample(3, 4);
    const at::Tensor theta = mask.theta(4);
    EXPECT_TRUE(at::equal(mask.sample(3, 4), one));
    EXPECT_FALSE(at::equal(mask.sample(3, 5), one));
    for (const int threads : {2, 3, 4}) {
      at::set_num_threads(threads);
      EXPECT_TRUE(at::equal(mask.theta(4), theta)) << name_of(draw) << " " << threads;
      EXPECT_TRUE(at::equal(mask.sample(3, 4), one)) << name_of(draw) << " " << threads;
    }
  }
  at::set_num_threads(before);
}

TEST(AtmMask, ForgetsTheInputScaleWithoutChangingAnyProbability) {
  AtmMaskOptions options;
  AtmMask mask(3, options);
  mask.observe(step_of({8, 4, 2}, {0.5, 0.5, 0.25}, {16, 4, 4}));
  const at::Tensor before = mask.mask_probability(0);
  mask.fold_input_scale(4);
  expect_close(mask.mask_probability(0), before, "", 1e-6);
  const auto mean = [&](const char* name) { return mask.named_buffers()[name] / 0.01; };
  expect_close(mean("magnitude"), tensor({2, 1, 0.5}), "", 1e-4);
  expect_close(mean("frequency"), tensor({0.5, 0.5, 0.25}), "", 1e-4);
  expect_close(mean("contribution"), tensor({1, 0.25, 0.25}), "", 1e-4);
}

TEST(AtmMask, RefusesWeightsThatAreNotThree) {
  AtmMaskOptions options;
  options.weights = {1, 2};
  EXPECT_THROW(AtmMask(4, options), std::invalid_argument);
}

// What a masked model hands to the mask.

Json masked_model(const std::string& architecture, const std::string& paths) {
  Json model{{"architecture", architecture}, {"d_in", 5}, {"d_sae", 12}};
  model["mask"] = {{"paths", paths}, {"warmup_steps", 0}, {"rate", 5}, {"min_keep", 0}};
  if (architecture == "matryoshka") model["widths"] = {3, 6, 12};
  if (architecture == "matryoshka") model["k"] = 4;
  return model;
}

/// B |dL_rec/d(f m) f| summed over tokens, by a dense graph with f m as its leaf.
at::Tensor brute_force_contribution(const Autoencoder& sae, const Forward& pass,
                                    const Json& model) {
  const at::NoGradGuard no_grad;
  const at::Tensor f = pass.latents.to_dense().detach();
  at::AutoGradMode grad(true);
  const at::Tensor kept = pass.kept.to_dense().detach().requires_grad_(true);
  std::vector<std::int64_t> widths{12};
  if (model.contains("widths")) widths = model["widths"].get<std::vector<std::int64_t>>();
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (const std::int64_t w : widths) {
    const at::Tensor x_hat =
        at::mm(kept.narrow(1, 0, w), sae.W_dec.detach().narrow(0, 0, w)) + sae.b_dec.detach();
    loss = loss + (pass.x - x_hat).square().sum(1).mean();
  }
  // The loss averages over all reconstructions, those of the unmasked path too.
  (loss / static_cast<double>(pass.reconstructions.size())).backward();
  return (static_cast<double>(f.size(0)) * kept.grad() * f).abs().sum(0);
}

TEST(AtmMask, ContributionIsTheErrorGradientTimesTheActivationMaskedOrNot) {
  for (const char* architecture : {"standard", "matryoshka", "jumprelu"}) {
    for (const char* paths : {"masked", "both"}) {
      for (const Storage storage : {Storage::kSparse, Storage::kDense}) {
        SCOPED_TRACE(std::string(architecture) + " " + paths);
        const Json model = masked_model(architecture, paths);
        const std::shared_ptr<Autoencoder> sae = make_sae(model);
        set_mask_statistics(*sae, 80);
        set_storage(*sae, storage);
        const Step step{3, 11};
        const Forward pass = sae->forward(normal({40, 5}, 6), step);
        (total(sae->losses(pass, step)) * 8).backward();
        const BatchStatistics batch = sae->statistics(pass, /*loss_scale=*/8);
        const at::Tensor f = pass.latents.to_dense().detach();
        expect_close(batch.contribution, brute_force_contribution(*sae, pass, model), "", 1e-5);
        expect_close(batch.magnitude, f.sum(0), "", 1e-5);
        expect_close(batch.fired, (f > 0).to(at::kDouble).sum(0));
        EXPECT_NEAR(batch.l0().item<double>(), (f > 0).sum().item<double>() / 40, 1e-5);
        EXPECT_NEAR(batch.min_positive.item<double>(), f.masked_select(f > 0).min().item<double>(),
                    1e-6);
        // A masked latent that fires earns all three.
        const at::Tensor masked = (pass.mask == 0).logical_and(batch.fired > 0);
        ASSERT_TRUE(masked.any().item<bool>());
        EXPECT_GT(batch.contribution.masked_select(masked).min().item<double>(), 0);
      }
    }
  }
}

TEST(AtmMask, StatisticsOfHalvesAddUpToThoseOfTheWhole) {
  const std::shared_ptr<Autoencoder> sae = make_sae(masked_model("standard", "masked"));
  set_mask_statistics(*sae, 80);
  const at::Tensor x = normal({40, 5}, 6);
  const Step step{3, 11};
  const auto part = [&](std::int64_t from, std::int64_t to) {
    const double share = static_cast<double>(to - from) / 40;
    const Forward pass = sae->forward(x.slice(0, from, to), step);
    (total(sae->losses(pass, step)) * share).backward();
    return sae->statistics(pass, share);
  };
  const BatchStatistics whole = part(0, 40);
  BatchStatistics sum = part(0, 10);
  sum.add(part(10, 25));
  sum.add(part(25, 40));
  EXPECT_EQ(sum.tokens, 40);
  expect_close(sum.fired, whole.fired);
  expect_close(sum.magnitude, whole.magnitude, "", 1e-6);
  expect_close(sum.contribution, whole.contribution, "", 1e-6);
  expect_close(sum.min_positive, whole.min_positive);
  expect_close(sum.l0(), whole.l0(), "", 1e-6);
}

TEST(AtmMask, NoGradientReachesAMaskedLatentOnTheMaskedPath) {
  const std::shared_ptr<Autoencoder> sae = make_sae(masked_model("standard", "masked"));
  set_mask_statistics(*sae, 80);
  const Forward pass = sae->forward(normal({40, 5}, 6), {3, 11});
  const Tensors gradient = gradients(*sae, total(sae->losses(pass, {3, 11})));
  const at::Tensor rows = gradient.at("W_enc").abs().sum(1);
  EXPECT_TRUE(at::equal(rows == 0, pass.mask == 0));
  EXPECT_FALSE(pass.mask.requires_grad());
}

}  // namespace
}  // namespace sae

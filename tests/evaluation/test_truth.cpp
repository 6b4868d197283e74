#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <numbers>
#include <stdexcept>
#include <utility>

#include "sae/evaluation/truth.h"

namespace sae {
namespace {

constexpr double kHalf = std::numbers::sqrt2 / 2;  // 1 / sqrt 2

std::shared_ptr<const World> preset_world(const char* name) {
  WorldOptions options;
  options.preset = name;
  return std::make_shared<const World>(options);
}

/// A world of `features` orthonormal features with one parent, feature 0, and one child, feature 1.
std::shared_ptr<const World> one_pair(std::int64_t features) {
  WorldOptions options;
  options.preset = "pair";
  options.features = features;
  options.d_in = features;
  return std::make_shared<const World>(options);
}

TruthSubject subject(const World& world, const at::Tensor& W_dec) {
  return {W_dec.clone(), world.bias().clone(), W_dec.clone()};
}

/// One row per list of (index, value).
SparseRows rows(const std::vector<std::vector<std::pair<std::int64_t, float>>>& lists) {
  SparseRows result;
  for (const auto& list : lists) {
    for (const auto& [index, value] : list) {
      result.indices.push_back(index);
      result.values.push_back(value);
    }
    result.offsets.push_back(std::ssize(result.indices));
  }
  return result;
}

TruthOptions from_one_event() {
  TruthOptions options;
  options.min_events = 1;
  return options;
}

/// The codes of a dictionary in which the latent of a child is (d_parent + d_child) / sqrt 2 and
/// speaks for both, so that the parent's own latent is silent. Magnitudes are 1.
SparseRows absorbed_codes(const World& world, const SparseRows& truth) {
  SparseRows codes;
  const std::vector<std::int64_t>& parent = world.tables().parent;
  for (std::size_t row = 0; row + 1 < truth.offsets.size(); ++row) {
    std::vector<char> silent(parent.size());
    const auto begin = static_cast<std::size_t>(truth.offsets[row]);
    const auto end = static_cast<std::size_t>(truth.offsets[row + 1]);
    for (std::size_t e = begin; e < end; ++e) {
      const std::int64_t p = parent[static_cast<std::size_t>(truth.indices[e])];
      if (p >= 0) silent[static_cast<std::size_t>(p)] = 1;
    }
    for (std::size_t e = begin; e < end; ++e) {
      const auto i = static_cast<std::size_t>(truth.indices[e]);
      if (silent[i]) continue;
      codes.indices.push_back(truth.indices[e]);
      codes.values.push_back(parent[i] >= 0 ? std::numbers::sqrt2_v<float> : 1.0F);
    }
    codes.offsets.push_back(std::ssize(codes.indices));
  }
  return codes;
}

at::Tensor absorbed_decoder(const World& world) {
  at::Tensor W_dec = world.dictionary().clone();
  for (std::int64_t c = 0; c < world.features(); ++c) {
    const std::int64_t p = world.tables().parent[static_cast<std::size_t>(c)];
    if (p >= 0) W_dec[c] = (world.dictionary()[c] + world.dictionary()[p]) * kHalf;
  }
  return W_dec;
}

TEST(Truth, GivesTheTrueDictionaryFullMarks) {
  for (const char* name : {"pair", "tiny", "small"}) {
    SCOPED_TRACE(name);
    const auto world = preset_world(name);
    TruthEvaluation evaluation(world, subject(*world, world->dictionary()));
    WorldSource source(world, 1);
    for (int batch = 0; batch < 10; ++batch) {
      const SparseRows truth = source.next_with_truth(4000).truth;
      evaluation.add(truth, truth);
    }
    const TruthMetrics metrics = evaluation.metrics();
    EXPECT_EQ(metrics.samples, 40'000);
    EXPECT_EQ(metrics.matched, world->features());
    EXPECT_NEAR(metrics.mcc, 1, 1e-5);
    EXPECT_EQ(metrics.uniqueness, 1);
    EXPECT_NEAR(metrics.f1, 1 - metrics.never_fired,
                1e-9);  // a feature too rare to be seen scores 0
    EXPECT_LT(metrics.never_fired, 1e-9 + 0.02 * (world->features() > 100));
    EXPECT_NEAR(metrics.precision, metrics.f1, 1e-9);
    EXPECT_NEAR(metrics.recall, metrics.f1, 1e-9);
    EXPECT_EQ(metrics.l0, metrics.true_l0);
    EXPECT_NEAR(metrics.true_l0, world->true_l0(), 0.05);
    EXPECT_NEAR(metrics.shrinkage, 1, 1e-5);
    EXPECT_EQ(metrics.miss_on.micro, 0);
    EXPECT_EQ(metrics.full.macro, 0);
    EXPECT_NEAR(metrics.ratio_on.macro, 1, 1e-5);
    EXPECT_NEAR(metrics.partial.macro, 0, 1e-5);
  }
}

TEST(Truth, MeasuresTheFullyAbsorbedSolution) {
  struct Case {
    const char* world;
    double mcc;
    double l0;
    std::int64_t parents;
  };
  for (const Case& expected : {Case{"pair", 0.92678, 0.35, 1}, Case{"tiny", 0.86820, 0.85, 3}}) {
    SCOPED_TRACE(expected.world);
    const auto world = preset_world(expected.world);
    TruthSubject absorbed = subject(*world, absorbed_decoder(*world));
    // The encoder of an absorbed parent looks away from its children.
    absorbed.W_enc = world->dictionary().clone();
    for (std::int64_t c = 0; c < world->features(); ++c) {
      const std::int64_t p = world->tables().parent[static_cast<std::size_t>(c)];
      if (p >= 0) absorbed.W_enc[p] -= world->dictionary()[c];
    }
    TruthEvaluation evaluation(world, absorbed);
    WorldSource source(world, 1);
    const SparseRows truth = source.next_with_truth(50'000).truth;
    evaluation.add(truth, absorbed_codes(*world, truth));
    const TruthMetrics metrics = evaluation.metrics();
    EXPECT_NEAR(metrics.mcc, expected.mcc, 6e-6);  // (3 + .7071) / 4, (11 + 9 * .7071) / 20
    EXPECT_NEAR(metrics.l0, expected.l0, 0.02);
    EXPECT_NEAR(metrics.shrinkage, 1, 1e-5);  // it reconstructs perfectly
    EXPECT_NEAR(metrics.absorption_cosine, kHalf, 1e-5);
    EXPECT_NEAR(metrics.hedging_cosine, 0, 1e-5);
    EXPECT_EQ(metrics.encoder_negative, 1);
    for (const TruthAverage& average :
         {metrics.miss_on, metrics.full, metrics.fraction, metrics.gap, metrics.partial}) {
      EXPECT_NEAR(average.micro, 1, 1e-6);
      EXPECT_NEAR(average.macro, 1, 1e-6);
      EXPECT_EQ(average.parents, expected.parents);
      EXPECT_GT(average.events, 100 * expected.parents);
    }
    EXPECT_EQ(metrics.miss_off.micro, 0);
    EXPECT_EQ(metrics.miss_off.parents, expected.parents);
    EXPECT_NEAR(metrics.ratio_off.micro, 1, 1e-5);
    EXPECT_EQ(metrics.ratio_on.micro, 0);
  }
}

TEST(Truth, FollowsTheDefinitionOfTheAbsorptionFraction) {
  const auto world = one_pair(4);
  const at::Tensor d = world->dictionary();
  // Latents: the parent, half the child and half the parent, feature 2, feature 3 with a little of
  // the parent: cosines with the parent 1, .7071, 0, .0995.
  at::Tensor W_dec = d.clone();
  W_dec[1] = d[0] + d[1];          // not unit: norms are folded in
  W_dec[3] = (d[3] + 0.1 * d[0]);  // cosine below fraction_cosine, above full_cosine
  const auto measure = [&](float parent, float absorber, float weak) {
    TruthEvaluation evaluation(world, subject(*world, W_dec), from_one_event());
    evaluation.add(rows({{{0, 1.0F}, {1, 1.0F}}}), rows({{{0, parent}, {1, absorber}, {3, weak}}}));
    const TruthMetrics metrics = evaluation.metrics();
    EXPECT_EQ(metrics.full.parents + metrics.missing, 1);
    return std::pair(metrics.full.micro, metrics.fraction.micro);
  };
  using Pair = std::pair<double, double>;
  const auto expect = [](Pair found, double full, double fraction) {
    EXPECT_NEAR(found.first, full, 1e-6);
    EXPECT_NEAR(found.second, fraction, 1e-6);
  };
  expect(measure(0, 1.0F, 0), 1, 1);                    // v = 1, absorber 1
  expect(measure(0, 0.45F, 0), 1, 1);                   // above the share of .4
  EXPECT_TRUE(std::isnan(measure(0, 0.35F, 0).first));  // below it: no latent has the parent at all
  expect(measure(0.25F, 0.5F, 0), 0, 2.0 / 3);          // A / (A + S)
  expect(measure(0.25F, 2.0F, 0), 0, 0.75);             // A' = v - S
  expect(measure(1.5F, 1.0F, 0), 0, 0);                 // the parent says it all
  expect(measure(0, 0, 5.0F), 1, 0);  // .5 of v at cosine .0995: full, but no fraction
}

TEST(Truth, SumsOnlyTheTopAbsorbers) {
  const auto world = one_pair(8);
  const at::Tensor d = world->dictionary();
  at::Tensor W_dec = d.clone();
  for (std::int64_t j = 1; j < 6; ++j) W_dec[j] = d[j] + 0.5 * d[0];  // cosine .447
  TruthOptions options = from_one_event();
  const auto fraction = [&] {
    TruthEvaluation evaluation(world, subject(*world, W_dec), options);
    evaluation.add(rows({{{0, 1.0F}, {1, 1.0F}}}),
                   rows({{{0, 0.25F}, {1, 0.1F}, {2, 0.4F}, {3, 0.3F}, {4, 0.4F}, {5, 0.2F}}}));
    return evaluation.metrics().fraction.micro;
  };
  EXPECT_NEAR(fraction(), 0.55 / 0.8, 1e-6);  // (.4 + .4 + .3) / 2 over that and .25
  options.fraction_top = 5;
  EXPECT_NEAR(fraction(), 0.7 / 0.95, 1e-6);
  options.share = 0.75;
  EXPECT_EQ(fraction(), 0);
}

TEST(Truth, SeparatesChildOnFromChildOffAndMicroFromMacro) {
  const auto world = preset_world("tiny");
  at::Tensor W_dec = world->dictionary().clone();
  W_dec[0] *= 2;  // z |W| counts, not z
  TruthOptions options;
  options.min_events = 2;
  TruthEvaluation evaluation(world, subject(*world, W_dec), options);
  // Parent 0 (child 3): on 4 times with the child, missed 3 times; twice alone, missed once.
  // Parent 1 (child 6): on twice with the child, never missed; once alone.
  // Parent 2: alone only.
  const auto truth = rows({{{0, 1.0F}, {3, 1.0F}},
                           {{0, 1.0F}, {3, 1.0F}},
                           {{0, 1.0F}, {3, 1.0F}},
                           {{0, 2.0F}, {3, 1.0F}},
                           {{0, 1.0F}},
                           {{0, 1.0F}},
                           {{1, 1.0F}, {6, 1.0F}},
                           {{1, 1.0F}, {6, 1.0F}},
                           {{1, 1.0F}},
                           {{2, 1.0F}},
                           {}});
  const auto codes = rows({{},
                           {},
                           {},
                           {{0, 0.5F}},
                           {{0, 0.5F}},
                           {},
                           {{1, 1.0F}},
                           {{1, 1.0F}},
                           {{1, 1.0F}},
                           {{2, 1.0F}, {19, 1.0F}},
                           {}});
  evaluation.add(truth, codes);
  const TruthMetrics metrics = evaluation.metrics();
  EXPECT_NEAR(metrics.miss_on.micro, 3.0 / 6, 1e-9);
  EXPECT_NEAR(metrics.miss_on.macro, (0.75 + 0) / 2, 1e-9);
  EXPECT_EQ(metrics.miss_on.parents, 2);
  EXPECT_EQ(metrics.miss_on.events, 6);
  EXPECT_NEAR(metrics.miss_off.micro, 0.5, 1e-9);  // parent 1 was alone only once
  EXPECT_EQ(metrics.miss_off.parents, 1);
  EXPECT_EQ(metrics.miss_off.events, 2);
  EXPECT_NEAR(metrics.gap.macro, 0.25, 1e-9);
  EXPECT_EQ(metrics.gap.parents, 1);
  EXPECT_NEAR(metrics.ratio_on.micro, (0.5 + 2) / 6, 1e-6);
  EXPECT_NEAR(metrics.ratio_on.macro, (0.125 + 1) / 2, 1e-6);
  EXPECT_NEAR(metrics.ratio_off.micro, 0.5, 1e-6);
  EXPECT_NEAR(metrics.partial.macro, 0.75, 1e-6);
  EXPECT_NEAR(metrics.l0, 7.0 / 11, 1e-9);
  EXPECT_NEAR(metrics.true_l0, 16.0 / 11, 1e-9);
  ASSERT_EQ(metrics.parents.size(), 3U);
  EXPECT_TRUE(metrics.parents[1].tracked);
  EXPECT_FALSE(metrics.parents[2].tracked);
  EXPECT_EQ(metrics.parents[2].events_off, 1);
  EXPECT_TRUE(std::isnan(metrics.parents[2].miss_on));
}

TEST(Truth, ScoresFiringAgainstTheNearestFeature) {
  const auto world = one_pair(4);
  const at::Tensor d = world->dictionary();
  // Latents 0 and 1 both point at feature 2, latent 1 the other way round; latent 2 at feature 3.
  const at::Tensor W_dec = at::stack({d[2], -d[2], d[3]});
  TruthEvaluation evaluation(world, {W_dec, world->bias(), {}});
  evaluation.add(rows({{{2, 1.0F}}, {{2, 1.0F}}, {{3, 1.0F}}, {}}),
                 rows({{{0, 1.0F}, {1, 0.0F}}, {}, {{0, 1.0F}, {1, -1.0F}}, {{0, 2.0F}}}));
  const TruthMetrics metrics = evaluation.metrics();
  // Latent 0: fired 3 times, once right, feature on twice: P 1/3, R 1/2, F1 2/5. A value that is
  // not above 0 is no firing, so latents 1 and 2 are dead.
  EXPECT_NEAR(metrics.precision, 1.0 / 9, 1e-9);
  EXPECT_NEAR(metrics.recall, 1.0 / 6, 1e-9);
  EXPECT_NEAR(metrics.f1, 2.0 / 15, 1e-9);
  EXPECT_NEAR(metrics.never_fired, 2.0 / 3, 1e-9);
  EXPECT_NEAR(metrics.uniqueness, 2.0 / 3, 1e-9);
  EXPECT_NEAR(metrics.mcc, 2.0 / 3, 1e-6);  // 1, 1 and 0
  EXPECT_EQ(metrics.matched, 3);
  EXPECT_NEAR(metrics.l0, 3.0 / 4, 1e-9);
  EXPECT_TRUE(std::isnan(metrics.encoder_negative));
}

TEST(Truth, AParentThatTheDictionaryDoesNotHaveIsNoParentWithoutAbsorption) {
  const auto world = preset_world("tiny");
  TruthOptions options = from_one_event();
  WorldSource source(world, 1);
  const SparseRows truth = source.next_with_truth(4000).truth;
  // Latents of parents and children are silent: what is left is a dictionary of the others.
  SparseRows others;
  for (std::size_t row = 0; row + 1 < truth.offsets.size(); ++row) {
    for (auto e = static_cast<std::size_t>(truth.offsets[row]);
         e < static_cast<std::size_t>(truth.offsets[row + 1]); ++e) {
      const auto i = static_cast<std::size_t>(truth.indices[e]);
      if (world->tables().child_count[i] > 0 || world->tables().parent[i] >= 0) continue;
      others.indices.push_back(truth.indices[e]);
      others.values.push_back(truth.values[e]);
    }
    others.offsets.push_back(std::ssize(others.indices));
  }
  TruthEvaluation evaluation(world, subject(*world, world->dictionary()), options);
  evaluation.add(truth, others);
  const TruthMetrics metrics = evaluation.metrics();
  EXPECT_EQ(metrics.missing, 3);
  EXPECT_EQ(metrics.full.parents, 0);
  EXPECT_TRUE(std::isnan(metrics.full.macro));
  EXPECT_TRUE(std::isnan(metrics.fraction.micro));
  EXPECT_TRUE(std::isnan(metrics.gap.macro)) << "always silent is no gap of zero";
  EXPECT_EQ(metrics.miss_on.macro, 1) << "but it is a miss";

  TruthEvaluation absorbing(world, subject(*world, absorbed_decoder(*world)), options);
  absorbing.add(truth, absorbed_codes(*world, truth));
  EXPECT_EQ(absorbing.metrics().missing, 0) << "who is absorbed is there";
  EXPECT_GT(absorbing.metrics().full.macro, 0.9);
}

TEST(Truth, DoesNotDependOnTheUnitOfLatents) {
  const auto world = preset_world("tiny");
  WorldSource source(world, 1);
  const SparseRows truth = source.next_with_truth(2000).truth;
  const SparseRows codes = absorbed_codes(*world, truth);
  const auto measured = [&](double decades) {
    at::Tensor W_dec = absorbed_decoder(*world);
    SparseRows scaled = codes;
    for (std::int64_t j = 0; j < W_dec.size(0); ++j) {
      W_dec[j] /= std::pow(10, decades * std::sin(static_cast<double>(j)));
    }
    for (std::size_t e = 0; e < scaled.values.size(); ++e) {
      const double power = decades * std::sin(static_cast<double>(scaled.indices[e]));
      scaled.values[e] *= static_cast<float>(std::pow(10, power));
    }
    TruthEvaluation evaluation(world, subject(*world, W_dec), from_one_event());
    evaluation.add(truth, scaled);
    return evaluation.metrics();
  };
  const TruthMetrics one = measured(0);
  const TruthMetrics other = measured(13);
  EXPECT_NEAR(other.mcc, one.mcc, 1e-5);
  EXPECT_NEAR(other.full.macro, one.full.macro, 1e-3);
  EXPECT_NEAR(other.fraction.micro, one.fraction.micro, 1e-3);
  EXPECT_NEAR(other.ratio_off.macro, one.ratio_off.macro, 1e-4);
  EXPECT_NEAR(other.absorption_cosine, one.absorption_cosine, 1e-5);
  EXPECT_NEAR(other.shrinkage, one.shrinkage, 1e-4);
}

TEST(Truth, AFaintParentDoesNotOutweighTheOthers) {
  const auto world = one_pair(4);
  const auto measured = [&](float faint) {
    TruthEvaluation evaluation(world, subject(*world, world->dictionary()), from_one_event());
    std::vector<std::vector<std::pair<std::int64_t, float>>> truth, codes;
    for (int i = 0; i < 50; ++i) {
      truth.push_back({{0, i == 20 ? faint : 1.0F}, {1, 1.0F}});
      codes.push_back({{0, 1.0F}, {1, 1.0F}});
      truth.push_back({{0, 1.0F}});
      codes.push_back({{0, 1.0F}});
    }
    evaluation.add(rows(truth), rows(codes));
    return evaluation.metrics();
  };
  EXPECT_NEAR(measured(1e-9F).ratio_on.macro, 1, 1e-6);
  EXPECT_NEAR(measured(1e-9F).partial.macro, 0, 1e-6);
  EXPECT_EQ(measured(1e-9F).miss_on.events, 50) << "it is an event all the same";
}

TEST(Truth, ADecoderOfZerosMatchesNothing) {
  const auto world = one_pair(4);
  TruthEvaluation evaluation(world, {at::zeros({3, 4}), world->bias(), {}}, from_one_event());
  evaluation.add(rows({{{0, 1.0F}, {1, 1.0F}}}), rows({{{0, 1.0F}}}));
  EXPECT_EQ(evaluation.metrics().mcc, 0);
  EXPECT_EQ(evaluation.metrics().absorption_cosine, 0);
}

TEST(Truth, TellsHedgingFromAbsorption) {
  const auto world = one_pair(4);
  const at::Tensor d = world->dictionary();
  const at::Tensor W_dec = at::stack({(d[0] + 0.5 * d[1]) / std::sqrt(1.25), d[2], d[3]});
  TruthEvaluation evaluation(world, subject(*world, W_dec), from_one_event());
  const TruthMetrics metrics = evaluation.metrics();
  EXPECT_NEAR(metrics.hedging_cosine, 0.5 / std::sqrt(1.25), 1e-6);
  EXPECT_EQ(metrics.hedging_pairs, 1);
  EXPECT_EQ(metrics.encoder_negative, 0);
  EXPECT_EQ(metrics.absorption_pairs, 0);  // the child has no latent
  EXPECT_TRUE(std::isnan(metrics.absorption_cosine));
  EXPECT_TRUE(std::isnan(metrics.l0));  // no sample yet
  EXPECT_TRUE(std::isnan(metrics.full.micro));
  EXPECT_EQ(metrics.full.parents, 0);
}

TEST(Truth, AParentCountsFromACosineOfAHalfWithItsLatentUnlessToldOtherwise) {
  const auto world = one_pair(4);
  const at::Tensor d = world->dictionary();
  TruthOptions options = from_one_event();
  const auto measured = [&](double cosine) {
    at::Tensor W_dec = d.clone();
    W_dec[0] = cosine * d[0] - std::sqrt(1 - cosine * cosine) * (d[2] + d[3]) * kHalf;
    TruthEvaluation evaluation(world, subject(*world, W_dec), options);
    evaluation.add(rows({{{0, 1.0F}, {1, 1.0F}}, {{0, 1.0F}}}), rows({{{1, 1.0F}}, {{0, 1.0F}}}));
    return evaluation.metrics();
  };
  EXPECT_EQ(measured(0.51).miss_on.parents, 1);
  EXPECT_EQ(measured(-0.51).miss_on.parents, 1) << "its sign does not matter";
  const TruthMetrics none = measured(0.49);
  EXPECT_EQ(none.parents.at(0).tracked, false);
  for (const TruthAverage& average :
       {none.miss_on, none.miss_off, none.full, none.fraction, none.gap, none.partial}) {
    EXPECT_EQ(average.parents, 0);
    EXPECT_TRUE(std::isnan(average.micro)) << "no score, not a score of 0";
    EXPECT_TRUE(std::isnan(average.macro));
  }
  EXPECT_EQ(none.missing, 0);
  options.min_match_cosine = 0.3;
  EXPECT_EQ(measured(0.49).miss_on.parents, 1);
}

TEST(Truth, DoesNotDependOnBatches) {
  const auto world = preset_world("small");
  const TruthSubject whole = subject(*world, absorbed_decoder(*world).slice(0, 0, 128));
  TruthEvaluation one(world, whole);
  TruthEvaluation many(world, whole);
  const auto narrow = [](const SparseRows& wide) {  // the first 128 features as latents
    SparseRows result;
    for (std::size_t row = 0; row + 1 < wide.offsets.size(); ++row) {
      for (std::int64_t e = wide.offsets[row]; e < wide.offsets[row + 1]; ++e) {
        const auto k = static_cast<std::size_t>(e);
        if (wide.indices[k] >= 128) continue;
        result.indices.push_back(wide.indices[k]);
        result.values.push_back(wide.values[k]);
      }
      result.offsets.push_back(std::ssize(result.indices));
    }
    return result;
  };
  WorldSource source(world, 1);
  const SparseRows all = source.next_with_truth(3000).truth;
  one.add(all, narrow(all));
  source.seek(0);
  for (const std::int64_t count : {1, 999, 0, 2000}) {
    const SparseRows part = source.next_with_truth(count).truth;
    many.add(part, narrow(part));
  }
  const TruthMetrics a = one.metrics();
  const TruthMetrics b = many.metrics();
  EXPECT_EQ(a.matched, 128);
  EXPECT_GT(a.miss_on.parents, 5);
  EXPECT_EQ(a.f1, b.f1);
  EXPECT_EQ(a.fraction.micro, b.fraction.micro);
  EXPECT_EQ(a.ratio_on.macro, b.ratio_on.macro);
  EXPECT_EQ(a.shrinkage, b.shrinkage);
}

TEST(Truth, RefusesWhatDoesNotFitTogether) {
  const auto world = one_pair(4);
  const at::Tensor W = world->dictionary();
  EXPECT_THROW(TruthEvaluation(world, {W.slice(1, 0, 3), world->bias(), {}}),
               std::invalid_argument);
  EXPECT_THROW(TruthEvaluation(world, {W, world->bias().slice(0, 0, 3), {}}),
               std::invalid_argument);
  EXPECT_THROW(TruthEvaluation(world, {W, world->bias(), W.slice(0, 0, 3)}), std::invalid_argument);
  EXPECT_THROW(TruthEvaluation(world, {{}, world->bias(), {}}), std::invalid_argument);
  TruthEvaluation evaluation(world, subject(*world, W));
  EXPECT_THROW(evaluation.add(rows({{}, {}}), rows({{}})), std::invalid_argument);
  EXPECT_THROW(evaluation.add(rows({{{4, 1.0F}}}), rows({{}})), std::invalid_argument);
  EXPECT_THROW(evaluation.add(rows({{}}), rows({{{-1, 1.0F}}})), std::invalid_argument);
  EXPECT_THROW(evaluation.add({}, {}), std::invalid_argument);
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "sae/evaluation/interp.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

constexpr std::int64_t kContexts = 1500, kPerContext = 8, kTopics = 20, kWidth = 32;
constexpr std::int64_t kRows = kContexts * kPerContext;

/// Contexts of one of 20 topics each, whose rows a judge sees as the topic's direction and noise.
struct PlantedWorld {
  std::vector<std::int64_t> topic_of_row;
  InterpSample sample;
  std::shared_ptr<const JudgeVectors> judge;

  static const PlantedWorld& get() {
    static const PlantedWorld world = make();
    return world;
  }

  /// Activations uniform on [.2, 1] where `fires` says so.
  Firings latent(std::uint64_t index,
                 const std::function<bool(std::int32_t row, Rng& rng)>& fires) const {
    Rng rng(0, Stream::kTest, 1000 + index);
    Firings out;
    for (std::int32_t row = 0; row < static_cast<std::int32_t>(kRows); ++row) {
      if (!fires(row, rng)) continue;
      out.rows.push_back(row);
      out.values.push_back(static_cast<float>(0.2 + 0.8 * rng.uniform()));
    }
    return out;
  }

  Firings of_topics(std::uint64_t index, std::int64_t topics, double share = 1) const {
    return latent(index, [&](std::int32_t row, Rng& rng) {
      return topic_of_row[static_cast<std::size_t>(row)] < topics && rng.uniform() < share;
    });
  }
  Firings at_random(std::uint64_t index) const {
    return latent(index, [](std::int32_t, Rng& rng) { return rng.uniform() < 0.05; });
  }
  Firings of_tokens(std::uint64_t index) const {
    return latent(index, [&](std::int32_t row, Rng&) { return sample.token(row) < 20; });
  }

 private:
  static PlantedWorld make() {
    Rng rng(0, Stream::kTest, 7);
    const at::Tensor directions =
        std::get<0>(at::linalg_qr(normal({kWidth, kTopics}, 8))).t().contiguous();
    const at::Tensor noise = normal({kRows, kWidth}, 9);
    std::vector<std::int64_t> rows(kRows), topics(kRows);
    std::vector<std::int32_t> tokens(kRows), contexts(kRows);
    std::iota(rows.begin(), rows.end(), 0);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      topics[i] = static_cast<std::int64_t>(i) / kPerContext % kTopics;
      tokens[i] = static_cast<std::int32_t>(rng.below(400));
      contexts[i] = static_cast<std::int32_t>(i / kPerContext);
    }
    const at::Tensor e = 0.8 * directions.index_select(0, integers(topics)) +
                         0.6 * noise / std::sqrt(static_cast<double>(kWidth));
    return {topics, InterpSample(rows, tokens, contexts),
            std::make_shared<const JudgeVectors>(e, "planted")};
  }
};

InterpOptions planted_options() {
  InterpOptions options;
  options.items = 400;
  options.max_share = 0.5;
  return options;
}

/// All metrics of a latent of the sample; the same vectors hide nothing, and serve as `blind`.
LatentScores all_scores(const Firings& firings, std::int64_t latent = 0) {
  const PlantedWorld& world = PlantedWorld::get();
  const InterpOptions options = planted_options();
  static const JudgedSample judged(world.sample, world.judge, world.judge, options);
  std::vector<LatentScores> out = {judged.scores(firings, latent)};
  TokenTally tokens(1, options.seed);
  std::size_t next = 0;
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(kRows); ++row) {
    tokens.add_row(world.sample.token(row), world.sample.context(row));
    if (next == firings.rows.size() || firings.rows[next] != row) continue;
    tokens.add(0, firings.values[next++]);
  }
  tokens.finish(out);
  return out.front();
}

void expect_scores(const std::string& name, const Firings& firings, double coherence,
                   double intruder, double auroc, double r_precision, double token_r2,
                   double effective_tokens) {
  using enum InterpMetric;
  const LatentScores got = all_scores(firings);
  std::printf(
      "%-24s coherence %.3f intruder %.3f matched %.3f auroc %.3f r_precision %.3f "
      "token_r2 %.3f effective tokens %.0f\n",
      name.c_str(), got[kCoherence], got[kIntruder], got[kIntruderMatched], got[kAuroc],
      got[kRPrecision], got[kTokenR2], got[kEffectiveTokens]);
  EXPECT_NEAR(got[kCoherence], coherence, 0.06) << name;
  EXPECT_NEAR(got[kIntruder], intruder, 0.06) << name;
  EXPECT_NEAR(got[kAuroc], auroc, 0.06) << name;
  EXPECT_NEAR(got[kRPrecision], r_precision, 0.06) << name;
  EXPECT_NEAR(got[kTokenR2], token_r2, 0.06) << name;
  EXPECT_NEAR(got[kEffectiveTokens], effective_tokens, 0.1 * effective_tokens) << name;
  if (token_r2 > 0.5) {
    EXPECT_TRUE(std::isnan(got[kIntruderMatched])) << name << ": no such token elsewhere";
  } else {
    EXPECT_NEAR(got[kIntruderMatched], intruder, 0.06) << name;
  }
}

TEST(Interp, APlantedWorldHasTheScoresThatWerePlanted) {
  const PlantedWorld& world = PlantedWorld::get();
  expect_scores("one topic", world.of_topics(1, 1), .63, 1.00, 1.00, 1.00, 0, 284);
  expect_scores("two topics", world.of_topics(2, 2), .30, .68, 1.00, .99, 0, 336);
  expect_scores("five topics", world.of_topics(3, 5), .10, .39, .99, .94, 0, 374);
  expect_scores("half of a topic's rows", world.of_topics(4, 1, 0.5), .64, .98, .99, .52, 0, 185);
  expect_scores("5 % of rows at random", world.at_random(5), .00, .21, .53, .05, 0, 276);
  expect_scores("20 tokens", world.of_tokens(6), .00, .19, .49, .03, .85, 20);
}

TEST(Interp, CoherenceIsTheWeightedMeanOverPairsOfDifferentContexts) {
  const PlantedWorld& world = PlantedWorld::get();
  const Firings all = world.of_topics(1, 2, 0.3);
  Firings some;
  some.rows.assign(all.rows.begin(), all.rows.begin() + 150);
  some.values.assign(all.values.begin(), all.values.begin() + 150);
  double sum = 0, weight = 0;
  for (std::size_t i = 0; i < some.rows.size(); ++i) {
    for (std::size_t j = 0; j < some.rows.size(); ++j) {
      if (world.sample.context(some.rows[i]) == world.sample.context(some.rows[j])) continue;
      const double w = double{some.values[i]} * double{some.values[j]};
      sum += w * world.judge->dot(some.rows[i], some.rows[j]);
      weight += w;
    }
  }
  const double got = pair_similarity(world.sample, *world.judge, some.rows, some.values);
  EXPECT_NEAR(got, sum / weight, 1e-12);
  Firings scaled = some;
  for (float& a : scaled.values) a *= 4;
  EXPECT_NEAR(pair_similarity(world.sample, *world.judge, scaled.rows, scaled.values), got, 1e-12);
  const std::vector<std::int32_t> rows = {0, 1, 2};
  const std::vector<float> ones = {1, 1, 1};
  EXPECT_TRUE(std::isnan(pair_similarity(world.sample, *world.judge, rows, ones)))
      << "all of context 0";
  // One-hot vectors of the tokens: the same sum.
  const JudgeVectors tokens = JudgeVectors::of_tokens(world.sample);
  sum = 0;
  for (std::size_t i = 0; i < some.rows.size(); ++i) {
    for (std::size_t j = 0; j < some.rows.size(); ++j) {
      const auto a = some.rows[i], b = some.rows[j];
      if (world.sample.context(a) == world.sample.context(b)) continue;
      if (world.sample.token(a) != world.sample.token(b)) continue;
      sum += double{some.values[i]} * double{some.values[j]};
    }
  }
  EXPECT_NEAR(pair_similarity(world.sample, tokens, some.rows, some.values), sum / weight, 1e-12);
}

TEST(Interp, DetectionCountsTiesAsTheDefinitionSays) {
  Rng rng(0, Stream::kTest, 20);
  std::vector<double> positive, negative;
  for (int i = 0; i < 40; ++i) positive.push_back(static_cast<double>(rng.below(6)) + 1);
  for (int i = 0; i < 300; ++i) negative.push_back(static_cast<double>(rng.below(6)));
  double wins = 0;
  for (const double p : positive) {
    for (const double n : negative) wins += p > n ? 1 : p == n ? 0.5 : 0;
  }
  EXPECT_NEAR(auroc_of(positive, negative), wins / (40 * 300), 1e-12);
  EXPECT_TRUE(std::isnan(auroc_of(positive, {})));
  EXPECT_TRUE(std::isnan(auroc_of({}, negative)));
  // Of 3 places: one above, then two of the four that are equal, one of them positive.
  EXPECT_NEAR(r_precision_of(std::vector{9.0, 5.0, 1.0}, std::vector{5.0, 5.0, 5.0, 2.0}),
              (1 + 2.0 / 4) / 3, 1e-12);
  EXPECT_EQ(r_precision_of(std::vector{2.0, 3.0}, std::vector{1.0, 0.0}), 1);
  EXPECT_TRUE(std::isnan(r_precision_of({}, negative)));
}

TEST(Interp, AJudgeToWhomAllIsAlikeSaysNothing) {
  const PlantedWorld& world = PlantedWorld::get();
  const at::Tensor equal = normal({1, 7}, 30).expand({kRows, 7});
  const auto judge = std::make_shared<const JudgeVectors>(equal, "equal");
  const JudgedSample judged(world.sample, judge, nullptr, planted_options());
  const LatentScores got = judged.scores(world.of_topics(1, 1), 0);
  EXPECT_NEAR(got[InterpMetric::kIntruder], 0.2, 1e-12) << "each of five is as odd";
  EXPECT_EQ(got[InterpMetric::kAuroc], 0.5);
  EXPECT_TRUE(std::isnan(got[InterpMetric::kCoherence]));
  EXPECT_TRUE(std::isnan(got[InterpMetric::kIntruderMatched])) << "the judge hides nothing";
}

TEST(Interp, AnIntruderItemIsFourRowsOfAGroupAndOneThatIsNotTheLatents) {
  const PlantedWorld& world = PlantedWorld::get();
  const InterpOptions options = planted_options();
  const Firings firings = world.of_topics(1, 2, 0.5);
  const auto groups = quantile_groups(firings, options.quantiles);
  std::size_t smallest = firings.rows.size(), all = 0;
  for (const auto& group : groups) {
    smallest = std::min(smallest, group.size());
    all += group.size();
  }
  EXPECT_EQ(all, firings.rows.size());
  EXPECT_GE(smallest + 1, all / groups.size());
  for (const Intruder kind : {Intruder::kUniform, Intruder::kMatched}) {
    const auto items = intruder_items(world.sample, firings, 3, kind, options);
    ASSERT_EQ(std::ssize(items), options.items);
    std::set<std::int32_t> intruders;
    for (const IntruderItem& item : items) {
      const auto& group = groups[static_cast<std::size_t>(item.group)];
      EXPECT_EQ(item.group, item.item % options.quantiles);
      std::set<std::int32_t> contexts, tokens;
      for (const std::int32_t row : item.rows) contexts.insert(world.sample.context(row));
      EXPECT_EQ(contexts.size(), 5U);
      for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_NE(std::find(group.begin(), group.end(), item.rows[i]), group.end());
        tokens.insert(world.sample.token(item.rows[i]));
      }
      EXPECT_FALSE(firings.contain(item.rows[4]));
      intruders.insert(item.rows[4]);
      if (kind == Intruder::kMatched) {
        EXPECT_TRUE(tokens.contains(world.sample.token(item.rows[4])));
      }
    }
    EXPECT_GT(intruders.size(), 350U) << "drawn from all that there are";
    EXPECT_EQ(intruder_items(world.sample, firings, 3, kind, options).back().rows,
              items.back().rows);
  }
  EXPECT_NE(intruder_items(world.sample, firings, 4, Intruder::kUniform, options).front().rows,
            intruder_items(world.sample, firings, 3, Intruder::kUniform, options).front().rows);
  // Groups of fewer than four contexts, and a latent without any row beside its own.
  Firings few;
  for (std::int32_t row = 0; row < 3 * 8; ++row) {
    few.rows.push_back(row);
    few.values.push_back(1);
  }
  EXPECT_TRUE(intruder_items(world.sample, few, 0, Intruder::kUniform, options).empty());
}

TEST(Interp, AnIntruderIsFoundWhereThereIsAlmostNone) {
  std::vector<std::int64_t> rows(500);
  std::vector<std::int32_t> tokens(500), contexts(500);
  std::iota(rows.begin(), rows.end(), 0);
  std::iota(contexts.begin(), contexts.end(), 0);
  tokens[499] = 1;
  const InterpSample sample(rows, tokens, contexts);
  Firings firings;
  for (std::int32_t row = 0; row < 498; ++row) {
    firings.rows.push_back(row);
    firings.values.push_back(1.0F + static_cast<float>(row));
  }
  InterpOptions options;
  std::set<std::int32_t> uniform, matched;
  for (const auto& item : intruder_items(sample, firings, 0, Intruder::kUniform, options)) {
    uniform.insert(item.rows[4]);
  }
  for (const auto& item : intruder_items(sample, firings, 0, Intruder::kMatched, options)) {
    matched.insert(item.rows[4]);
  }
  EXPECT_EQ(uniform, (std::set<std::int32_t>{498, 499}));
  EXPECT_EQ(matched, (std::set<std::int32_t>{498})) << "the only other row with the token";
}

TEST(Interp, ShuffledActivationsAreAtChance) {
  const PlantedWorld& world = PlantedWorld::get();
  InterpOptions options = planted_options();
  options.items = 40;
  const JudgedSample judged(world.sample, world.judge, world.judge, options);
  std::map<InterpMetric, std::vector<double>> values;
  for (std::int64_t latent = 0; latent < 24; ++latent) {
    const Firings own = world.of_topics(static_cast<std::uint64_t>(latent), 1);
    const Firings moved = shuffled(own, kRows, latent, options.seed);
    EXPECT_EQ(moved.size(), own.size());
    EXPECT_TRUE(std::is_sorted(moved.rows.begin(), moved.rows.end()));
    std::multiset<float> a(own.values.begin(), own.values.end());
    EXPECT_EQ(a, std::multiset<float>(moved.values.begin(), moved.values.end()));
    const LatentScores got = judged.scores(moved, latent);
    for (const auto metric : {InterpMetric::kIntruder, InterpMetric::kIntruderMatched,
                              InterpMetric::kCoherence, InterpMetric::kAuroc}) {
      values[metric].push_back(got[metric]);
    }
  }
  const auto expect_chance = [&](InterpMetric metric, double chance) {
    const std::vector<double>& all = values.at(metric);
    const auto n = static_cast<double>(all.size());
    const double mean = std::accumulate(all.begin(), all.end(), 0.0) / n;
    double square = 0;
    for (const double v : all) square += (v - mean) * (v - mean);
    const double error = std::sqrt(square / (n - 1) / n);
    EXPECT_NEAR(mean, chance, 4 * error) << name_of(metric);
    EXPECT_LT(error, 0.03) << name_of(metric);
  };
  expect_chance(InterpMetric::kIntruder, 0.2);
  expect_chance(InterpMetric::kIntruderMatched, 0.2);
  expect_chance(InterpMetric::kCoherence, 0);
  expect_chance(InterpMetric::kAuroc, 0.5);
}

TEST(Interp, TokensAreCountedAsTheFormulasSay) {
  const PlantedWorld& world = PlantedWorld::get();
  const Firings firings = world.of_tokens(6);
  const LatentScores got = all_scores(firings);
  std::map<std::int32_t, double> counts, reference, asked;
  std::map<std::int32_t, std::int64_t> seen;
  std::vector<double> a(kRows, 0.0);
  for (std::size_t i = 0; i < firings.rows.size(); ++i) {
    a[static_cast<std::size_t>(firings.rows[i])] = double{firings.values[i]};
    ++counts[world.sample.token(firings.rows[i])];
  }
  double entropy = 0, most = 0;
  for (const auto& [token, count] : counts) {
    const double p = count / static_cast<double>(firings.size());
    entropy -= p * std::log2(p);
    most = std::max(most, p);
  }
  EXPECT_NEAR(got[InterpMetric::kEffectiveTokens], std::exp2(entropy), 1e-9);
  EXPECT_NEAR(got[InterpMetric::kTopToken], most, 1e-12);
  double sum = 0, rows = 0;
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(kRows); ++row) {
    if (!is_reference(world.sample.context(row), 0)) continue;
    sum += a[static_cast<std::size_t>(row)];
    ++rows;
    reference[world.sample.token(row)] += a[static_cast<std::size_t>(row)];
    ++seen[world.sample.token(row)];
  }
  EXPECT_NEAR(rows / kRows, 0.5, 0.05) << "half of the contexts";
  double mean = 0, error = 0, total = 0;
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(kRows); ++row) {
    if (is_reference(world.sample.context(row), 0)) continue;
    mean += a[static_cast<std::size_t>(row)] / (static_cast<double>(kRows) - rows);
  }
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(kRows); ++row) {
    if (is_reference(world.sample.context(row), 0)) continue;
    const std::int32_t token = world.sample.token(row);
    const double m = (reference[token] + sum / rows) / (static_cast<double>(seen[token]) + 1);
    error += std::pow(a[static_cast<std::size_t>(row)] - m, 2);
    total += std::pow(a[static_cast<std::size_t>(row)] - mean, 2);
  }
  EXPECT_NEAR(got[InterpMetric::kTokenR2], 1 - error / total, 1e-9);
}

TEST(Interp, ASummaryIsTheMeanWithTheErrorOfDrawingLatentsAgain) {
  std::vector<LatentScores> latents(400);
  Rng rng(0, Stream::kTest, 50);
  double sum = 0, known = 0;
  for (std::size_t i = 0; i < latents.size(); ++i) {
    latents[i].latent = static_cast<std::int64_t>(i);
    latents[i].rows = i < 100 ? 70 : 300;  // bins 6 and 8
    latents[i].by_quantile.resize(2);
    if (i % 10 == 0) continue;  // without a number
    latents[i][InterpMetric::kIntruder] = (i < 100 ? 0.3 : 0.7) + 0.2 * rng.normal();
    sum += latents[i][InterpMetric::kIntruder];
    ++known;
  }
  InterpOptions options;
  const InterpSummary got = summarise(latents, options);
  const auto intruder = static_cast<std::size_t>(InterpMetric::kIntruder);
  EXPECT_NEAR(got.mean[intruder], sum / known, 1e-12);
  ASSERT_EQ(got.bins.size(), 2U);
  EXPECT_EQ(got.bins[0].bin, 6);
  EXPECT_EQ(got.bins[0].latents, 100);
  EXPECT_EQ(got.bins[1].bin, 8);
  EXPECT_NEAR(got.bins[1].error[intruder], 0.2 / std::sqrt(270.0), 0.002);
  EXPECT_NEAR(got.error[intruder], 0.2 / std::sqrt(360.0), 0.002);
  EXPECT_TRUE(std::isnan(got.mean[static_cast<std::size_t>(InterpMetric::kAuroc)]));
  EXPECT_EQ(summarise(latents, options).error[intruder], got.error[intruder]);
  EXPECT_TRUE(std::isnan(summarise({}, options).mean[intruder])) << "no eligible latent";
}

}  // namespace
}  // namespace sae

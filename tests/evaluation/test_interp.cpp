#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <functional>
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

}  // namespace
}  // namespace sae

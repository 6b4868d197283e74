// OrtSAE's penalty against its equation, pair by pair.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>
#include <set>

#include "sae/base/error.h"
#include "sae/models/architectures.h"
#include "sae/training/trainer.h"
#include "support/convert_testing.h"
#include "support/ranks_testing.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

double cosine(const at::Tensor& a, const at::Tensor& b) {
  return ((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-8)).item<double>();
}

/// Equation 4 with the latents dealt in `order`, into chunks of these sizes.
double by_pairs(const at::Tensor& W, const std::vector<std::int64_t>& order,
                const std::vector<std::size_t>& sizes) {
  double sum = 0;
  std::size_t begin = 0;
  for (const std::size_t size : sizes) {
    double of_chunk = 0;
    for (std::size_t i = begin; i < begin + size; ++i) {
      double most = -2;
      for (std::size_t j = begin; j < begin + size; ++j) {
        if (i != j) most = std::max(most, cosine(W[order[i]], W[order[j]]));
      }
      if (size > 1) of_chunk += most * most;
    }
    sum += of_chunk / static_cast<double>(size);
    begin += size;
  }
  return sum / static_cast<double>(sizes.size());
}

std::vector<std::int64_t> in_order(std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

double penalty(const at::Tensor& W, std::int64_t chunk, Step step = {}) {
  OrthogonalityOptions options;
  options.chunk = chunk;
  return orthogonality_penalty(W, options, step).item<double>();
}

TEST(Orthogonality, IsTheMeanSquareOfEachLatentsLargestCosine) {
  const at::Tensor W = tensor({2, 0, 3, 4, 0, 1, -1, 0}).view({4, 2});
  // Nearest: .6 with the second, .8 with the third, .8 with the second, 0 with the third.
  EXPECT_NEAR(penalty(W, 4), (0.36 + 0.64 + 0.64 + 0) / 4, 1e-12);
  EXPECT_NEAR(penalty(W, 8192), penalty(W, 4), 1e-12);
  // A pair that points apart: its largest cosine is negative, and squared.
  EXPECT_NEAR(penalty(tensor({1, 0, -1, 1}).view({2, 2}), 2), 0.5, 1e-12);
  EXPECT_EQ(penalty(at::eye(5, at::kDouble), 5), 0);
  EXPECT_EQ(penalty(at::ones({1, 3}, at::kDouble), 2), 0) << "it has no other";
  const at::Tensor with_zeros = tensor({0, 0, 1, 0, 1, 1}).view({3, 2});
  EXPECT_NEAR(penalty(with_zeros, 3), (0 + 0.5 + 0.5) / 3, 1e-12);
}

TEST(Orthogonality, OneChunkIsTheEquationWhateverTheDealing) {
  const at::Tensor W = normal({37, 6}, 1);
  for (std::int64_t step = 0; step < 3; ++step) {
    EXPECT_NEAR(penalty(W, 37, {step, 9}), by_pairs(W, in_order(37), {37}), 1e-12);
  }
}

TEST(Orthogonality, ChunksAreDealtAnewEachStepAndDifferInSizeByOne) {
  const at::Tensor W = normal({7, 4}, 2);
  std::set<double> seen;
  for (std::int64_t index = 0; index < 6; ++index) {
    const Step step{index, 11};
    const double got = penalty(W, 3, step);
    EXPECT_EQ(got, penalty(W, 3, step)) << "a function of seed and step";
    std::vector<std::int64_t> order = in_order(7);
    Rng rng(11, Stream::kChunks, static_cast<std::uint64_t>(index));
    for (std::size_t i = 6; i > 0; --i) std::swap(order[i], order[rng.below(i + 1)]);
    EXPECT_NEAR(got, by_pairs(W, order, {3, 2, 2}), 1e-12);
    seen.insert(got);
  }
  EXPECT_GT(seen.size(), 3U);
  EXPECT_NE(penalty(W, 3, {0, 11}), penalty(W, 3, {0, 12}));
}

TEST(Orthogonality, ManyLatentsAreComparedAPartAtATime) {
  const at::Tensor W = normal({1500, 5}, 3);  // more than are compared at once
  const at::Tensor unit = W / W.norm(2, 1, true);
  at::Tensor all = at::mm(unit, unit.t());
  all.fill_diagonal_(-2);
  const double expected = std::get<0>(all.max(1)).square().mean().item<double>();
  EXPECT_NEAR(penalty(W, 2000), expected, 1e-12);
}

TEST(Orthogonality, GradientsEqualCentralDifferences) {
  OrthogonalityOptions options;
  options.chunk = 5;
  const Step step{4, 2};
  const at::Tensor W = normal({13, 4}, 5).requires_grad_(true);
  orthogonality_penalty(W, options, step).backward();
  for (std::int64_t i = 0; i < 13; ++i) {
    for (std::int64_t d = 0; d < 4; ++d) {
      const auto at_offset = [&](double by) {
        at::Tensor moved = W.detach().clone();
        moved[i][d] += by;
        return orthogonality_penalty(moved, options, step).item<double>();
      };
      EXPECT_NEAR((at_offset(1e-6) - at_offset(-1e-6)) / 2e-6, W.grad()[i][d].item<double>(), 1e-7);
    }
  }
}

Json small_model(const std::string& architecture, const Json& orthogonality) {
  Json model{{"architecture", architecture}, {"d_in", 5}, {"d_sae", 12}};
  if (architecture == "matryoshka") model["widths"] = {3, 7, 12};
  if (architecture != "standard" && architecture != "atm" && architecture != "jumprelu") {
    model["k"] = 3;
  }
  model["orthogonality"] = orthogonality;
  return model;
}

TEST(Orthogonality, AddsItsGradientToThatOfTheDecoderOfEveryArchitecture) {
  const Json options{{"coefficient", 0.7}, {"chunk", 6}};
  const at::Tensor x = normal({9, 5}, 1);
  const Step step{3, 5};
  for (const std::string& architecture : architecture_names()) {
    for (const char* norm : {"unit", "free"}) {
      SCOPED_TRACE(architecture + " " + norm);
      Json with = small_model(architecture, options), without = small_model(architecture, nullptr);
      with["decoder_norm"] = without["decoder_norm"] = norm;
      const auto sae = make_sae(with), plain = make_sae(without);
      const Losses losses = sae->losses(sae->forward(x, step), step);
      const Losses base = plain->losses(plain->forward(x, step), step);
      ASSERT_EQ(losses.size(), base.size() + 1);
      EXPECT_EQ(losses.back().first, "orthogonality");
      OrthogonalityOptions chunks;
      chunks.chunk = 6;
      const at::Tensor alone = 0.7 * orthogonality_penalty(plain->W_dec, chunks, step);
      expect_close(losses.back().second, alone);
      Tensors expected = gradients(*plain, total(base) + alone);
      expect_close(gradients(*sae, total(losses)), expected);
    }
  }
}

TEST(Orthogonality, EveryFifthStepWeighsFiveTimesAndIsTheOneThatALogShows) {
  const auto often = make_sae(small_model("batch_topk", Json::object()));
  const auto seldom = make_sae(small_model("batch_topk", {{"every", 5}}));
  const at::Tensor x = normal({9, 5}, 1);
  double sum_often = 0, sum_seldom = 0;
  for (std::int64_t index = 0; index < 10; ++index) {
    const auto value = [&](const Autoencoder& sae) {
      const Losses losses = sae.losses(sae.forward(x, {index, 1}), {index, 1});
      const bool has = losses.back().first == "orthogonality";
      return has ? losses.back().second.item<double>() : 0;
    };
    sum_often += value(*often);
    const double now = value(*seldom);
    EXPECT_EQ(now > 0, (index + 1) % 5 == 0) << index;
    sum_seldom += now;
  }
  EXPECT_NEAR(sum_seldom, sum_often, 1e-10) << "one chunk: the same at each step";
}

/// Trains for a while, in parts; returns the mean cosine of a row with its nearest.
std::pair<Tensors, double> trained(const Json& model, std::int64_t accumulate, const Mesh& mesh) {
  const auto sae = make_autoencoder(config_from_json(model, "test"), mesh);
  sae->initialise(3);
  to_double(*sae);
  TrainOptions options;
  options.steps = 30;
  options.batch = 14;
  options.accumulate = accumulate;
  options.schedule.lr = 0.02;
  options.input_norm = InputNorm::kUnit;
  Trainer trainer(sae, options, /*seed=*/5);
  const auto batch_of = [](std::int64_t step) {
    return 1.5 * normal({14, 5}, 1000 + static_cast<std::uint64_t>(step)) + 0.2;
  };
  trainer.calibrate(batch_of(-1));
  const Rows own = rows_of(14, mesh.data.rank(), mesh.data.size());
  while (!trainer.finished()) {
    trainer.step(batch_of(trainer.steps_done()).slice(0, own.begin, own.end));
  }
  return {clones(sae->named_parameters()),
          std::sqrt(penalty(sae->W_dec.detach(), sae->W_dec.size(0)))};
}

TEST(Orthogonality, TurnsRowsApartAndPartsOfABatchChangeNothing) {
  const Json options{{"coefficient", 1}, {"chunk", 8}};
  const auto [whole, apart] = trained(small_model("batch_topk", options), 1, {});
  const auto [in_parts, unused] = trained(small_model("batch_topk", options), 3, {});
  expect_close(in_parts, whole, "in parts", 1e-9);
  const double before = trained(small_model("batch_topk", nullptr), 1, {}).second;
  EXPECT_LT(apart, before - 0.05);
}

TEST(Orthogonality, RanksThatSplitTheBatchTrainAsOneProcess) {
  const Json model = small_model("batch_topk", {{"chunk", 8}});
  const Tensors alone = trained(model, 1, {}).first;
  std::mutex mutex;
  expect_none(on_ranks(2, [&](const Group& world) {
    const Tensors together = trained(model, 1, mesh_of(world, 1, 2)).first;
    const std::lock_guard lock(mutex);
    expect_close(together, alone, "over ranks", 1e-9);
  }));
}

TEST(Orthogonality, RanksThatSplitLatentsAreRefusedWithTheReason) {
  const std::vector<std::string> errors = on_ranks(2, [&](const Group& world) {
    trained(small_model("topk", Json::object()), 1, mesh_of(world, 2, 1));
  });
  for (const std::string& error : errors) {
    EXPECT_NE(
        error.find("model.orthogonality: got a penalty with latents on 2 ranks, but it pairs"),
        std::string::npos)
        << error;
  }
}

TEST(Orthogonality, OptionsThatDoNothingAreSaid) {
  Json model = small_model("topk", {{"every", 500}});
  model["freeze"] = "decoder";
  const ConfigNode node = config_from_json(model, "c.json");
  const Findings findings = check_model(node, {100, 10});
  ASSERT_EQ(findings.warnings().size(), 2U);
  EXPECT_NE(findings.warnings()[0].find("is not used with freeze 'decoder'"), std::string::npos);
  EXPECT_NE(findings.warnings()[1].find("there is never a penalty"), std::string::npos);
  const auto sae = make_sae(small_model("topk", Json::object()));
  model["orthogonality"] = Json::object();
  const auto frozen = make_sae(model);
  const at::Tensor x = normal({9, 5}, 1);
  EXPECT_EQ(frozen->losses(frozen->forward(x, {}), {}).size() + 1,
            sae->losses(sae->forward(x, {}), {}).size());
  model["orthogonality"] = {{"chunk", 1}};
  expect_refused<ConfigError>([&] { make_sae(model); }, {"orthogonality.chunk", "2"});
  model["orthogonality"] = {{"coefficient", 0}};
  expect_refused<ConfigError>([&] { make_sae(model); }, {"orthogonality.coefficient"});
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "evaluation/encode_all.h"
#include "sae/base/error.h"
#include "sae/evaluation/probing.h"
#include "support/golden_file.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

constexpr std::int64_t kTrain = 200, kTest = 50;  // texts of a class
constexpr std::int64_t kLength = 8;               // tokens of a text
constexpr std::int64_t kWidth = 16, kLatents = 64;

/// The golden's texts without their padding, which is rows of zeros at the end.
LabelledSplit texts(const GoldenFile& golden, const std::string& name) {
  const at::Tensor x = golden[name + ".x"].to(at::kFloat);  // [classes, n, length, d]
  const std::int64_t n = x.size(0) * x.size(1);
  const at::Tensor flat = x.reshape({n, kLength, kWidth});
  const at::Tensor real = flat.ne(0).any(2);
  LabelledSplit split;
  split.x = flat.reshape({n * kLength, kWidth}).index({real.reshape({-1})});
  split.offsets = at::cat({at::zeros({1}, at::kLong), real.sum(1).cumsum(0)});
  split.y = at::arange(x.size(0), at::kLong).repeat_interleave(x.size(1));
  return split;
}

std::shared_ptr<Autoencoder> golden_sae(const GoldenFile& golden) {
  const Json model = {{"architecture", "standard"}, {"d_in", kWidth}, {"d_sae", kLatents}};
  auto sae = make_autoencoder(config_from_json(model, "test"));
  const at::NoGradGuard no_grad;
  sae->W_enc.copy_(golden["W_enc"]);
  sae->b_enc.copy_(golden["b_enc"]);
  sae->b_dec.copy_(golden["b_dec"]);
  sae->W_dec.copy_(sae->W_enc / sae->W_enc.norm(2, 1, true));  // of norm 1; the golden needs none
  return sae;
}

TEST(SparseProbing, AveragesCodesOverATextAsSaeBench) {
  const GoldenFile golden("sparse_probing");
  const auto sae = golden_sae(golden);
  for (const std::string split : {"train", "test"}) {
    const LabelledSplit data = texts(golden, split);
    const Codes dense = Codes::from_dense(data.x);
    expect_close(text_means(dense, data.offsets).values(),
                 golden[split + ".llm"].reshape({-1, kWidth}), split, 1e-6);
    for (const bool sparse : {false, true}) {
      Codes codes = encode_all(*sae, data.x, 50);
      codes = sparse ? codes.to_sparse() : Codes::from_dense(codes.to_dense());
      expect_close(text_means(codes, data.offsets).values(),
                   golden[split + ".sae"].reshape({-1, kLatents}), split, 1e-6);
    }
  }
}

TEST(SparseProbing, ChoosesAndProbesAsSaeBench) {
  const GoldenFile golden("sparse_probing");
  for (const std::string kind : {"llm", "sae"}) {
    const std::int64_t width = kind == "llm" ? kWidth : kLatents;
    const Codes train = Codes::from_dense(golden["train." + kind].reshape({-1, width}));
    const Codes test = Codes::from_dense(golden["test." + kind].reshape({-1, width}));
    for (const std::int64_t k : {1, 2, 5}) {
      for (std::int64_t c = 0; c < 4; ++c) {
        const std::string name = kind + "." + std::to_string(k) + "." + std::to_string(c);
        const at::Tensor rows = golden.longs(name + ".train");
        const at::Tensor held = golden.longs(name + ".test");
        const at::Tensor y = rows.div(kTrain, "floor").eq(c).to(at::kLong);
        const at::Tensor held_y = held.div(kTest, "floor").eq(c).to(at::kLong);
        for (const bool sparse : {false, true}) {
          Codes x = rows_of(train, rows);
          Codes held_x = rows_of(test, held);
          if (sparse) {
            x = x.to_sparse();
            held_x = held_x.to_sparse();
          }
          const auto which = top_mean_differences(x, y, k);
          EXPECT_EQ(which, golden.integers(name + ".latents")) << name;
          const double accuracy = k_sparse_accuracy(x, y, held_x, held_y, which);
          EXPECT_NEAR(accuracy, golden.number(name + ".exact"), 1e-12) << name;
          EXPECT_NEAR(accuracy, golden.number(name + ".accuracy"), 1.0 / (2 * kTest) + 1e-9)
              << name << ": sae-bench's fit stops early";
        }
      }
    }
  }
}

TEST(SparseProbing, NegativesAreEvenlyDrawnAndNeverTheClassItself) {
  const at::Tensor y = at::arange(4, at::kLong).repeat_interleave(9);
  const at::Tensor rows = balanced_rows(y, 4, 2, 0, 5);
  ASSERT_EQ(rows.size(0), 18);
  EXPECT_TRUE(at::equal(rows.slice(0, 0, 9), at::arange(18, 27, at::kLong)));
  const auto drawn = indices(rows.slice(0, 9));
  EXPECT_EQ(std::set<std::int64_t>(drawn.begin(), drawn.end()).size(), 9U);
  const at::Tensor of_class = at::bincount(y.index_select(0, rows.slice(0, 9)), {}, 4);
  EXPECT_TRUE(at::equal(of_class, integers({3, 3, 0, 3})));
  EXPECT_FALSE(at::equal(rows, balanced_rows(y, 4, 2, 0, 6)));
  EXPECT_TRUE(at::equal(rows, balanced_rows(y, 4, 2, 0, 5)));
}

/// Classes on axes of their own, one row a text.
LabelledActivations easy(std::int64_t classes, double noise) {
  LabelledActivations data;
  data.place = data.task = "easy";
  for (std::int64_t c = 0; c < classes; ++c) data.classes.push_back("class " + std::to_string(c));
  const auto split = [&](std::int64_t n, std::uint64_t index) {
    LabelledSplit out;
    out.y = at::arange(n, at::kLong) % classes;
    out.x = (noise * normal({n, 16}, index)).to(at::kFloat);
    out.x.scatter_add_(1, out.y.unsqueeze(1), at::full({n, 1}, 2.0F));
    return out;
  };
  data.train = split(40 * classes, 1);
  data.test = split(20 * classes, 2);
  return data;
}

std::shared_ptr<Autoencoder> identity_sae() {
  const Json model = {{"architecture", "standard"}, {"d_in", 16}, {"d_sae", 16}};
  auto sae = make_autoencoder(config_from_json(model, "test"));
  const at::NoGradGuard no_grad;
  sae->W_enc.copy_(at::eye(16));
  sae->W_dec.copy_(at::eye(16));
  return sae;
}

TEST(SparseProbing, ALatentOfTheClassTellsItAlone) {
  SparseProbingOptions options;
  options.probe_batch_size = 20;
  ProbingResult result;
  result.options = options;
  result.datasets.push_back(probe_dataset(*identity_sae(), easy(4, 0.3), options, 1));
  const ProbingDataset& dataset = result.datasets[0];
  ASSERT_EQ(dataset.tasks.size(), 4U);
  for (std::int64_t c = 0; c < 4; ++c) {
    EXPECT_EQ(dataset.tasks[static_cast<std::size_t>(c)].latents[0], std::vector<std::int64_t>{c});
  }
  const MetricValues values = result.values();
  EXPECT_EQ(values.at("tasks"), 4);
  for (const char* name : {"sae_top_1_test_accuracy", "sae_top_5_test_accuracy",
                           "sae_test_accuracy", "llm_top_1_test_accuracy", "llm_test_accuracy"}) {
    EXPECT_GT(values.at(name), 0.94) << name;
  }
  const Json json = result.json();
  EXPECT_EQ(json["eval_result_metrics"]["sae"]["sae_top_2_test_accuracy"],
            values.at("sae_top_2_test_accuracy"));
  EXPECT_EQ(json["eval_result_details"][0]["dataset_name"], "easy");
  EXPECT_EQ(json["tasks"][3]["latents"]["1"], std::vector<std::int64_t>{3});
}

TEST(SparseProbing, TwoClassesAreOneTaskAndNoiseIsChance) {
  SparseProbingOptions options;
  options.dense = false;
  LabelledActivations data = easy(2, 0.3);
  const ProbingDataset one = probe_dataset(*identity_sae(), data, options, 1);
  ASSERT_EQ(one.tasks.size(), 1U);
  EXPECT_EQ(one.tasks[0].name, "class 1");
  EXPECT_FALSE(one.tasks[0].accuracy.contains("sae_test_accuracy"));
  data.test.x = normal({40, 16}, 5).to(at::kFloat);
  const ProbingDataset noise = probe_dataset(*identity_sae(), data, options, 1);
  EXPECT_NEAR(noise.tasks[0].accuracy.at("llm_top_1_test_accuracy"), 0.5, 0.25);
}

TEST(SparseProbing, TextsAndTheirMeansAreProbedAlike) {
  const GoldenFile golden("sparse_probing");
  LabelledActivations data;
  data.place = data.task = "golden";
  data.classes = {"0", "1", "2", "3"};
  data.train = texts(golden, "train");
  data.test = texts(golden, "test");
  SparseProbingOptions options;
  options.dense = false;
  const auto run = [&](std::int64_t batch) {
    options.batch = batch;
    return probe_dataset(*golden_sae(golden), data, options, 3).mean();
  };
  const MetricValues many = run(1000);
  EXPECT_EQ(many, run(7)) << "whatever is encoded at a time";
  EXPECT_GT(many.at("sae_top_5_test_accuracy"), 0.6);
}

/// Latents of random directions, each multiplied by a factor that its decoder row is divided by.
std::shared_ptr<Autoencoder> rescaled_sae(const at::Tensor& factor) {
  const Json model = {
      {"architecture", "standard"}, {"d_in", 16}, {"d_sae", 48}, {"decoder_norm", "free"}};
  auto sae = make_autoencoder(config_from_json(model, "test"));
  const at::NoGradGuard no_grad;
  const at::Tensor rows = normal({48, 16}, 21).to(at::kFloat);
  const at::Tensor unit = rows / rows.norm(2, 1, true);
  sae->W_enc.copy_(unit * factor.unsqueeze(1));
  sae->b_enc.copy_(-0.3 * factor);
  sae->W_dec.copy_(unit / factor.unsqueeze(1));
  return sae;
}

TEST(SparseProbing, DoesNotDependOnTheUnitOfLatents) {
  const LabelledActivations data = easy(4, 0.8);
  SparseProbingOptions options;
  options.probe_epochs = 5;
  const auto run = [&](const at::Tensor& factor) {
    return probe_dataset(*rescaled_sae(factor), data, options, 1);
  };
  const ProbingDataset one = run(at::ones({48}));
  const ProbingDataset other = run(at::pow(10, normal({48}, 22)).to(at::kFloat));
  for (std::size_t task = 0; task < 4; ++task) {
    EXPECT_EQ(other.tasks[task].latents, one.tasks[task].latents);
    for (const auto& [name, value] : one.tasks[task].accuracy) {
      EXPECT_NEAR(other.tasks[task].accuracy.at(name), value, 0.03) << name;
    }
  }
}

TEST(SparseProbing, CodesThatCarryNothingAreNotRanked) {
  const LabelledActivations data = easy(3, 0.3);
  SparseProbingOptions options;
  options.dense = false;
  const auto why = [&](const auto& change) {
    const auto sae = identity_sae();
    const at::NoGradGuard no_grad;
    change(*sae);
    ProbingResult result;
    result.options = options;
    result.datasets.push_back(probe_dataset(*sae, data, options, 1));
    const Json json = result.json();
    EXPECT_EQ(json["ranked"], result.unranked().empty());
    EXPECT_EQ(json.value("not_ranked", ""), result.unranked());
    return result.unranked();
  };
  EXPECT_EQ(why([](Autoencoder&) {}), "");
  EXPECT_EQ(why([](Autoencoder& sae) { sae.b_enc.fill_(-100); }),
            "easy: 120 of 120 training texts have no active latent");
  EXPECT_EQ(why([](Autoencoder& sae) {
              sae.W_enc.zero_();
              sae.b_enc.fill_(1);
            }),
            "easy: its codes are the same for all training texts");
  EXPECT_EQ(why([](Autoencoder& sae) { sae.W_dec.zero_(); }),
            "easy: 120 of 120 training texts have no active latent")
      << "latents without a decoder row say nothing";
  EXPECT_NE(why([](Autoencoder& sae) { sae.W_dec.neg_(); }).find("no better than the mean"),
            std::string::npos);
}

TEST(SparseProbing, CodesThatAreNotFiniteHaveNoAccuracy) {
  const LabelledActivations data = easy(3, 0.3);
  ProbingSubject subject = encode_texts(*identity_sae(), data, 100);
  at::Tensor broken = subject.test_codes.to_dense().clone();
  broken[4][1] = NAN;
  subject.test_codes = Codes::from_dense(broken);
  const ProbingDataset dataset = probe_dataset(subject, data, {}, 1);
  EXPECT_TRUE(std::isnan(dataset.tasks[0].accuracy.at("sae_top_1_test_accuracy")));
  EXPECT_GT(dataset.tasks[0].accuracy.at("llm_top_1_test_accuracy"), 0.9);
}

TEST(SparseProbing, SaysWhatItRestsOn) {
  LabelledActivations data = easy(3, 0.3);
  data.test.x.slice(0, 0, 30).copy_(data.test.x[0].clone().expand({30, 16}));
  SparseProbingOptions options;
  options.dense = false;
  ProbingResult result;
  result.datasets.push_back(probe_dataset(*identity_sae(), data, options, 1));
  EXPECT_EQ(result.basis(),
            "3 tasks of 1 file, 120 training texts; 60 test texts, 31 of them distinct");
  const Json json = result.json();
  EXPECT_EQ(json["rests_on"]["distinct_test_texts"], 31);
  EXPECT_EQ(json["tasks"][0]["train_texts"], 80) << "the class and as many of the others";
}

TEST(SparseProbing, AnotherWidthIsADataError) {
  LabelledActivations data = easy(3, 0.1);
  data.train.x = data.train.x.slice(1, 0, 8);
  try {
    probe_dataset(*identity_sae(), data, {}, 0);
    FAIL() << "no error";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(), "easy: activations have width 8, the autoencoder takes 16");
  }
}

}  // namespace
}  // namespace sae

// A store that `sae synth` wrote, measured against the truth beside its shards.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "sae/base/error.h"
#include "sae/base/rng.h"
#include "sae/comparison/compare.h"
#include "sae/data/store.h"
#include "sae/evaluation/evaluation.h"
#include "sae/formats/safetensors.h"
#include "sae/models/architectures.h"
#include "sae/tools/evaluate.h"
#include "sae/tools/synth.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class StoredTruth : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  fs::path synth(const std::string& name, std::int64_t tokens,
                 std::vector<std::string> sets = {}) const {
    fs::remove_all(path(name));
    sets.emplace_back("stream_seed=3");
    write_world(read_synth("tiny", tokens, sets), path(name));
    return path(name);
  }

  static Json group(const fs::path& store, double held_out = 0.3) {
    return {{"kind", "store"}, {"path", store.string()}, {"held_out", held_out}};
  }
  static Data open(const Json& data) { return open_data(config_from_json(data, "test"), 0); }

  static std::shared_ptr<Autoencoder> some_sae() {
    const Json model = {{"architecture", "topk"}, {"d_in", 20}, {"d_sae", 24}, {"k", 3}};
    auto sae = make_autoencoder(config_from_json(model, "test"));
    sae->initialise(1);
    return sae;
  }

  static EvalOptions options() {
    EvalOptions eval;
    eval.batch = 100;
    eval.truth.min_events = 5;
    eval.truth.min_match_cosine = 0.2;
    return eval;
  }

  /// What opening the store, or reading all that is held out of it, complains of.
  static std::string complaint(const fs::path& store) {
    try {
      const Data data = open(group(store));
      require_finite_held_out(data, *data.held_out_tokens, 7);
    } catch (const DataError& error) {
      return error.what();
    }
    return "none";
  }

  /// Writes one tensor of a file of the store anew.
  static void edit(const fs::path& file, const std::string& name,
                   const std::function<at::Tensor(at::Tensor)>& change) {
    NamedTensors tensors;
    {
      const SafetensorsFile before(file);
      for (const std::string& each : before.names()) {
        const at::Tensor value = before.tensor(each).clone();
        tensors.emplace_back(each, each == name ? change(value) : value);
      }
    }
    write_safetensors(file, tensors);
  }

 private:
  TemporaryFolder folder_;
};

constexpr const char* kAdvice =
    "; write the store anew with sae synth, or remove world.json to use it without its truth";

TEST_F(StoredTruth, GivesTheNumbersOfTheWorldOnTheSameSamples) {
  const std::int64_t tokens = 66'600;  // two files of truth
  const fs::path place = synth("store", tokens, {"bias_norm=1"});
  ASSERT_TRUE(fs::exists(place / "truth-00001.safetensors"));
  const auto sae = some_sae();
  const Evaluation stored = evaluate(*sae, open(group(place, 0.02)), options());

  const auto world =
      std::make_shared<const World>(read_synth("tiny", tokens, {"bias_norm=1"}).world);
  StoreOptions split;
  split.held_out = 0.02;
  const StoreSource order(std::make_shared<const ActivationStore>(place), split, Split::kHeldOut,
                          0);
  WorldSource source(world, 3);
  TruthEvaluation expected(world, {sae->W_dec, sae->b_dec, sae->W_enc}, options().truth);
  bool second = false;
  for (std::int64_t done = 0; done < order.size();) {  // in the batches of the evaluation
    std::vector<at::Tensor> x;
    SparseRows truth;
    for (const std::int64_t row :
         order.rows_at(done, std::min<std::int64_t>(100, order.size() - done))) {
      second = second || row >= 65'536;
      source.seek(row);
      const LabelledBatch sample = source.next_with_truth(1);
      x.push_back(sample.x);
      truth.values.insert(truth.values.end(), sample.truth.values.begin(),
                          sample.truth.values.end());
      truth.indices.insert(truth.indices.end(), sample.truth.indices.begin(),
                           sample.truth.indices.end());
      truth.offsets.push_back(std::ssize(truth.indices));
    }
    const at::NoGradGuard no_grad;
    const Codes codes = sae->encode(at::cat(x));
    expected.add(truth, view_of(codes));
    done += std::ssize(x);
  }
  EXPECT_TRUE(second) << "rows of the second file are among them";
  const TruthMetrics metrics = expected.metrics();
  EXPECT_EQ(stored.tokens, 1332);
  EXPECT_EQ(metrics.samples, 1332);
  ASSERT_GT(metrics.full.parents, 0);
  EXPECT_EQ(stored.values.at("mcc"), metrics.mcc);
  EXPECT_EQ(stored.values.at("f1"), metrics.f1);
  EXPECT_EQ(stored.values.at("true_l0"), metrics.true_l0);
  EXPECT_EQ(stored.values.at("absorption_parents"), static_cast<double>(metrics.full.parents));
  EXPECT_EQ(stored.values.at("absorption_full_micro"), metrics.full.micro);
  EXPECT_EQ(stored.values.at("absorption_fraction_macro"), metrics.fraction.macro);
  EXPECT_EQ(stored.values.at("miss_on_micro"), metrics.miss_on.micro);
  EXPECT_EQ(stored.values.at("shrinkage"), metrics.shrinkage);
}

TEST_F(StoredTruth, IsTheHeldOutStoresWhereThatIsAnother) {
  const fs::path train = synth("train", 200), held = synth("held", 90, {"seed=7"});
  Json data = group(train);
  data.erase("held_out");
  data["held_out_path"] = held.string();
  EXPECT_EQ(open(data).world->options().seed, 7);
  fs::remove(train / "world.json");
  EXPECT_TRUE(open(data).world);
  fs::remove(held / "world.json");
  EXPECT_FALSE(open(data).world) << "then it is a store like any other";
  EXPECT_FALSE(evaluate(*some_sae(), open(data), options()).values.contains("mcc"));
}

TEST_F(StoredTruth, HoldsInHalfPrecision) {
  for (const char* dtype : {"f16", "bf16"}) {
    EXPECT_EQ(complaint(synth("store", 300, {std::string("dtype=") + dtype, "bias_norm=2"})),
              "none")
        << dtype;
  }
}

TEST_F(StoredTruth, IsMeasuredByTrainingComparingAndEvaluating) {
  Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 24}, {"k", 2}}, 20);
  config["data"] = group(synth("store", 400));
  config["eval"] = {{"tokens", 200}, {"truth", {{"min_events", 1}}}};
  const RunOptions run = tiny_run(config);
  for (const Notice& notice : run.notices) {
    EXPECT_EQ(notice.text.find("eval.truth"), std::string::npos) << notice.text;
  }
  train(run, path("run"), false);
  const Json metrics = parsed(path("run") / "summary.json")["metrics"];
  EXPECT_TRUE(metrics.contains("mcc") && metrics.contains("absorption_full_micro"));

  EvaluateArguments given;
  given.path = path("run").string();
  given.device = "cpu";
  given.suites = {"truth"};
  const auto own = evaluate_suites(given);
  EXPECT_EQ(own.at(0).suites.at(0).mean.at("mcc"), metrics["mcc"].get<double>());
  EXPECT_EQ(own[0].suites[0].basis.rfind("120 samples; ", 0), 0U) << own[0].suites[0].basis;
  given.data = {synth("other", 50).string()};
  EXPECT_EQ(evaluate_suites(given).at(0).suites.at(0).basis.rfind("50 samples; ", 0), 0U);

  const Json settings = {{"seeds", {0}},
                         {"levels", {2}},
                         {"base", config},
                         {"members", {{{"name", "topk"}, {"level", "model.k"}}}}};
  const auto outcome =
      compare(plan_comparison(config_from_json(settings, "c.json")), path("c"), "sae compare");
  EXPECT_EQ(outcome.result.runs.at(0).metrics.at("mcc"), metrics["mcc"].get<double>());
}

TEST_F(StoredTruth, ThatDoesNotFitIsRefusedBeforeTheFirstStep) {
  Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 24}, {"k", 2}}, 20);
  const fs::path place = synth("store", 60);
  config["data"] = group(place);
  edit(place / "truth-00000.safetensors", "values", [](const at::Tensor& v) { return v * 1.01; });
  EXPECT_THROW(train(tiny_run(config), path("run"), false), DataError);
  EXPECT_FALSE(fs::exists(path("run")));
}

TEST_F(StoredTruth, SaysWhatIsMissingOrOfAnotherStore) {
  const fs::path place = path("store"), truth = place / "truth-00000.safetensors";
  const auto refused = [&](const std::string& where, const std::string& what) {
    EXPECT_EQ(complaint(place), where + ": " + what + kAdvice);
  };
  for (const char* file : {"truth-00000.safetensors", "dictionary.safetensors"}) {
    synth("store", 40);
    fs::remove(place / file);
    refused((place / file).string(), "is missing beside world.json");
  }
  synth("store", 40);
  fs::copy_file(truth, place / "truth-00001.safetensors");
  refused(place.string(),
          "has the features of 80 activations in its truth files, 40 activations in its shards");
  synth("store", 40);
  synth("longer", 50);
  fs::copy_file(path("longer") / "truth-00000.safetensors", truth,
                fs::copy_options::overwrite_existing);
  refused(place.string(),
          "has the features of 50 activations in its truth files, 40 activations in its shards");
  synth("store", 40);
  synth("another", 40, {"seed=9"});
  fs::copy_file(path("another") / "dictionary.safetensors", place / "dictionary.safetensors",
                fs::copy_options::overwrite_existing);
  EXPECT_NE(complaint(place).find("truth-00000.safetensors: row "), std::string::npos)
      << complaint(place);
  synth("store", 40);
  synth("wide", 40, {"d_in=21"});
  fs::copy_file(path("wide") / "world.json", place / "world.json",
                fs::copy_options::overwrite_existing);
  refused((place / "world.json").string(), "is a world of width 21, the activations have 20");
  fs::copy_file(path("wide") / "dictionary.safetensors", place / "dictionary.safetensors",
                fs::copy_options::overwrite_existing);
  synth("store", 40);
  edit(place / "dictionary.safetensors", "features",
       [](const at::Tensor& d) { return d.slice(1, 0, 19).contiguous(); });
  EXPECT_NE(complaint(place).find("tensor features is F32 [20, 19], expected F32 [20, 20]"),
            std::string::npos)
      << complaint(place);
  synth("store", 40);
  edit(place / "dictionary.safetensors", "rates", [](const at::Tensor& r) { return r * 1.001; });
  refused((place / "dictionary.safetensors").string(),
          "feature 0 has another rate than in the world of world.json");
  synth("store", 40);
  for (const char* text : {"", "{", "[]", R"({"preset": "tiny", "roots": -1})", R"({"x": 1})"}) {
    write_text(place / "world.json", text);
    EXPECT_EQ(complaint(place).rfind(place.string(), 0), 0U) << text << " " << complaint(place);
    EXPECT_TRUE(complaint(place).ends_with(kAdvice)) << complaint(place);
  }
}

TEST_F(StoredTruth, RefusesFeaturesThatDoNotExistOrDoNotGiveTheActivation) {
  const fs::path truth = path("store") / "truth-00000.safetensors";
  using Change = std::function<at::Tensor(at::Tensor)>;
  const auto all = [](const auto& value) {
    return [value](const at::Tensor& before) { return at::full_like(before, value); };
  };
  const std::vector<std::pair<std::string, Change>> changes = {
      {"indices", all(20)},
      {"indices", all(-1)},
      {"indices", all(std::numeric_limits<std::int64_t>::max())},
      {"indices", all(0)},
      {"indices", [](const at::Tensor& before) { return (before + 1) % 20; }},
      {"values", all(-1.0)},
      {"values", all(std::numeric_limits<double>::quiet_NaN())},
      {"values", all(std::numeric_limits<double>::infinity())}};
  for (const auto& [name, change] : changes) {
    synth("store", 40);
    edit(truth, name, change);
    const std::string found = complaint(path("store"));
    EXPECT_EQ(found.rfind(truth.string() + ": row ", 0), 0U) << name << ": " << found;
    EXPECT_NE(found.find(": its features do not give the activation in "), std::string::npos);
    EXPECT_EQ(found.find('\n'), std::string::npos);
  }
}

TEST_F(StoredTruth, RefusesOffsetsThatAreNotThoseOfItsRows) {
  const fs::path truth = path("store") / "truth-00000.safetensors";
  synth("store", 40);
  const at::Tensor good = SafetensorsFile(truth).tensor("offsets").clone();
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  Rng rng(1, Stream::kWorld, 99);
  for (int i = 0; i < 60; ++i) {
    at::Tensor bad = good.clone();
    const std::int64_t at = static_cast<std::int64_t>(rng.below(41));
    const std::vector<std::int64_t> values = {-1,
                                              huge,
                                              -huge - 1,
                                              huge - 7,
                                              0,
                                              good[-1].item<std::int64_t>(),
                                              static_cast<std::int64_t>(rng.below(100)),
                                              static_cast<std::int64_t>(rng.next()) << 31};
    bad[at] = values[static_cast<std::size_t>(i) % values.size()];
    edit(truth, "offsets", [&](const at::Tensor&) { return bad; });
    const std::string found = complaint(path("store"));
    if (at::equal(bad, good)) {
      EXPECT_EQ(found, "none");
      continue;
    }
    // A row that is trained on is not read: what is left to see are offsets out of order.
    EXPECT_TRUE(found == "none" || found.rfind(truth.string(), 0) == 0U) << found;
    const bool ordered = bad[0].item<std::int64_t>() == 0 && at::equal(bad[-1], good[-1]) &&
                         bad.slice(0, 1).ge(bad.slice(0, 0, -1)).all().item<bool>();
    if (!ordered) {
      EXPECT_NE(found.find("offsets: expected them to ascend from 0 to the "), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace sae

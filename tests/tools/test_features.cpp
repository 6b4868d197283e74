#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/sha256.h"
#include "sae/data/store.h"
#include "sae/models/sae_folder.h"
#include "sae/tools/features.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"
#include "tools/features/collector.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

TEST(GrowingHistogram, CountsTheSameInAnyOrder) {
  const std::vector<float> values = {0.4f, 0.5f, 0.9999f, 1, 3.5f, 0.01f, 3.5f};
  GrowingHistogram up, down;
  for (const float value : values) up.add(value);
  for (auto value = values.rbegin(); value != values.rend(); ++value) down.add(*value);
  EXPECT_EQ(up.bin_width(), 4.0 / 64);
  EXPECT_EQ(up.counts(), down.counts());
  ASSERT_EQ(up.counts().size(), 57u);
  for (const auto& [bin, count] : std::map<std::size_t, std::int64_t>{
           {0, 1}, {6, 1}, {8, 1}, {15, 1}, {16, 1}, {56, 2}, {20, 0}}) {
    EXPECT_EQ(up.counts()[bin], count) << bin;
  }
}

TEST(GrowingHistogram, HasNoBinsWithoutValues) { EXPECT_TRUE(GrowingHistogram().counts().empty()); }

TEST(TokenCounter, IsExactForFewTokens) {
  TokenCounter counter;
  for (std::int32_t i = 0; i < 1000; ++i) counter.add(i % 3 == 0 ? 7 : i % 100);
  const auto most = counter.most(2);
  ASSERT_EQ(most.size(), 2u);
  EXPECT_EQ(most[0].token, 7);
  EXPECT_EQ(most[0].firings, 334 + 7);  // i = 7, 107, ...: of ten, 207, 507 and 807 are there
  EXPECT_TRUE(most[0].exact);
}

TEST(TokenCounter, FindsFrequentTokensAmongManyAndNeverCountsTooMany) {
  TokenCounter counter;
  std::map<std::int32_t, std::int64_t> truth;
  Rng rng(0, Stream::kTest, 0);
  for (int i = 0; i < 20'000; ++i) {
    const auto token = static_cast<std::int32_t>(rng.below(4) == 0 ? 5 : 10 + rng.below(5000));
    counter.add(token);
    ++truth[token];
  }
  const auto most = counter.most(256);
  EXPECT_EQ(most.front().token, 5);
  EXPECT_TRUE(std::any_of(most.begin(), most.end(), [](const auto& one) { return !one.exact; }));
  for (const FeatureToken& one : most) {
    EXPECT_LE(one.firings, truth[one.token]);
    EXPECT_TRUE(!one.exact || one.firings == truth[one.token]) << one.token;
  }
}

/// One latent with the given activations, token and context of each row.
std::vector<LatentFeature> collect(const std::vector<float>& activations,
                                   const std::vector<std::int32_t>& context,
                                   const FeaturesOptions& options) {
  SparseRows rows;
  for (const float value : activations) {
    if (value != 0) {
      rows.values.push_back(value);
      rows.indices.push_back(0);
    }
    rows.offsets.push_back(static_cast<std::int64_t>(rows.values.size()));
  }
  std::vector<std::int32_t> tokens(activations.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  FeatureCollector collector(1, options);
  collector.add({.codes = rows,
                 .first_row = 0,
                 .begin = 0,
                 .end = static_cast<std::int64_t>(activations.size()),
                 .context = context,
                 .tokens = tokens});
  return collector.finish();
}

TEST(FeatureCollector, KeepsTheStrongestOfEachContext) {
  FeaturesOptions options;
  options.contexts = 2;
  options.window = 2;
  const auto latent =
      collect({1, 5, 0, 4, 2, 0, 0, 3, 0, 9}, {0, 0, 0, 0, 1, 1, 1, 2, 2, 2}, options)[0];
  EXPECT_EQ(latent.firings, 6);
  EXPECT_EQ(latent.sum, 24);
  EXPECT_EQ(latent.max, 9);
  ASSERT_EQ(latent.top.size(), 2u);
  EXPECT_EQ(latent.top[0].row, 9);
  EXPECT_EQ(latent.top[1].row, 1);
  EXPECT_EQ(latent.top[1].activation, 5);
}

TEST(FeatureCollector, ShowsNoTokensOfAnotherContext) {
  FeaturesOptions options;
  options.window = 2;
  const auto top =
      collect({1, 5, 0, 4, 2, 0, 0, 3, 0, 9}, {0, 0, 0, 0, 1, 1, 1, 2, 2, 2}, options)[0].top;
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].first_row, 7);  // 9 - 2, then the end
  EXPECT_EQ(top[0].rows, 3);
  ASSERT_EQ(top[0].marks.size(), 2u);
  EXPECT_EQ(top[0].marks[0].offset, 0);
  EXPECT_EQ(top[0].marks[0].activation, 3);
  EXPECT_EQ(top[1].first_row, 0);
  EXPECT_EQ(top[1].rows, 4);  // 1 + 2, the last of its context
  EXPECT_EQ(top[2].first_row, 4);
  EXPECT_EQ(top[2].rows, 3);
}

TEST(FeatureCollector, TakesWindowsForContextsWhereThereAreNone) {
  FeaturesOptions options;
  options.window = 1;
  const auto top = collect({1, 2, 3, 4, 5, 6}, {}, options)[0].top;
  ASSERT_EQ(top.size(), 2u);  // rows 0 to 2 and 3 to 5
  EXPECT_EQ(top[0].row, 5);
  EXPECT_EQ(top[1].row, 2);
  EXPECT_EQ(top[1].first_row, 1);
  EXPECT_EQ(top[1].rows, 3);
}

TEST(FeatureCollector, SamplesTheMiddleOfEachQuantile) {
  FeaturesOptions options;
  options.quantiles = 2;
  const auto samples = collect({8, 1, 7, 2, 6, 3, 5, 4}, {}, options)[0].samples;
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].activation, 3);  // 8 firings: the third and the seventh
  EXPECT_EQ(samples[1].activation, 7);
}

TEST(FeatureCollector, EstimatesQuantilesOfManyFirings) {
  std::vector<float> values(20'000);
  std::iota(values.begin(), values.end(), 1.0f);
  FeaturesOptions options;
  options.quantiles = 4;
  double sum = 0;
  std::set<std::int64_t> different;
  for (options.seed = 0; options.seed < 20; ++options.seed) {
    const auto samples = collect(values, {}, options)[0].samples;
    ASSERT_EQ(samples.size(), 4u);
    sum += samples[1].activation / 20'000;
    different.insert(samples[1].row);
  }
  // The 7th smallest of 16 uniform numbers: mean 7/17, deviation .116, of 20 of them .026.
  EXPECT_NEAR(sum / 20, 7.0 / 17, 0.1);
  EXPECT_GT(different.size(), 10u);
}

TEST(FeatureCollector, IgnoresWhatIsNotAboveZero) {
  const auto latent = collect({-1, 0, 2}, {}, {})[0];
  EXPECT_EQ(latent.firings, 1);
  EXPECT_EQ(latent.top.at(0).marks.size(), 1u);
}

class FeaturePages : public testing::Test {
 protected:
  static constexpr std::int64_t kRows = 5000;  // more than a batch
  static constexpr std::int64_t kLatents = 70;

  fs::path at(const std::string& name) const { return folder_.path() / name; }

  std::shared_ptr<Autoencoder> save_topk(std::int64_t d_in = 6) {
    const Json model = resolve_model(config_from_json(
        {{"architecture", "topk"}, {"d_in", d_in}, {"d_sae", kLatents}, {"k", 3}}, "test"));
    auto sae = make_autoencoder(config_from_json(model, "test"));
    sae->initialise(1);
    {
      const at::NoGradGuard no_grad;
      sae->b_enc.slice(0, 60, 62).fill_(-100);  // silent
    }
    save_sae(at("sae"), *sae, model, 1, {{"source", "here"}});
    return sae;
  }

  at::Tensor save_store(bool tokens, const std::string& vocabulary = "") {
    const at::Tensor rows = normal({kRows, 6}, 3).to(at::kFloat);
    StoreWriter writer(at("store"), 6, at::kFloat, {{"model", "m"}, {"hook_name", "h"}});
    const at::Tensor ids = at::arange(kRows);
    writer.append(rows, tokens ? ids.remainder(7) : at::Tensor(),
                  tokens ? ids.div(10, "floor") : at::Tensor());
    if (!vocabulary.empty()) writer.add_file("vocabulary.json", vocabulary);
    writer.finish();
    return rows;
  }

  FeaturesArguments arguments(const std::string& out = "out") const {
    FeaturesArguments given;
    given.sae = at("sae").string();
    given.data = at("store").string();
    given.out = at(out).string();
    given.device = test_device();
    given.threads = 1;
    return given;
  }

  Json json(const std::string& file, const std::string& call) const {
    const std::string text = read_file(at(file));
    EXPECT_TRUE(text.starts_with(call)) << text.substr(0, 40);
    EXPECT_TRUE(text.ends_with(");\n"));
    return Json::parse(text.substr(call.size(), text.size() - call.size() - 3));
  }

  template <class Error>
  std::string error(const FeaturesArguments& given) {
    try {
      write_features(given);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder_;
  const std::string vocabulary_ =
      R"({"format": "sae-vocabulary", "version": 1, "tokens": [" a", " b", "</script>", "\n", "ü", "f"]})";
};

TEST_F(FeaturePages, AgreeWithADenseReference) {
  const auto sae = save_topk();
  const at::Tensor rows = save_store(true);
  const Features found = collect_features(*sae, ActivationStore(at("store")));
  const at::NoGradGuard no_grad;
  const at::Tensor f = sae->encode(rows).to_dense();  // [N, F]
  const at::Tensor unit = sae->W_dec / sae->W_dec.norm(2, 1, true);
  const at::Tensor cosines = at::matmul(unit, unit.t()).fill_diagonal_(-2);
  ASSERT_EQ(found.rows, kRows);
  ASSERT_EQ(static_cast<std::int64_t>(found.latents.size()), kLatents);
  EXPECT_EQ(found.occurrences.at(2), 714);  // 2, 9, ..., 4993
  for (std::int64_t i = 0; i < kLatents; ++i) {
    const LatentFeature& latent = found.latents[static_cast<std::size_t>(i)];
    const at::Tensor own = f.select(1, i);
    EXPECT_EQ(latent.firings, own.gt(0).sum().item<std::int64_t>()) << i;
    EXPECT_FLOAT_EQ(latent.max, own.max().item<float>()) << i;
    EXPECT_NEAR(latent.sum, own.to(at::kDouble).sum().item<double>(), 1e-6 * (1 + latent.sum)) << i;
    EXPECT_EQ(std::accumulate(latent.histogram.begin(), latent.histogram.end(), std::int64_t{0}),
              latent.firings);
    EXPECT_EQ(latent.neighbours.at(0).first, cosines[i].argmax().item<std::int64_t>()) << i;
    EXPECT_NEAR(latent.neighbours.at(0).second, cosines[i].max().item<float>(), 1e-5) << i;
    EXPECT_NEAR(latent.decoder_norm, 1, 1e-5);
    EXPECT_NEAR(latent.encoder_cosine, 1, 1e-5);  // initialised so
    for (const FeatureToken& one : latent.tokens) {
      const at::Tensor at_token = own.slice(0, one.token, kRows, 7);
      EXPECT_EQ(one.firings, at_token.gt(0).sum().item<std::int64_t>()) << i;
    }
    for (const FeatureExample& one : latent.top) {
      EXPECT_FLOAT_EQ(one.activation, own[one.row].item<float>());
      EXPECT_EQ(one.first_row, one.row / 10 * 10) << "the window is wider than a context";
      EXPECT_EQ(one.rows, 10);
      EXPECT_EQ(static_cast<std::int64_t>(one.marks.size()),
                own.slice(0, one.first_row, one.first_row + 10).gt(0).sum().item<std::int64_t>());
    }
  }
  EXPECT_EQ(found.latents[60].firings, 0);
  EXPECT_TRUE(found.latents[60].top.empty());
}

TEST_F(FeaturePages, CompareLatentsWhateverTheirUnit) {
  save_store(true);
  const Json model = {
      {"architecture", "standard"}, {"d_in", 6}, {"d_sae", 12}, {"decoder_norm", "free"}};
  const auto collected = [&](double decades) {
    const auto sae = make_autoencoder(config_from_json(model, "test"));
    sae->initialise(3);
    const at::NoGradGuard no_grad;
    const at::Tensor scale = at::pow(10, decades * normal({12, 1}, 5)).to(at::kFloat);
    sae->W_dec.div_(sae->W_dec.norm(2, 1, true));
    sae->W_enc.mul_(scale);
    sae->W_dec.div_(scale);
    sae->W_dec[7].zero_();
    return collect_features(*sae, ActivationStore(at("store"))).latents;
  };
  const auto one = collected(0);
  const auto other = collected(2);
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(other[i].firings, one[i].firings) << i;
    if (i == 7) continue;  // a latent without a decoder row has no unit
    EXPECT_NEAR(other[i].max, one[i].max, 1e-4 * one[i].max) << i;
    EXPECT_NEAR(other[i].sum, one[i].sum, 1e-4 * one[i].sum) << i;
    EXPECT_EQ(other[i].neighbours[0].first, one[i].neighbours[0].first) << i;
  }
  EXPECT_GT(one[7].firings, 0);
}

TEST_F(FeaturePages, ShowTextAroundTheEdgeOfABatch) {
  const auto sae = save_topk();
  const at::Tensor rows = save_store(false);
  FeaturesOptions options;
  options.contexts = kRows;  // all of them
  options.window = 3;
  for (const LatentFeature& latent :
       collect_features(*sae, ActivationStore(at("store")), options).latents) {
    for (const FeatureExample& one : latent.top) {
      EXPECT_EQ(one.first_row, std::max<std::int64_t>(0, one.row - 3));
      EXPECT_EQ(one.first_row + one.rows, std::min(kRows, one.row + 4));
    }
  }
}

TEST_F(FeaturePages, HoldAnIndexAndTheLatentsInChunks) {
  save_topk();
  save_store(true, vocabulary_);
  const FeaturesOutcome outcome = write_features(arguments());
  EXPECT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.latents, kLatents);
  EXPECT_EQ(outcome.silent, 2);
  EXPECT_EQ(outcome.missing, "");
  EXPECT_GT(outcome.l0, 2);
  EXPECT_LE(outcome.l0, 3);
  const Json index = json("out/data/index.js", "saeIndex(");
  EXPECT_EQ(index["rows"], kRows);
  EXPECT_EQ(index["firings"].size(), static_cast<std::size_t>(kLatents));
  EXPECT_EQ(index["words"][0].size(), 4u);
  EXPECT_EQ(index["words"][60].size(), 0u);
  EXPECT_EQ(json("out/data/00000.js", "saeChunk(0, ").size(), 64u);
  const Json last = json("out/data/00001.js", "saeChunk(1, ");
  ASSERT_EQ(last.size(), 6u);
  EXPECT_FALSE(fs::exists(at("out/data/00002.js")));
  const Json& top = last[0]["top"][0];
  EXPECT_NEAR(top[0].get<double>(), index["max"][64].get<double>(), 1e-9);
  std::string text;
  for (const Json& part : top[2]) text += (part.is_string() ? part : part[0]).get<std::string>();
  const std::string all = " a b</script>\nüf<6> a b</script>\nüf<6> a b</script>\n";
  EXPECT_NE(all.find(text), std::string::npos) << text;
  std::string page = read_file(at("out/index.html"));
  const std::string name_space = "http://www.w3.org/2000/svg";
  page.erase(page.find(name_space), name_space.size());
  for (const char* part : {"http:", "https:", "@import", "url(", "fetch(", "innerHTML"}) {
    EXPECT_EQ(page.find(part), std::string::npos) << part;
  }
}

// A dog of four bytes in three tokens, a letter in two. Contexts of ten tokens cut them too.
constexpr const char* kInBytes = R"({"format": "sae-vocabulary", "version": 2,
    "tokens": ["<F0>", "<9F 90>", "<95>", "<D1>", "<91>", " a", "."],
    "bytes": {"0": "f0", "1": "9f90", "2": "95", "3": "d1", "4": "91"}})";

TEST_F(FeaturePages, ShowACharacterOfSeveralTokensOnce) {
  save_topk();
  save_store(true, kInBytes);
  write_features(arguments());
  const std::string contexts[] = {"🐕ё a.🐕",          "<9F 90><95>ё a.🐕<D1>", "<95>ё a.🐕ё",
                                  "ё a.🐕ё a",        "<91> a.🐕ё a.",         " a.🐕ё a.<F0>",
                                  ".🐕ё a.<F0 9F 90>"};
  for (const Json& latent : json("out/data/00000.js", "saeChunk(0, ")) {
    for (const Json& top : latent["top"]) {
      const std::int64_t first = top[1].get<std::int64_t>() / 10 * 10;
      std::string text;
      for (const Json& part : top[2])
        text += (part.is_string() ? part : part[0]).get<std::string>();
      EXPECT_EQ(text, contexts[first % 7]);
    }
  }
  EXPECT_EQ(read_file(at("out/data/00000.js")).find("\xef\xbf\xbd"), std::string::npos);
  EXPECT_NE(read_file(at("out/data/index.js")).find("<9F 90>"), std::string::npos) << "by itself";
}

TEST_F(FeaturePages, GiveACharacterTheLargestActivationOfItsTokens) {
  const auto sae = save_topk();
  const at::Tensor rows = save_store(true, kInBytes);
  write_features(arguments());
  const at::NoGradGuard no_grad;
  const at::Tensor f = sae->encode(rows).to_dense();  // [N, F]
  const Json latents = json("out/data/00000.js", "saeChunk(0, ");
  int shared = 0;
  for (std::int64_t latent = 0; latent < 60; ++latent) {
    for (const Json& top : latents[static_cast<std::size_t>(latent)]["top"]) {
      int peaks = 0;
      for (const Json& part : top[2]) {
        if (part.is_string() || part.size() < 3) continue;
        ++peaks;
        std::int64_t begin = top[1].get<std::int64_t>(), size = 1;
        if (part[0] == "🐕") begin -= begin % 7, size = 3;
        if (part[0] == "ё") begin -= begin % 7 - 3, size = 2;
        const auto largest = f.slice(0, begin, begin + size).select(1, latent).max().item<double>();
        EXPECT_NEAR(part[1].get<double>(), largest, 1e-3 * largest);
        shared += size > 1 ? 1 : 0;
      }
      EXPECT_EQ(peaks, 1) << top;
    }
  }
  EXPECT_GT(shared, 20);
}

TEST_F(FeaturePages, AreTheSameBytesEachTime) {
  save_topk();
  save_store(true, vocabulary_);
  write_features(arguments("one"));
  write_features(arguments("two"));
  std::size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(at("one"))) {
    if (!entry.is_regular_file()) continue;
    ++files;
    const fs::path other = at("two") / fs::relative(entry.path(), at("one"));
    EXPECT_EQ(sha256_of_file(entry.path()), sha256_of_file(other)) << other;
  }
  EXPECT_EQ(files, 4u);
}

TEST_F(FeaturePages, SayWhatAStoreLacks) {
  save_topk();
  save_store(false);
  EXPECT_NE(write_features(arguments()).missing.find("has no tokens"), std::string::npos);
  const Json index = json("out/data/index.js", "saeIndex(");
  EXPECT_NE(index["about"]["missing"].get<std::string>().find("has no tokens"), std::string::npos);
  const Json first = json("out/data/00000.js", "saeChunk(0, ")[0];
  EXPECT_TRUE(first["tokens"].empty());
  EXPECT_FALSE(first["histogram"].empty());
  EXPECT_TRUE(first["top"][0][2].is_null());

  fs::remove_all(at("store"));
  save_store(true);
  EXPECT_NE(write_features(arguments("numbers")).missing.find("has no vocabulary.json"),
            std::string::npos);
  EXPECT_EQ(json("numbers/data/00000.js", "saeChunk(0, ")[0]["tokens"][0][0].get<std::string>()[0],
            '<');
}

TEST_F(FeaturePages, LeaveNothingWhenStopped) {
  save_topk();
  save_store(true);
  const auto outcome = write_features(arguments(), [](std::int64_t done, std::int64_t total) {
    EXPECT_EQ(total, kRows);
    return done == 0;
  });
  EXPECT_FALSE(outcome.finished);
  for (const auto& entry : fs::directory_iterator(folder_.path())) {
    EXPECT_EQ(entry.path().string().find("out"), std::string::npos) << entry.path();
  }
}

TEST_F(FeaturePages, RejectWhatCannotBeShown) {
  save_topk(5);
  save_store(true);
  EXPECT_NE(error<DataError>(arguments()).find("6 dimensions, expected the 5"), std::string::npos);
  EXPECT_FALSE(fs::exists(at("out")));
  fs::remove_all(at("sae"));
  save_topk();
  FeaturesArguments given = arguments();
  given.options.window = -1;
  EXPECT_NE(error<ConfigError>(given).find("got -1, expected >= 0"), std::string::npos);
  fs::create_directory(at("there"));
  EXPECT_NE(error<ConfigError>(arguments("there")).find("there: exists already"),
            std::string::npos);
  write_file_atomically(at("file"), "");
  EXPECT_NE(error<ConfigError>(arguments("file/out")).find("file: cannot write here"),
            std::string::npos);
  given = arguments();
  given.data = at("nowhere").string();
  EXPECT_NE(error<DataError>(given).find("nowhere"), std::string::npos);
}

class Readings : public testing::Test {
 protected:
  LatentReadings read(const std::string& text) const {
    write_file_atomically(path(), text);
    return read_latent_readings(path(), 20);
  }
  std::string message(const std::string& text) const {
    try {
      read(text);
    } catch (const DataError& error) {
      return error.what();
    }
    return "no error";
  }
  static std::string classes(const std::string& text) {
    return R"({"absorption": {"d_sae": 20, "classes": [)" + text + "]}}";
  }
  fs::path path() const { return folder_.path() / "results.json"; }

 private:
  TemporaryFolder folder_;
};

TEST_F(Readings, NameTheClassesThatLatentsRead) {
  const LatentReadings expected = {
      {3,
       {{"a: main latent", ", F1 alone 0.93"},
        {"b: main latent", " together with ", 19, ", ", 5, ", F1 alone 0.50"}}},
      {5, {{"b: main latent", " together with ", 3, ", ", 19}}},
      {19, {{"b: main latent", " together with ", 3, ", ", 5}}}};
  EXPECT_EQ(read(classes(R"({"class": "a", "main_latents": [3], "k1_f1": 0.931},
                            {"class": "b", "main_latents": [3, 19, 5], "k1_f1": 0.5})")),
            expected);
  const LatentReadings tasks = {{4, {{"books, good: best single latent, accuracy 0.75"}}}};
  EXPECT_EQ(read(R"({"probing": {"repeats": [{"tasks": [{"dataset_name": "books", "class": "good",
    "latents": {"1": [4], "2": [4, 5]}, "accuracy": {"sae_top_1_test_accuracy": 0.75}}]}]}})"),
            tasks);
}

TEST_F(Readings, TellWhoAbsorbsWhom) {
  const LatentReadings found =
      read(classes(R"({"class": "a", "main_latents": [3, 4], "k1_f1": null, "words": 40,
    "absorbers": [{"latent": 7, "words": 3, "share": 0.976, "examples": ["ant", "axe"]},
                  {"latent": 8, "words": 1, "share": null, "examples": []}]})"));
  const LatentReadings expected = {
      {3,
       {{"a: main latent", " together with ", 4},
        {"a: absorbed by ", 7, " in 3 of 40 words, carrying 98 %: ant, axe"},
        {"a: absorbed by ", 8, " in 1 of 40 words"}}},
      {4,
       {{"a: main latent", " together with ", 3},
        {"a: absorbed by ", 7, " in 3 of 40 words, carrying 98 %: ant, axe"},
        {"a: absorbed by ", 8, " in 1 of 40 words"}}},
      {7, {{"a: absorbs it", " from ", 3, ", ", 4, " in 3 of 40 words, carrying 98 %: ant, axe"}}},
      {8, {{"a: absorbs it", " from ", 3, ", ", 4, " in 1 of 40 words"}}}};
  EXPECT_EQ(found, expected);
}

TEST_F(Readings, RejectWhatIsNoResultOfThisAutoencoder) {
  const std::string good = classes(R"({"class": "a", "main_latents": [19], "k1_f1": 1})");
  EXPECT_EQ(message(good), "no error");
  const std::string place = path().string();
  EXPECT_EQ(message(R"({"absorption": {"d_sae": 21, "classes": []}})"),
            place + ": results of an autoencoder with 21 latents, this one has 20; are these " +
                "another one's results?");
  EXPECT_EQ(message(classes(R"({"class": "a", "main_latents": [20], "k1_f1": 1})")),
            place + ": latent 20, the autoencoder has 20; are these another one's results?");
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_NE(message(good.substr(0, size)), "no error") << size;  // a DataError each time
  }
  EXPECT_NE(message(R"({"core": {}})").find("neither absorption nor probing"), std::string::npos);
  const std::vector<std::string> not_whole = {"-1",    "3.5",  "1e300", "18446744073709551615",
                                              "\"3\"", "null", "[3]",   "{}"};
  for (const std::string& latent : not_whole) {
    const std::string main = R"({"class": "a", "main_latents": [)" + latent + R"(], "k1_f1": 1})";
    EXPECT_NE(message(classes(main)).find("latent"), std::string::npos) << latent;
    EXPECT_NE(message(classes(R"({"class": "a", "main_latents": [1], "k1_f1": 1, "words": 9,
      "absorbers": [{"latent": )" +
                              latent + R"(, "words": 1, "share": 1, "examples": []}]})"))
                  .find("latent"),
              std::string::npos)
        << latent;
  }
  for (
      const char* broken :
      {R"({"absorption": {}})", R"({"absorption": {"classes": 3}})", R"({"absorption": null})",
       R"({"absorption": {"classes": [{"class": 3, "main_latents": [1], "k1_f1": 1}]}})",
       R"({"absorption": {"classes": [{"class": "a", "main_latents": 1, "k1_f1": 1}]}})",
       R"({"absorption": {"classes": [{"class": "a", "main_latents": [1], "k1_f1": NaN}]}})",
       R"({"absorption": {"repeats": []}})",
       R"({"probing": {"tasks": [{"dataset_name": "d", "class": "c", "latents": {"1": []}, "accuracy": {}}]}})",
       R"({"absorption": {"classes": [{"class": "a", "main_latents": [1], "k1_f1": 1, "words": 1,
            "absorbers": [{"latent": 1, "words": 1, "share": 1, "examples": [2]}]}]}})"}) {
    EXPECT_TRUE(message(broken).starts_with(place)) << broken << "\n" << message(broken);
  }
}

TEST_F(FeaturePages, ShowReadingsWhereGiven) {
  save_topk();
  save_store(true);
  write_file_atomically(at("r.json"), R"({"absorption": {"classes": [
    {"class": "a", "main_latents": [3, 5], "k1_f1": 0.5}]}})");
  FeaturesArguments given = arguments();
  given.results = at("r.json").string();
  write_features(given);
  const Json reads = json("out/data/index.js", "saeIndex(")["reads"];
  EXPECT_EQ(reads["3"], Json({{"a: main latent", " together with ", 5, ", F1 alone 0.50"}}));
}

}  // namespace
}  // namespace sae

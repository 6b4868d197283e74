#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/rng.h"
#include "sae/data/store.h"
#include "sae/data/vocabulary.h"
#include "sae/tools/inspect.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class Inspect : public testing::Test {
 protected:
  fs::path path() const { return folder_.path() / "store"; }

  /// Rows in shards of 10, token i with id i mod 7, contexts of 5 tokens.
  Inspection inspect(const at::Tensor& rows, const InspectOptions& options = {}) {
    fs::remove_all(path());
    StoreWriter writer(path(), rows.size(1), at::kFloat, {{"model", "m"}, {"hook_name", "h"}}, 10);
    const at::Tensor ids = at::arange(rows.size(0));
    writer.append(rows, ids.remainder(7), ids.div(5, "floor"));
    if (!vocabulary_.empty()) writer.add_file("vocabulary.json", vocabulary_);
    writer.finish();
    return inspect_store(path(), options);
  }

  std::string error_with(const std::string& vocabulary) {
    vocabulary_ = vocabulary;
    try {
      inspect(at::ones({10, 2}));
    } catch (const DataError& error) {
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder_;
  std::string vocabulary_;
};

/// Rows i of norm i + 1, all in one dimension or spread over four.
at::Tensor growing(std::int64_t rows) {
  return (at::arange(rows).to(at::kFloat) + 1).unsqueeze(1).expand({rows, 4}) / 2;
}

TEST_F(Inspect, CountsAndMeasuresNorms) {
  const Inspection found = inspect(growing(101));
  EXPECT_EQ(found.tokens, 101);
  EXPECT_EQ(found.d_in, 4);
  EXPECT_EQ(found.dtype, "f32");
  EXPECT_EQ(found.shards, 11);
  EXPECT_EQ(found.contexts, 21);
  EXPECT_EQ(found.not_finite, 0);
  EXPECT_NEAR(found.norms.mean, 51, 1e-6);
  EXPECT_NEAR(found.norms.deviation, std::sqrt((101.0 * 101 - 1) / 12), 1e-6);
  EXPECT_EQ(found.norms.least, 1);
  EXPECT_EQ(found.norms.percent_1, 2);
  EXPECT_EQ(found.norms.median, 51);
  EXPECT_EQ(found.norms.percent_99, 100);
  EXPECT_EQ(found.norms.greatest, 101);
  EXPECT_EQ(found.norms.large, 0);
  EXPECT_NEAR(*found.stated_mean_norm, found.norms.mean, 1e-6);
  // ||mean||^2 = 51^2, the mean square of 1 ... 101 is 102 * 203 / 6.
  EXPECT_NEAR(found.mean_share, 51.0 * 51 / (102 * 203 / 6.0), 1e-6);
}

TEST_F(Inspect, CountsNormsFarAboveTheMedian) {
  at::Tensor rows = at::ones({30, 4});
  rows[3] *= 10;  // not above
  rows[17] *= 10.5;
  rows[29] *= 1000;
  EXPECT_EQ(inspect(rows).norms.large, 2);
}

TEST_F(Inspect, FindsOutlierAndConstantDimensions) {
  at::Tensor rows = at::empty({4000, 8});
  Rng rng(0, Stream::kTest, 0);
  for (std::int64_t i = 0; i < rows.numel(); ++i) {
    rows.mutable_data_ptr<float>()[i] = static_cast<float>(rng.normal());
  }
  rows.select(1, 2) += 20;   // a large constant
  rows.select(1, 5) *= 6;    // a large spread
  rows.select(1, 7) *= 2.5;  // not large enough
  rows.select(1, 6).fill_(0.1);
  const Inspection found = inspect(rows);
  ASSERT_EQ(found.outliers.size(), 2U);
  EXPECT_EQ(found.outliers[0].dimension, 2);
  EXPECT_NEAR(found.outliers[0].ratio, std::sqrt(401), 0.8);
  EXPECT_NEAR(found.outliers[0].mean, 20, 0.1);
  EXPECT_NEAR(found.outliers[0].deviation, 1, 0.05);
  EXPECT_EQ(found.outliers[1].dimension, 5);
  EXPECT_NEAR(found.outliers[1].mean, 0, 0.5);
  EXPECT_NEAR(found.outliers[1].deviation, 6, 0.3);
  EXPECT_EQ(found.constant_dimensions, 1);
}

// The statistics are merged from chunks of 16 MiB.
TEST_F(Inspect, MergesChunksExactly) {
  const at::Tensor column = at::arange(9000).to(at::kFloat).unsqueeze(1);
  at::Tensor rows = at::ones({9000, 1024});
  rows.narrow(1, 0, 1).copy_(column);
  write_safetensors(path(), {{"x", rows}});
  const Inspection found = inspect_store(path());
  ASSERT_EQ(found.outliers.size(), 1U);
  EXPECT_NEAR(found.outliers[0].mean, 4499.5, 1e-3);
  EXPECT_NEAR(found.outliers[0].deviation, std::sqrt((9000.0 * 9000 - 1) / 12), 1e-2);
  EXPECT_EQ(found.constant_dimensions, 1023);
  EXPECT_FALSE(found.contexts);
  EXPECT_TRUE(found.sample.empty());
}

TEST_F(Inspect, NamesWhereAValueIsNotFiniteAndLeavesTheRowOut) {
  at::Tensor rows = at::ones({25, 4});
  rows[3][1] = std::numeric_limits<float>::infinity();
  rows[24][0] = std::nanf("");
  write_safetensors(path(), {{"x", rows}});
  const Inspection found = inspect_store(path());
  EXPECT_EQ(found.not_finite, 2);
  EXPECT_EQ(found.not_finite_places,
            (std::vector<std::string>{path().string() + ": row 3", path().string() + ": row 24"}));
  EXPECT_EQ(found.norms.mean, 2);
  EXPECT_EQ(found.mean_share, 1);
  EXPECT_NE(to_text(found).find("not finite   2 tokens"), std::string::npos);

  write_safetensors(path(), {{"x", at::full({30, 4}, std::nan(""), at::kFloat)}});
  const Inspection none = inspect_store(path());
  EXPECT_EQ(none.not_finite, 30);
  EXPECT_EQ(none.not_finite_places.size(), 10U);
  EXPECT_EQ(to_text(none).find("norm"), std::string::npos);
}

TEST_F(Inspect, ShowsWholeContextsAsText) {
  vocabulary_ = R"({"format": "sae-vocabulary", "version": 1,
                    "tokens": [" a", "b", " c", "d\n", "\u009be", " \u001b[2Jf"]})";
  const Inspection found = inspect(growing(20), {.contexts = 4});
  ASSERT_EQ(found.sample.size(), 4U) << "every context once";
  const std::string texts[] = {"ab cd\n\u009be", " \x1b[2Jf<6> ab c", "d\n\u009be \x1b[2Jf<6> a",
                               "b cd\n\u009be \x1b[2Jf"};
  for (const Inspection::Context& context : found.sample) {
    EXPECT_EQ(context.tokens, 5);
    EXPECT_EQ(context.first_row, 5 * *context.id);
    const std::string& whole = texts[*context.id];
    EXPECT_EQ(context.text, whole.substr(whole.starts_with(' ') ? 1 : 0));
  }
  const std::string text = to_text(found);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find("\u009b"), std::string::npos);
  EXPECT_NE(text.find("5 tokens: ab cd  e\n"), std::string::npos) << text;
  EXPECT_EQ(inspect(growing(20), {.contexts = 0}).sample.size(), 0U);
}

TEST_F(Inspect, ChoosesContextsBySeedAlone) {
  const auto rows = [&](std::int64_t seed) {
    std::vector<std::int64_t> first;
    for (const auto& one : inspect(growing(500), {.contexts = 5, .seed = seed}).sample) {
      first.push_back(one.first_row);
    }
    return first;
  };
  EXPECT_EQ(rows(1), rows(1));
  EXPECT_NE(rows(1), rows(2));
}

TEST_F(Inspect, ShowsIdsWithoutAVocabulary) {
  const Inspection found = inspect(growing(5), {.contexts = 1});
  ASSERT_EQ(found.sample.size(), 1U);
  EXPECT_EQ(found.sample[0].text, "0 1 2 3 4");
}

TEST_F(Inspect, ReadsWhatThePythonScriptWrote) {
  const Inspection found =
      inspect_store(fs::path(SAE_SOURCE_DIR) / "tests/golden/harvested", {.contexts = 8});
  EXPECT_EQ(found.tokens, 46);
  EXPECT_EQ(found.contexts, 8);
  EXPECT_NEAR(found.norms.mean, *found.stated_mean_norm, 1e-5);
  ASSERT_EQ(found.sample.size(), 8U);
  for (const auto& context : found.sample) {
    if (context.id == 0) {
      EXPECT_EQ(context.text, "the a sat of on dog");
    }
  }
}

TEST_F(Inspect, ShowsCharactersOfSeveralTokensAsTheScriptReadThem) {
  const Inspection found =
      inspect_store(fs::path(SAE_SOURCE_DIR) / "tests/golden/harvested_bytes", {.contexts = 2});
  ASSERT_EQ(found.sample.size(), 2U);
  for (const Inspection::Context& context : found.sample) {
    EXPECT_EQ(context.tokens, 25);
    EXPECT_EQ(context.text, "the cat: 窓のñ, 🐈‍⬛.");
  }
  EXPECT_NE(to_text(found).find("25 tokens: the cat: 窓のñ, 🐈‍⬛.\n"), std::string::npos);
}

TEST_F(Inspect, StopsWhenToldTo) {
  write_safetensors(path(), {{"x", at::ones({9000, 1024})}});
  int asked = 0;
  inspect_store(path(), {}, [&](std::int64_t done, std::int64_t total) {
    EXPECT_EQ(total, 9000);
    return asked++ == 0 && done == 0;
  });
  EXPECT_EQ(asked, 2);
}

TEST_F(Inspect, VerifiesChecksums) {
  inspect(growing(20));
  const fs::path shard = path() / "shard-00001.safetensors";
  std::string bytes = read_file(shard);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file_atomically(shard, bytes);
  EXPECT_THROW(inspect_store(path()), DataError);
  EXPECT_EQ(inspect_store(path(), {.verify = false}).tokens, 20);
}

TEST_F(Inspect, AsJsonHasEveryNumber) {
  const auto json = to_json(inspect(growing(30), {.contexts = 2}));
  EXPECT_EQ(json["tokens"], 30);
  EXPECT_EQ(json["norms"]["median"], 15);
  EXPECT_EQ(json["not_finite"]["tokens"], 0);
  EXPECT_EQ(json["sample"].size(), 2U);
  EXPECT_EQ(json["source"]["hook_name"], "h");
}

TEST_F(Inspect, RefusesAVocabularyThatIsNone) {
  const std::string place = (path() / "vocabulary.json").string();
  EXPECT_EQ(error_with("[]"), place + ": not a vocabulary: no format sae-vocabulary");
  EXPECT_EQ(error_with(R"({"format": "sae-vocabulary", "version": 3, "tokens": []})"),
            place + ": version 3, this program reads 1 and 2");
  EXPECT_EQ(error_with(R"({"format": "sae-vocabulary", "version": 1, "tokens": ["a", 3]})"),
            place + ": token 1 is 3, expected a string");
  EXPECT_EQ(error_with(R"({"format": "sae-vocabulary", "version": 1, "tokens": {}})"),
            place + ": tokens is not a list");
  EXPECT_EQ(error_with(R"({"format": "sae-vocabulary", "version": 1, "tokens": [], "x": 1})"),
            place + ": unknown key \"x\"");
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/interrupt.h"
#include "sae/data/store.h"
#include "sae/formats/safetensors.h"
#include "sae/models/sae_folder.h"
#include "sae/tools/features.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"
#include "tools/features/delphi_layout.h"
#include "tools/features/intervals.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

TEST(Bars, HoldTheirLeftEndAndTheLastOneBothEnds) {
  EXPECT_EQ(bar_of(1, 1, 11), 0);
  EXPECT_EQ(bar_of(1.19, 1, 11), 0);
  EXPECT_EQ(bar_of(1.21, 1, 11), 1);
  EXPECT_EQ(bar_of(11, 1, 11), 49);
  EXPECT_EQ(bar_of(3, 3, 3), 25) << "of numbers that are all the same";
  const std::vector<double> centres = bar_centres(1, 11);
  ASSERT_EQ(centres.size(), 50u);
  EXPECT_NEAR(centres.front(), 1.1, 1e-12);
  EXPECT_NEAR(centres.back(), 10.9, 1e-12);
}

TEST(DelphiPlaces, BeginEachContextAtTheNextExample) {
  DelphiPlaces places;
  std::vector<std::int64_t> got;
  for (const std::int32_t context : {4, 4, 4, 9, 4}) got.push_back(places.next(context));
  EXPECT_EQ(got, (std::vector<std::int64_t>{0, 1, 2, 32, 64}));
  for (int i = 0; i < 31; ++i) places.next(4);
  EXPECT_EQ(places.next(5), 96) << "a full example leaves no gap";
}

/// A safetensors file of any types: its header, and its bytes from the first tensor on.
struct RawTensors {
  explicit RawTensors(const fs::path& path) {
    const std::string file = read_file(path);
    const std::size_t size = number_at(file, 0, 8);
    header = Json::parse(file.substr(8, size));
    bytes = file.substr(8 + size);
  }

  /// Elements of `size` bytes, as they are.
  std::vector<std::uint64_t> numbers(const char* name, std::size_t size) const {
    const auto begin = header[name]["data_offsets"][0].get<std::size_t>();
    const auto end = header[name]["data_offsets"][1].get<std::size_t>();
    std::vector<std::uint64_t> out;
    for (std::size_t at = begin; at < end; at += size) out.push_back(number_at(bytes, at, size));
    return out;
  }

  Json header;
  std::string bytes;
};

using Numbers = std::vector<std::uint64_t>;

/// Eight rows in contexts of 3 and 5. Latent 0 is 1 0 4 | 0 2 0 0 10, latent 1 is 0 0 1 | 0 ...,
/// with a decoder row of norm 2, latent 2 is 0 0 0 | 3 3 3 3 3, latent 3 silent. Tokens 3 and 4 are
/// the two bytes of é.
class FeatureExports : public testing::Test {
 protected:
  fs::path at(const std::string& name) const { return folder_.path() / name; }

  void save_planted() const {
    const Json model = resolve_model(config_from_json(
        {{"architecture", "standard"}, {"d_in", 3}, {"d_sae", 4}, {"decoder_norm", "free"}},
        "test"));
    const auto sae = make_autoencoder(config_from_json(model, "test"));
    {
      const at::NoGradGuard no_grad;
      for (at::Tensor& parameter : sae->parameters()) parameter.zero_();
      for (int i = 0; i < 3; ++i) sae->W_enc[i][i] = sae->W_dec[i][i] = 1;
      sae->W_dec[1][1] = 2;
      sae->W_dec[3][0] = 1;
      sae->b_enc[3] = -1;
    }
    save_sae(at("sae"), *sae, model, 1, {{"source", {{"dataset", "wiki"}, {"layer", 3}}}});
  }

  static Json source() {
    return {{"model", "tiny"},
            {"layer", 8},
            {"hook_name", "blocks.8.hook_resid_post"},
            {"dropped", {"<eos>"}}};
  }

  void save_store(const Json& from = source(), float scale = 1, bool tokens = true) const {
    at::Tensor x = at::zeros({8, 3});
    const float own[] = {1, 0, 4, 0, 2, 0, 0, 10};
    for (int row = 0; row < 8; ++row) x[row][0] = own[row] * scale;
    x[2][1] = 0.5;
    x.slice(0, 3, 8).select(1, 2).fill_(3);
    StoreWriter writer(at("store"), 3, at::kFloat, from);
    writer.append(x, tokens ? integers({0, 1, 2, 3, 4, 0, 1, 2}) : at::Tensor(),
                  tokens ? integers({5, 5, 5, 6, 6, 6, 6, 6}) : at::Tensor());
    writer.add_file("vocabulary.json", R"({"format": "sae-vocabulary", "version": 2,
      "tokens": ["a", " b", ".", "<C3>", "<A9>", "<eos>"], "bytes": {"3": "c3", "4": "a9"}})");
    writer.finish();
  }

  void save_unembedding(const at::Tensor& weight, const Metadata& changed = {}) const {
    Metadata metadata = {
        {"format", "sae-unembedding"}, {"version", "1"}, {"model", "tiny"}, {"vocabulary", "6"}};
    for (const auto& [key, value] : changed) metadata[key] = value;
    for (auto one = metadata.begin(); one != metadata.end();) {
      one = one->second.empty() ? metadata.erase(one) : std::next(one);
    }
    write_safetensors(at("unembedding"), {{"unembedding", weight}}, metadata);
  }
  static at::Tensor weight() {
    return at::tensor({0., .5, 0., 0., -1., 0., 0., 2., 0., 0., 0., 0., 0., .25, 0., 0., 1., 0.})
        .reshape({6, 3})
        .to(at::kFloat);
  }

  FeaturesArguments arguments(FeaturesFormat format, const std::string& out = "out") const {
    FeaturesArguments given;
    given.sae = at("sae").string();
    given.data = at("store").string();
    given.out = at(out).string();
    given.device = test_device();
    given.threads = 1;
    given.format = format;
    given.options = defaults_of(format);
    return given;
  }

  FeaturesArguments neuronpedia() const {
    FeaturesArguments given = arguments(FeaturesFormat::kNeuronpedia);
    given.options.contexts = given.options.quantiles = 2;
    return given;
  }

  template <class Error>
  std::string error(const FeaturesArguments& given) const {
    try {
      write_features(given);
    } catch (const Error& error) {
      EXPECT_FALSE(fs::exists(given.out));
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder_;
};

TEST_F(FeatureExports, TellNeuronpediaWhatLatentsFireOn) {
  save_planted();
  save_store();
  const FeaturesOutcome outcome = write_features(neuronpedia());
  EXPECT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.latents, 4);
  EXPECT_EQ(outcome.silent, 1);
  EXPECT_DOUBLE_EQ(outcome.l0, 10.0 / 8);
  const Json batch = parsed(at("out/batch-0.json"));
  EXPECT_EQ(batch["model_id"], "tiny");
  EXPECT_EQ(batch["layer"], 8) << "the store's, not the autoencoder's";
  EXPECT_EQ(batch["sae_set"], "standard");
  EXPECT_TRUE(batch["sae_id_suffix"].is_null());
  ASSERT_EQ(batch["features"].size(), 4u);
  const Json& latent = batch["features"][0];
  EXPECT_EQ(latent["feature_index"], 0);
  EXPECT_EQ(latent["frac_nonzero"], 0.5);
  EXPECT_EQ(latent["n_prompts_total"], 2);
  EXPECT_EQ(latent["n_tokens_in_prompt"], 5);
  EXPECT_EQ(latent["dataset"], "wiki") << "what the store leaves open";
  const Json first = {{"bin_min", -1},
                      {"bin_max", 10.0},
                      {"bin_contains", -1},
                      {"tokens", {"é", "a", " b", "."}},
                      {"values", {2., 0., 0., 10.}},
                      {"qualifying_token_index", 3}};
  ASSERT_EQ(latent["activations"].size(), 6u);
  EXPECT_EQ(latent["activations"][0], first);
  EXPECT_EQ(latent["activations"][1]["tokens"], Json({"a", " b", "."}));
  EXPECT_EQ(latent["activations"][1]["qualifying_token_index"], 2);
  // (5, 10], then [0, 5] with the four tokens on which it is silent.
  EXPECT_EQ(latent["activations"][2]["bin_min"], 5.0);
  EXPECT_EQ(latent["activations"][2]["bin_max"], 10.0);
  EXPECT_EQ(latent["activations"][2]["bin_contains"], 0.125);
  const std::pair<int, int> weak[] = {{0, 2}, {1, 0}, {0, 0}};  // context, place: 4, 2, 1
  for (std::size_t i = 0; i < 3; ++i) {
    const Json& one = latent["activations"][3 + i];
    EXPECT_EQ(one["bin_min"], 0.0);
    EXPECT_EQ(one["bin_max"], 5.0);
    EXPECT_EQ(one["bin_contains"], 0.875);
    EXPECT_EQ(one["tokens"][0], weak[i].first == 0 ? "a" : "é");
    EXPECT_EQ(one["qualifying_token_index"], weak[i].second);
  }
  const Json& silent = batch["features"][3];
  EXPECT_EQ(silent["frac_nonzero"], 0.0);
  for (const char* list :
       {"activations", "freq_hist_data_bar_heights", "correlated_neurons_indices",
        "correlated_features_indices", "pos_str", "logits_hist_data_bar_values"}) {
    EXPECT_EQ(silent[list], Json::array()) << list;
  }
  EXPECT_EQ(batch["features"][1]["activations"][0]["values"], Json({0., 0., 1.})) << "f |W_dec|";
}

TEST_F(FeatureExports, TellNeuronpediaHowActivationsAreDistributed) {
  save_planted();
  save_store();
  write_features(neuronpedia());
  const Json latents = parsed(at("out/batch-0.json"))["features"];
  const Json& heights = latents[0]["freq_hist_data_bar_heights"];
  ASSERT_EQ(heights.size(), 50u);
  for (std::size_t i = 0; i < 50; ++i) {
    EXPECT_EQ(heights[i], i == 0 || i == 5 || i == 16 || i == 49 ? 1 : 0) << i;
  }
  EXPECT_EQ(latents[0]["freq_hist_data_bar_values"][0], 1.09);
  EXPECT_EQ(latents[0]["freq_hist_data_bar_values"][49], 9.91);
  EXPECT_EQ(latents[2]["freq_hist_data_bar_heights"][25], 5) << "all the same";
}

TEST_F(FeatureExports, TellNeuronpediaWhatCorrelates) {
  save_planted();
  save_store();
  write_features(neuronpedia());
  const Json latents = parsed(at("out/batch-0.json"))["features"];
  EXPECT_EQ(latents[0]["correlated_neurons_indices"], Json({0, 1, 2}));
  EXPECT_EQ(latents[0]["correlated_neurons_pearson"], Json({1., .218, .109}));
  EXPECT_EQ(latents[0]["correlated_neurons_l1"], Json({1., .364, .488}));
  EXPECT_EQ(latents[0]["correlated_features_indices"], Json({1, 2}));
  EXPECT_EQ(latents[0]["correlated_features_pearson"], Json({.218, .109}));
  EXPECT_EQ(latents[0]["correlated_features_l1"], Json({.364, .488}));
  EXPECT_EQ(latents[2]["correlated_features_indices"], Json({0, 1}));
  EXPECT_EQ(latents[2]["correlated_features_pearson"][1], -.488);
  EXPECT_EQ(latents[1]["neuron_alignment_indices"][0], 1);
  EXPECT_EQ(latents[1]["neuron_alignment_values"][0], 1.0) << "of a row of norm 1";
  EXPECT_EQ(latents[1]["neuron_alignment_l1"][0], 1.0);
}

TEST_F(FeatureExports, ShowLogitsOfGivenUnembeddings) {
  save_planted();
  save_store();
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
    save_unembedding(weight().to(type));
    FeaturesArguments given = neuronpedia();
    given.unembedding = at("unembedding").string();
    write_features(given);
    const Json latent = parsed(at("out/batch-0.json"))["features"][1];
    EXPECT_EQ(latent["pos_str"], Json({".", "<eos>", "a", "<A9>", "<C3>", " b"}));
    EXPECT_EQ(latent["pos_values"], Json({2., 1., .5, .25, 0., -1.}));
    EXPECT_EQ(latent["neg_str"][0], " b");
    EXPECT_EQ(latent["neg_values"], Json({-1., 0., .25, .5, 1., 2.}));
    EXPECT_EQ(latent["logits_hist_data_bar_values"][0], -.97);
    for (const int bar : {0, 16, 20, 25, 33, 49}) {
      EXPECT_EQ(latent["logits_hist_data_bar_heights"][static_cast<std::size_t>(bar)], 1) << bar;
    }
    fs::remove_all(at("out"));
  }
  save_unembedding(weight());
  FeaturesArguments given = arguments(FeaturesFormat::kHtml);
  given.unembedding = at("unembedding").string();
  write_features(given);
  const std::string chunk = read_file(at("out/data/00000.js"));
  EXPECT_NE(chunk.find(R"("logits":{"up":[[".",2],["<eos>",1],["a",0.5])"), std::string::npos);
  EXPECT_NE(chunk.find(R"("down":[[" b",-1])"), std::string::npos);
}

TEST_F(FeatureExports, GiveDelphiEveryActivationInItsPlace) {
  save_planted();
  save_store();
  EXPECT_EQ(write_features(arguments(FeaturesFormat::kDelphi)).silent, 1);
  const fs::path module = at("out") / "layers.8";
  const Json config = parsed(module / "config.json");
  EXPECT_EQ(config["model_name"], "tiny");
  EXPECT_EQ(config["cache_ctx_len"], 32);
  EXPECT_EQ(config["n_tokens"], 64);
  EXPECT_EQ(config["n_splits"], 4);
  EXPECT_EQ(config["pad_token"], 5) << "<eos>, which the store leaves out";
  EXPECT_EQ(config["padded_tokens"], 56);
  const RawTensors first(module / "0_0.safetensors");
  EXPECT_EQ(first.header["tokens"]["shape"], Json({2, 32}));
  EXPECT_EQ(first.header["tokens"]["dtype"], "I32");
  EXPECT_EQ(first.header["locations"]["shape"], Json({4, 3}));
  EXPECT_EQ(first.header["locations"]["dtype"], "U16");
  EXPECT_EQ(first.header["activations"]["dtype"], "F16");
  Numbers tokens(64, 5);
  for (std::size_t i = 0; i < 3; ++i) tokens[i] = i;
  for (std::size_t i = 0; i < 5; ++i) tokens[32 + i] = Numbers{3, 4, 0, 1, 2}[i];
  EXPECT_EQ(first.numbers("tokens", 4), tokens);
  EXPECT_EQ(first.numbers("locations", 2), (Numbers{0, 0, 0, 0, 2, 0, 1, 1, 0, 1, 4, 0}));
  EXPECT_EQ(first.numbers("activations", 2), (Numbers{0x3c00, 0x4400, 0x4000, 0x4900}))
      << "1 4 2 10";
  EXPECT_EQ(RawTensors(module / "1_1.safetensors").numbers("activations", 2), Numbers{0x3c00});
  EXPECT_EQ(RawTensors(module / "3_3.safetensors").header["locations"]["shape"], Json({0, 3}));
  std::size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(at("out"))) {
    files += entry.is_regular_file() ? 1 : 0;
  }
  EXPECT_EQ(files, 5u);
}

TEST_F(FeatureExports, GiveDelphiLatentsOfAFileFromItsFirst) {
  save_planted();
  save_store();
  FeaturesArguments given = arguments(FeaturesFormat::kDelphi);
  given.latents = 3;
  given.model = "org/tiny";
  given.pad_token = 77;
  write_features(given);
  const fs::path module = at("out") / "layers.8";
  EXPECT_FALSE(fs::exists(module / "3_3.safetensors"));
  EXPECT_EQ(RawTensors(module / "2_2.safetensors").numbers("locations", 2),
            (Numbers{1, 0, 0, 1, 1, 0, 1, 2, 0, 1, 3, 0, 1, 4, 0}));
  EXPECT_EQ(RawTensors(module / "2_2.safetensors").numbers("tokens", 4)[3], 77u);
  EXPECT_EQ(parsed(module / "config.json")["model_name"], "org/tiny");
}

TEST_F(FeatureExports, GiveDelphiWhatHalvesCannotHoldInFull) {
  save_planted();
  save_store(source(), 1e5);
  write_features(arguments(FeaturesFormat::kDelphi));
  const RawTensors file(at("out") / "layers.8" / "0_0.safetensors");
  EXPECT_EQ(file.header["activations"]["dtype"], "F32");
  EXPECT_EQ(file.numbers("activations", 4)[3], std::bit_cast<std::uint32_t>(1e6F));
  fs::remove_all(at("store"));
  fs::remove_all(at("out"));
  save_store(source(), 1e-6F);
  EXPECT_EQ(write_features(arguments(FeaturesFormat::kDelphi)).silent, 2);
  EXPECT_EQ(RawTensors(at("out") / "layers.8" / "0_0.safetensors").header["activations"]["shape"],
            Json({0}))
      << "1e-5 and less is nothing to Delphi";
}

TEST_F(FeatureExports, GiveDelphiManyRowsInLongerNumbers) {
  save_planted();
  constexpr std::int64_t kRows = 65'537;
  at::Tensor x = at::zeros({kRows, 3});
  x[kRows - 1][0] = 2;
  StoreWriter writer(at("store"), 3, at::kFloat, {});
  writer.append(x, at::zeros({kRows}, at::kLong), at::arange(kRows));
  writer.finish();
  write_features(arguments(FeaturesFormat::kDelphi));
  const RawTensors file(at("out") / "sae" / "0_0.safetensors");
  EXPECT_EQ(file.header["tokens"]["shape"], Json({kRows, 32}));
  EXPECT_EQ(file.header["locations"]["dtype"], "U32");
  EXPECT_EQ(file.numbers("locations", 4), (Numbers{65'536, 0, 0}));
}

TEST_F(FeatureExports, AreTheSameBytesEachTime) {
  save_planted();
  save_store();
  save_unembedding(weight());
  for (const FeaturesFormat format : {FeaturesFormat::kNeuronpedia, FeaturesFormat::kDelphi}) {
    const std::string name = name_of(format);
    FeaturesArguments given = arguments(format, name + "1");
    if (format == FeaturesFormat::kNeuronpedia) given.unembedding = at("unembedding").string();
    write_features(given);
    given.out = at(name + "2").string();
    write_features(given);
    std::size_t files = 0;
    for (const auto& entry : fs::recursive_directory_iterator(at(name + "1"))) {
      if (!entry.is_regular_file()) continue;
      ++files;
      const fs::path other = at(name + "2") / fs::relative(entry.path(), at(name + "1"));
      EXPECT_EQ(read_file(entry.path()), read_file(other)) << other;
    }
    EXPECT_GE(files, 1u);
  }
}

TEST_F(FeatureExports, LeaveNothingWhenStopped) {
  save_planted();
  save_store();
  for (const FeaturesFormat format : {FeaturesFormat::kNeuronpedia, FeaturesFormat::kDelphi}) {
    EXPECT_FALSE(write_features(arguments(format), [](auto, auto) { return false; }).finished);
    request_interrupt();
    EXPECT_THROW(write_features(arguments(format)), Interrupted);
    withdraw_interrupt();
    std::size_t others = 0;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      const std::string name = entry.path().filename().string();
      others += name == "sae" || name == "store" ? 0 : 1;
    }
    EXPECT_EQ(others, 0u);
  }
}

TEST_F(FeatureExports, RefuseWhatTheirFormatHasNoUseFor) {
  save_planted();
  save_store();
  const auto refused = [&](FeaturesFormat format, const auto& change, const std::string& option) {
    FeaturesArguments given = arguments(format);
    change(given);
    EXPECT_TRUE(error<ConfigError>(given).starts_with(option + ": ")) << error<ConfigError>(given);
  };
  using Given = FeaturesArguments;
  refused(
      FeaturesFormat::kDelphi, [](Given& g) { g.results = "r.json"; }, "--results");
  refused(
      FeaturesFormat::kNeuronpedia, [](Given& g) { g.results = "r.json"; }, "--results");
  refused(
      FeaturesFormat::kDelphi, [](Given& g) { g.unembedding = "u"; }, "--unembedding");
  refused(
      FeaturesFormat::kHtml, [](Given& g) { g.latents = 2; }, "--latents");
  refused(
      FeaturesFormat::kHtml, [](Given& g) { g.model = "m"; }, "--model");
  refused(
      FeaturesFormat::kDelphi, [](Given& g) { g.source_set = "s"; }, "--source-set");
  refused(
      FeaturesFormat::kNeuronpedia, [](Given& g) { g.pad_token = 1; }, "--pad-token");
  refused(
      FeaturesFormat::kDelphi, [](Given& g) { g.pad_token = -1; }, "--pad-token");
  refused(
      FeaturesFormat::kDelphi, [](Given& g) { g.latents = 0; }, "--latents");
  refused(
      FeaturesFormat::kNeuronpedia, [](Given& g) { g.options.window = -1; }, "features");
  fs::remove_all(at("store"));
  save_store(source(), 1, /*tokens=*/false);
  for (const FeaturesFormat format : {FeaturesFormat::kNeuronpedia, FeaturesFormat::kDelphi}) {
    EXPECT_NE(error<DataError>(arguments(format)).find("has no tokens"), std::string::npos);
  }
}

TEST_F(FeatureExports, RefuseUnembeddingsOfAnythingElse) {
  save_planted();
  save_store();
  FeaturesArguments given = neuronpedia();
  given.unembedding = at("unembedding").string();
  const auto refused = [&](const at::Tensor& tensor, const Metadata& changed,
                           const std::string& part) {
    save_unembedding(tensor, changed);
    const std::string message = error<DataError>(given);
    EXPECT_TRUE(message.starts_with(at("unembedding").string() + ": ")) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  refused(at::zeros({6, 4}), {}, "a stream of 4 dimensions, the autoencoder's has 3");
  refused(weight(), {{"model", "other"}}, "is of the model \"other\"");
  refused(weight(), {{"vocabulary", "7"}}, "a vocabulary of 7 tokens, that of");
  refused(weight(), {{"vocabulary", "six"}}, "vocabulary is \"six\"");
  refused(weight(), {{"vocabulary", ""}}, "no vocabulary in its metadata");
  refused(weight(), {{"format", "sae-activations"}}, "not an unembedding");
  refused(weight(), {{"version", "2"}}, "this program reads 1");
  refused(weight().to(at::kLong), {}, "expected [tokens, width] of F32, F16 or BF16");
  refused(weight().flatten(), {}, "expected [tokens, width] of F32, F16 or BF16");
  at::Tensor broken = weight();
  broken[4][1] = std::numeric_limits<float>::quiet_NaN();
  refused(broken, {}, "the row of token 4 has a NaN or Inf");
  write_safetensors(at("unembedding"), {{"W_U", weight()}},
                    {{"format", "sae-unembedding"}, {"version", "1"}});
  EXPECT_NE(error<DataError>(given).find("no tensor unembedding"), std::string::npos);
  save_unembedding(weight());
  const std::string whole = read_file(at("unembedding"));
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    write_file_atomically(at("unembedding"), whole.substr(0, size));
    EXPECT_TRUE(error<DataError>(given).starts_with(at("unembedding").string())) << size;
  }
  save_unembedding(weight());
  Json elsewhere = source();
  elsewhere["hook_name"] = "blocks.8.attn.hook_z";
  fs::remove_all(at("store"));
  save_store(elsewhere);
  EXPECT_NE(error<ConfigError>(given).find("not in the residual stream"), std::string::npos);
}

}  // namespace
}  // namespace sae

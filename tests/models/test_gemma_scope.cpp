#include "formats/npz.h"
#include "support/convert_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

ConvertGolden golden() { return ConvertGolden("gemma_scope/layer_12/width_16/average_l0_5"); }

PlainSae read(const fs::path& path) { return gemma_scope_format().read(path); }

TEST(GemmaScope, ReadsAnArchiveAndComputesWhatSaebenchComputes) {
  EXPECT_EQ(detect_format(golden().folder).name, "gemma_scope");
  EXPECT_EQ(detect_format(golden().folder / "params.npz").name, "gemma_scope");
  const PlainSae plain = read(golden().folder);
  EXPECT_EQ(plain.activation, Activation::kJumpRelu);
  EXPECT_EQ(plain.source.at("layer"), 12) << "from the names of its folders";
  expect_golden(plain, golden(), "gemma_scope");
  expect_golden(read(golden().folder / "params.npz"), golden(), "the file alone");
}

TEST(GemmaScope, ReadsTheWeightsAsTheyAre) {
  const NamedTensors theirs = read_npz(golden().folder / "params.npz");
  const std::map<std::string, at::Tensor> tensors(theirs.begin(), theirs.end());
  const PlainSae plain = read(golden().folder);
  EXPECT_FALSE(plain.subtracts_b_dec);
  EXPECT_TRUE(at::equal(plain.W_enc, tensors.at("W_enc").t()));
  EXPECT_TRUE(at::equal(plain.W_dec, tensors.at("W_dec")));
  EXPECT_TRUE(at::equal(plain.b_enc, tensors.at("b_enc")));
  EXPECT_TRUE(at::equal(plain.b_dec, tensors.at("b_dec")));
  EXPECT_TRUE(at::equal(plain.threshold, tensors.at("threshold")));
}

TEST(GemmaScope, WritesTheArraysThatItReadsBitForBit) {
  const TemporaryFolder folder;
  gemma_scope_format().write(folder.path() / "a", read(golden().folder));
  const NamedTensors theirs = read_npz(golden().folder / "params.npz");
  const NamedTensors written = read_npz(folder.path() / "a" / "params.npz");
  const std::map<std::string, at::Tensor> ours(written.begin(), written.end());
  EXPECT_EQ(ours.size(), theirs.size());
  for (const auto& [name, tensor] : theirs) {
    ASSERT_TRUE(ours.contains(name)) << name;
    EXPECT_EQ(ours.at(name).scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(ours.at(name), tensor)) << name;
  }
}

TEST(GemmaScope, WritesReluAndBatchTopKAsThresholds) {
  const TemporaryFolder folder;
  for (const std::string name : {"autoencoder", "batchtopk", "matryoshka", "jumprelu", "gated"}) {
    const ConvertGolden from("dictionary_learning_" + name);
    gemma_scope_format().write(folder.path() / name,
                               dictionary_learning_format().read(from.folder));
    expect_golden(read(folder.path() / name), from, name);
  }
}

TEST(GemmaScope, CarriesProvenanceBesideTheArchive) {
  const TemporaryFolder folder;
  PlainSae plain = read(golden().folder);
  plain.origin = nullptr;
  plain.source = {{"model", "google/gemma-2-2b"}, {"layer", 3}};
  plain.training = {{"seed", 5}};
  gemma_scope_format().write(folder.path() / "a", plain);
  const PlainSae again = read(folder.path() / "a");
  EXPECT_EQ(again.source, plain.source);
  EXPECT_EQ(again.training, plain.training);
}

/// A copy of the golden's archive in folders called so.
fs::path released(const TemporaryFolder& folder, const std::string& names) {
  fs::create_directories(folder.path() / names);
  fs::copy(golden().folder / "params.npz", folder.path() / names);
  return folder.path() / names;
}

TEST(GemmaScope, KnowsModelAndPlaceByTheNamesOfItsFolders) {
  struct Release {
    const char* names;
    const char* model;
    const char* hook;
  };
  const Release cases[] = {
      {"gemma-scope-9b-pt-res/layer_20/width_131k/average_l0_11", "gemma-2-9b",
       "blocks.20.hook_resid_post"},
      {"gemma-scope-9b-it-res-canonical/layer_9/width_16k/canonical", "gemma-2-9b-it",
       "blocks.9.hook_resid_post"},
      {"models--google--gemma-scope-2b-pt-mlp/snapshots/1a2b/layer_0/width_65k/average_l0_7",
       "gemma-2-2b", "blocks.0.hook_mlp_out"},
      {"gemma-scope-27b-pt-att/layer_4/width_16k/average_l0_50", "gemma-2-27b",
       "blocks.4.attn.hook_z"},
      {"gemma-scope-2b-pt-res/embedding/width_4k/average_l0_21", "gemma-2-2b", "hook_embed"},
  };
  for (const Release& one : cases) {
    const TemporaryFolder folder;
    const PlainSae plain = read(released(folder, one.names));
    EXPECT_EQ(plain.source.at("model"), one.model) << one.names;
    EXPECT_EQ(plain.source.at("hook_name"), one.hook) << one.names;
    EXPECT_EQ(plain.source.at("prepend_bos"), true);
    EXPECT_EQ(plain.guess, "") << one.names;
    saelens_format().write(folder.path() / "out", plain);
    const Json metadata = Json::parse(read_file(folder.path() / "out" / "cfg.json"))["metadata"];
    EXPECT_EQ(metadata.at("model_name"), one.model);
    EXPECT_EQ(metadata.at("hook_name"), one.hook);
  }
}

TEST(GemmaScope, SaysWhereThePlaceIsAGuess) {
  const TemporaryFolder folder;
  const PlainSae plain = read(released(folder, "downloads/layer_5/width_16k/average_l0_9"));
  EXPECT_EQ(plain.source.at("hook_name"), "blocks.5.hook_resid_post");
  EXPECT_FALSE(plain.source.contains("model"));
  EXPECT_NE(plain.guess.find("blocks.5.hook_resid_post is a guess; say another place with --hook"),
            std::string::npos);
  EXPECT_TRUE(read(released(folder, "elsewhere")).source.empty());
}

TEST(GemmaScope, RefusesTranscodersByTheirRelease) {
  const TemporaryFolder folder;
  const fs::path place =
      released(folder, "gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_9");
  expect_refused<DataError>([&] { read(place); }, {"params.npz: is of a release of transcoders"});
}

TEST(GemmaScope, NeedsNothingBesideTheArchive) {
  for (const char* text : {"{", "[1]", "{\"source\": {\"layer\": -1, \"hook_name\": []}}"}) {
    const TemporaryFolder folder;
    const fs::path place = released(folder, "a");
    std::ofstream(place / "sae_cpp.json") << text;
    std::ofstream(place / "config.json") << text;
    const PlainSae plain = read(place);
    expect_golden(plain, golden(), text);
    EXPECT_FALSE(plain.notes.empty()) << text;
    EXPECT_FALSE(plain.source.contains("layer"));
    EXPECT_NO_THROW(saelens_format().write(folder.path() / "out", plain)) << text;
  }
}

TEST(GemmaScope, SaysWhatItHasNoPlaceFor) {
  const TemporaryFolder folder;
  PlainSae plain = read(golden().folder);
  plain.source = {{"model", "gpt2"},
                  {"hook_name", "blocks.3.hook_resid_post"},
                  {"prepend_bos", false},
                  {"seqpos_slice", {nullptr}},
                  {"hook_head_index", nullptr}};
  const Notes notes = gemma_scope_format().write(folder.path() / "a", plain);
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_EQ(notes[0],
            "gemma_scope has no place for model \"gpt2\", hook_name \"blocks.3.hook_resid_post\", "
            "prepend_bos false; kept in sae_cpp.json, which only sae reads");
  EXPECT_EQ(read(folder.path() / "a").source, plain.source);
}

TEST(GemmaScope, RefusesTopK) {
  const TemporaryFolder folder;
  const PlainSae plain =
      dictionary_learning_format().read(ConvertGolden("dictionary_learning_topk").folder);
  expect_refused<ConfigError>([&] { gemma_scope_format().write(folder.path() / "a", plain); },
                              {"topk with k 3: cannot be written for gemma_scope, which knows "
                               "thresholds only; use saelens, dictionary_learning or sparsify"});
  EXPECT_FALSE(fs::exists(folder.path() / "a"));
}

TEST(GemmaScope, ReadsNamesInLowerCase) {
  const TemporaryFolder folder;
  NamedTensors tensors = read_npz(golden().folder / "params.npz");
  for (auto& [name, tensor] : tensors) {
    if (name[0] == 'W') name[0] = 'w';
  }
  write_npz(folder.path() / "params.npz", tensors);
  expect_golden(read(folder.path()), golden(), "lower case");
}

TEST(GemmaScope, RefusesDamagedArchives) {
  const auto refused = [](auto&& change, const std::vector<std::string>& parts) {
    const TemporaryFolder folder;
    const NamedTensors old = read_npz(golden().folder / "params.npz");
    std::map<std::string, at::Tensor> tensors(old.begin(), old.end());
    change(tensors);
    write_npz(folder.path() / "params.npz", {tensors.begin(), tensors.end()});
    expect_refused<DataError>([&] { read(folder.path()); }, parts);
  };
  refused([](auto& t) { t.erase("threshold"); }, {"params.npz: no tensor threshold; found"});
  refused([](auto& t) { t["W_enc"] = t["W_enc"].t(); },
          {"params.npz: tensor W_enc is [16, 6], expected [6, 16]"});
  refused([](auto& t) { t["b_dec"][1] = INFINITY; }, {"params.npz: tensor b_dec holds NaN or Inf"});
  refused([](auto& t) { t["b_enc"] = at::ones({16}, at::kInt); }, {"tensor b_enc is I32"});
  refused([](auto& t) { t["affine_skip"] = at::ones({6, 6}); }, {"unexpected tensor affine_skip"});
  const TemporaryFolder folder;
  const std::string whole = read_file(golden().folder / "params.npz");
  for (std::size_t size = 0; size < whole.size(); size += 31) {
    std::ofstream(folder.path() / "params.npz", std::ios::binary) << whole.substr(0, size);
    expect_refused<DataError>([&] { read(folder.path()); }, {"params.npz: "});
  }
}

}  // namespace
}  // namespace sae

#include "support/convert_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

struct Case {
  const char* golden;
  Activation activation;
};

constexpr Case kSaelens[] = {
    {"saelens_standard", Activation::kRelu},
    {"saelens_topk", Activation::kTopK},
    {"saelens_jumprelu", Activation::kJumpRelu},
    {"saelens_topk_finished", Activation::kTopK},
    {"saelens_batchtopk_finished", Activation::kBatchTopK},
    {"saelens_matryoshka_batchtopk_finished", Activation::kBatchTopK},
    {"saelens_topk_checkpoint", Activation::kTopK},
    {"saelens_batchtopk_checkpoint", Activation::kBatchTopK},
    {"saelens_matryoshka_batchtopk_checkpoint", Activation::kBatchTopK},
    {"saelens_before_6", Activation::kTopK},
};

PlainSae read_saelens(const fs::path& folder) { return saelens_format().read(folder); }

TEST(Saelens, ReadsWhatSaelensSavesAndComputesWhatItComputes) {
  for (const Case& one : kSaelens) {
    const ConvertGolden golden(one.golden);
    EXPECT_EQ(detect_format(golden.folder).name, "saelens") << one.golden;
    const PlainSae plain = read_saelens(golden.folder);
    EXPECT_EQ(plain.activation, one.activation) << one.golden;
    expect_golden(plain, golden, one.golden);
  }
}

TEST(Saelens, WritesWhatItReadsBackAsTheSameFunction) {
  const TemporaryFolder folder;
  for (const Case& one : kSaelens) {
    const ConvertGolden golden(one.golden);
    saelens_format().write(folder.path() / one.golden, read_saelens(golden.folder));
    const PlainSae again = read_saelens(folder.path() / one.golden);
    EXPECT_EQ(again.activation, one.activation) << one.golden;
    expect_golden(again, golden, one.golden);
  }
}

TEST(Saelens, KnowsAMatryoshkaByItsMetadata) {
  const ConvertGolden golden("saelens_matryoshka_batchtopk_finished");
  const OwnSae own = own_from(read_saelens(golden.folder));
  EXPECT_EQ(own.model.at("architecture"), "matryoshka");
  EXPECT_EQ(own.model.at("widths"), Json({4, 8, 16}));
  EXPECT_EQ(own.model.at("k"), 3);
}

TEST(Saelens, IsDescribedByHowLatentsAreChosen) {
  const auto described = [](const char* name) {
    return describe(read_saelens(ConvertGolden(name).folder));
  };
  EXPECT_EQ(described("saelens_standard"), "relu");
  EXPECT_EQ(described("saelens_topk"), "topk with k 3");
  EXPECT_EQ(described("saelens_jumprelu"), "jumprelu");
  EXPECT_EQ(described("saelens_batchtopk_finished"), "batch_topk with threshold 1.75");
  EXPECT_EQ(described("saelens_matryoshka_batchtopk_checkpoint"), "matryoshka with threshold 1.75");
}

TEST(Saelens, TakesABatchTopKOfUnknownTrainingForAJumpRelu) {
  const SpoiltCopy copy("saelens_batchtopk_finished");
  copy.set("cfg.json", "metadata", {{"sae_lens_version", "6.18.0"}});
  const PlainSae plain = read_saelens(copy.path());
  EXPECT_EQ(plain.activation, Activation::kJumpRelu);
  expect_golden(plain, ConvertGolden("saelens_batchtopk_finished"), "without metadata");
}

TEST(Saelens, CarriesWhereTheActivationsCameFrom) {
  const Json source = read_saelens(ConvertGolden("saelens_topk").folder).source;
  EXPECT_EQ(source.at("model"), "gpt2-small");
  EXPECT_EQ(source.at("hook_name"), "blocks.5.hook_mlp_out");
  EXPECT_EQ(source.at("layer"), 5);
  EXPECT_EQ(source.at("site"), "mlp_out");
  EXPECT_EQ(source.at("context"), 256);
  EXPECT_EQ(source.at("dataset"), "monology/pile-uncopyrighted");
  EXPECT_EQ(read_saelens(ConvertGolden("saelens_before_6").folder).source.at("hook_name"),
            "blocks.8.hook_resid_pre");
}

TEST(Saelens, KeepsTheMetadataOfItsOwnThroughOurs) {
  const TemporaryFolder folder;
  own_format().write(folder.path() / "ours", read_saelens(ConvertGolden("saelens_topk").folder));
  saelens_format().write(folder.path() / "back", own_format().read(folder.path() / "ours"));
  const Json metadata = Json::parse(read_file(folder.path() / "back" / "cfg.json"))["metadata"];
  EXPECT_EQ(metadata.at("neuronpedia_id"), "gpt2-small/5-res");
  EXPECT_EQ(metadata.at("prepend_bos"), true);
  EXPECT_EQ(metadata.at("hook_name"), "blocks.5.hook_mlp_out");
}

TEST(Saelens, SaysWhereAHarvestedStoreCameFrom) {
  const TemporaryFolder folder;
  PlainSae plain = read_saelens(ConvertGolden("saelens_standard").folder);
  plain.origin = nullptr;
  plain.source = {{"model", "google/gemma-2-2b"},
                  {"layer", 12},
                  {"hook_name", "blocks.12.hook_resid_post"},
                  {"dataset", {{{"file", "a.txt"}, {"sha256", "0"}}, {{"file", "b.txt"}}}},
                  {"context", 128},
                  {"special_tokens", {{"<bos>"}, Json::array()}},
                  {"dropped", {"<bos>"}}};
  plain.training = {{"seed", 3}};
  saelens_format().write(folder.path() / "a", plain);
  const Json config = Json::parse(read_file(folder.path() / "a" / "cfg.json"));
  const Json& metadata = config["metadata"];
  EXPECT_EQ(metadata.at("sae_lens_version"), "6.0.0") << "a lower one makes SAELens drop it all";
  EXPECT_EQ(metadata.at("model_name"), "google/gemma-2-2b");
  EXPECT_EQ(metadata.at("dataset_path"), "a.txt, b.txt");
  EXPECT_EQ(metadata.at("context_size"), 128);
  EXPECT_EQ(metadata.at("prepend_bos"), true);
  EXPECT_EQ(metadata.at("exclude_special_tokens"), true);
  const PlainSae again = read_saelens(folder.path() / "a");
  EXPECT_EQ(again.source, plain.source);
  EXPECT_EQ(again.training, plain.training);
  EXPECT_TRUE(again.origin.is_null());
}

TEST(Saelens, LetsSaelensFoldATopKOnlyIfItsRowsHaveNormOne) {
  const TemporaryFolder folder;
  PlainSae plain = read_saelens(ConvertGolden("saelens_before_6").folder);
  const auto rescales = [&](const char* name) -> bool {
    saelens_format().write(folder.path() / name, plain);
    return Json::parse(
        read_file(folder.path() / name / "cfg.json"))["rescale_acts_by_decoder_norm"];
  };
  EXPECT_FALSE(rescales("free"));
  plain = with_unit_decoder(plain);
  EXPECT_TRUE(rescales("unit"));
}

TEST(Saelens, RefusesWhatItsConfigurationMeansAndOursCannot) {
  const std::pair<std::pair<const char*, Json>, std::vector<std::string>> cases[] = {
      {{"architecture", "gated"}, {"cfg.json: architecture is 'gated'", "expected standard"}},
      {{"architecture", 3}, {"cfg.json: architecture is 3, expected a string"}},
      {{"normalize_activations", "layer_norm"}, {"normalize_activations is 'layer_norm'"}},
      {{"normalize_activations", "expected_average_only_in"}, {"no activation_scaler.json"}},
      {{"k", nullptr}, {"no key 'k', expected an integer from 1 to 16"}},
      {{"k", 17}, {"k is 17, expected an integer from 1 to 16"}},
      {{"k", 2.5}, {"k is 2.5"}},
      {{"d_in", nullptr}, {"no key 'd_in'"}},
      {{"d_in", 7}, {"tensor W_enc is [6, 16], expected [7, 16]"}},
      {{"d_sae", -1}, {"d_sae is -1"}},
      {{"d_sae", 1e300}, {"d_sae is 1e+300"}},
      {{"metadata", "none"}, {"metadata is \"none\", expected an object"}},
      {{"apply_b_dec_to_input", 1}, {"apply_b_dec_to_input is 1, expected true or false"}},
  };
  for (const auto& [change, parts] : cases) {
    const SpoiltCopy copy("saelens_topk");
    copy.set("cfg.json", change.first, change.second);
    expect_refused<DataError>([&] { read_saelens(copy.path()); }, parts);
  }
}

TEST(Saelens, RefusesOldFoldersWithAScaleOrAnotherFunction) {
  const SpoiltCopy copy("saelens_before_6");
  copy.set("cfg.json", "activation_fn_str", "tanh-relu");
  expect_refused<DataError>([&] { read_saelens(copy.path()); }, {"activation_fn is 'tanh-relu'"});
  copy.set("cfg.json", "finetuning_scaling_factor", true);
  expect_refused<DataError>([&] { read_saelens(copy.path()); }, {"finetuning_scaling_factor"});
}

TEST(Saelens, RefusesDamagedFiles) {
  const auto read = [](const SpoiltCopy& copy) { return [&] { read_saelens(copy.path()); }; };
  const char* const file = "sae_weights.safetensors";
  const SpoiltCopy nan("saelens_jumprelu");
  nan.change_tensors(file, [](auto& tensors) { tensors["threshold"][3] = NAN; });
  expect_refused<DataError>(read(nan), {file, "threshold holds NaN or Inf"});
  const SpoiltCopy shape("saelens_jumprelu");
  shape.change_tensors(file, [](auto& tensors) { tensors["W_dec"] = tensors["W_dec"].t(); });
  expect_refused<DataError>(read(shape), {file, "W_dec is [6, 16], expected [16, 6]"});
  const SpoiltCopy missing("saelens_jumprelu");
  missing.change_tensors(file, [](auto& tensors) { tensors.erase("threshold"); });
  expect_refused<DataError>(read(missing), {file, "no tensor threshold; found"});
  const SpoiltCopy more("saelens_standard");
  more.change_tensors(file, [](auto& tensors) { tensors["r_mag"] = at::ones({16}); });
  expect_refused<DataError>(read(more), {file, "unexpected tensor r_mag"});
  const SpoiltCopy type("saelens_standard");
  type.change_tensors(file, [](auto& tensors) { tensors["b_enc"] = at::ones({16}, at::kInt); });
  expect_refused<DataError>(read(type), {file, "b_enc is I32, expected floating-point"});
  const SpoiltCopy scaler("saelens_topk_checkpoint");
  scaler.write("activation_scaler.json", R"({"scaling_factor": null})");
  expect_refused<DataError>(read(scaler), {"activation_scaler.json", "scaling_factor is null"});
  const SpoiltCopy json("saelens_standard");
  json.write("cfg.json", "{\"d_in\": 6");
  expect_refused<DataError>(read(json), {"cfg.json"});
  json.write("cfg.json", "[]");
  expect_refused<DataError>(read(json), {"cfg.json: is array, expected an object"});
}

TEST(Saelens, RefusesAFileCutOffAnywhere) {
  const SpoiltCopy copy("saelens_standard");
  const std::string whole = read_file(copy.path() / "sae_weights.safetensors");
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    copy.write("sae_weights.safetensors", whole.substr(0, size));
    expect_refused<DataError>([&] { read_saelens(copy.path()); }, {"sae_weights.safetensors"});
  }
}

TEST(Sparsify, ReadsWhatSparsifySavesAndComputesWhatItComputes) {
  const ConvertGolden golden("sparsify_run/layers.3");
  EXPECT_EQ(detect_format(golden.folder).name, "sparsify");
  const PlainSae plain = sparsify_format().read(golden.folder);
  EXPECT_EQ(describe(plain), "topk with k 3");
  expect_golden(plain, golden, "sparsify");
  EXPECT_EQ(plain.source.at("model"), "EleutherAI/pythia-14m");
  EXPECT_EQ(plain.source.at("layer"), 3);
  EXPECT_EQ(plain.source.at("site"), "resid_post");
  EXPECT_EQ(plain.source.at("context"), 2048);

  const TemporaryFolder folder;
  sparsify_format().write(folder.path() / "again", plain);
  const PlainSae again = sparsify_format().read(folder.path() / "again");
  expect_golden(again, golden, "sparsify, written again");
  EXPECT_EQ(again.source, plain.source);
}

TEST(Sparsify, RefusesOtherFunctionsAndDamage) {
  const std::pair<std::pair<const char*, Json>, std::vector<std::string>> cases[] = {
      {{"activation", "groupmax"}, {"cfg.json: activation is 'groupmax', expected topk"}},
      {{"skip_connection", true}, {"skip_connection is true"}},
      {{"transcode", true}, {"transcode is true"}},
      {{"k", 0}, {"k is 0, expected an integer from 1 to 16"}},
      {{"d_in", 5}, {"encoder.weight is [16, 6], expected [16, 5]"}},
      {{"num_latents", 32}, {"num_latents is 32, expected an integer from 16 to 16"}},
  };
  for (const auto& [change, parts] : cases) {
    const SpoiltCopy copy("sparsify_run/layers.3");
    copy.set("cfg.json", change.first, change.second);
    expect_refused<DataError>([&] { sparsify_format().read(copy.path()); }, parts);
  }
  const SpoiltCopy copy("sparsify_run/layers.3");
  copy.change_tensors("sae.safetensors", [](auto& tensors) { tensors.erase("encoder.weight"); });
  expect_refused<DataError>([&] { sparsify_format().read(copy.path()); },
                            {"sae.safetensors: no tensor encoder.weight; found W_dec"});
}

TEST(Sparsify, WritesTopKOnly) {
  const TemporaryFolder folder;
  const PlainSae plain = read_saelens(ConvertGolden("saelens_standard").folder);
  expect_refused<ConfigError>([&] { sparsify_format().write(folder.path() / "a", plain); },
                              {"relu: cannot be written for sparsify, which knows topk only"});
  EXPECT_FALSE(fs::exists(folder.path() / "a"));
}

}  // namespace
}  // namespace sae

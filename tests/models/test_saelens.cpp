#include <sys/stat.h>

#include "support/convert_testing.h"
#include "support/run_testing.h"

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
    {"saelens_gated", Activation::kJumpRelu},
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

/// The metadata that is written for what was read from `folder`, by way of `formats`.
Json metadata_by_way_of(fs::path folder, const std::vector<std::string>& formats) {
  const TemporaryFolder temporary;
  for (const std::string& format : formats) {
    const fs::path next = temporary.path() / format;
    sae_format(format).write(next, detect_format(folder).read(folder));
    folder = next;
  }
  saelens_format().write(temporary.path() / "back", detect_format(folder).read(folder));
  return Json::parse(read_file(temporary.path() / "back" / "cfg.json")).at("metadata");
}

TEST(Saelens, TurnsKeysOfOldFoldersIntoMetadataOnEveryWay) {
  const SpoiltCopy copy("saelens_before_6");
  const Json said = {{"prepend_bos", false},
                     {"seqpos_slice", {1, -1, 2}},
                     {"hook_head_index", 5},
                     {"model_class_name", "HookedTransformer"},
                     {"model_from_pretrained_kwargs", {{"fold_ln", false}, {"n_devices", 2}}},
                     {"exclude_special_tokens", {0, 50256}},
                     {"neuronpedia_id", "gpt2-small/8-res-jb"},
                     {"hook_name_out", "blocks.9.hook_mlp_out"},
                     {"disable_concat_sequences", true},
                     {"sequence_separator_token", nullptr}};
  for (const auto& [key, value] : said.items()) copy.set_value("cfg.json", key, value);
  for (const std::vector<std::string>& way : std::vector<std::vector<std::string>>{
           {}, {"sae"}, {"sparsify"}, {"dictionary_learning", "sae"}, {"sae", "saelens"}}) {
    const Json metadata = metadata_by_way_of(copy.path(), way);
    for (const auto& [key, value] : said.items()) {
      EXPECT_EQ(metadata.at(key), value) << key << " by " << way.size() << " ways";
    }
    EXPECT_EQ(metadata.at("model_name"), "gpt2-small");
    EXPECT_EQ(metadata.at("hook_name"), "blocks.8.hook_resid_pre");
    EXPECT_EQ(metadata.at("context_size"), 64);
    EXPECT_EQ(metadata.at("dataset_path"), "monology/pile-uncopyrighted");
    EXPECT_FALSE(metadata.contains("d_in")) << "no metadata";
  }
}

TEST(Saelens, TakesWhatOldFoldersLeaveOutAsSaelensDoes) {
  const SpoiltCopy copy("saelens_before_6");
  for (const char* key : {"prepend_bos", "hook_name"}) copy.set("cfg.json", key, nullptr);
  copy.set("cfg.json", "hook_point", "blocks.2.attn.hook_z");
  copy.set("cfg.json", "hook_point_head_index", 4);
  const TemporaryFolder folder;
  saelens_format().write(folder.path() / "new", read_saelens(copy.path()));
  const Json config = Json::parse(read_file(folder.path() / "new" / "cfg.json"));
  const Json& metadata = config.at("metadata");
  EXPECT_EQ(metadata.at("prepend_bos"), true);
  EXPECT_EQ(metadata.at("hook_name"), "blocks.2.attn.hook_z");
  EXPECT_EQ(metadata.at("hook_head_index"), 4);
  EXPECT_TRUE(metadata.at("neuronpedia_id").is_null());
  EXPECT_EQ(config.at("reshape_activations"), "hook_z");
  copy.set("cfg.json", "reshape_activations", "none");
  saelens_format().write(folder.path() / "flat", read_saelens(copy.path()));
  EXPECT_EQ(Json::parse(read_file(folder.path() / "flat" / "cfg.json")).at("reshape_activations"),
            "none")
      << "one head alone";
}

TEST(Saelens, KeepsWhatSomebodyChangedInItsFilesSince) {
  const TemporaryFolder folder;
  own_format().write(folder.path() / "ours", read_saelens(ConvertGolden("saelens_topk").folder));
  saelens_format().write(folder.path() / "theirs", own_format().read(folder.path() / "ours"));
  const fs::path file = folder.path() / "theirs" / "cfg.json";
  Json config = Json::parse(read_file(file));
  config["metadata"]["prepend_bos"] = false;
  config["metadata"]["hook_name"] = "blocks.7.hook_resid_mid";
  write_text(file, config.dump());
  const Json source = read_saelens(folder.path() / "theirs").source;
  EXPECT_EQ(source.at("prepend_bos"), false);
  EXPECT_EQ(source.at("hook_name"), "blocks.7.hook_resid_mid");
  EXPECT_EQ(source.at("layer"), 7);
  EXPECT_EQ(source.at("model"), "gpt2-small");
}

TEST(Saelens, OpensModelsOfTransformersByTheirModules) {
  const SpoiltCopy copy("saelens_topk");
  copy.set("cfg.json", "metadata",
           {{"sae_lens_version", "6.54.0"},
            {"model_name", "Qwen/Qwen3-4B"},
            {"model_class_name", "AutoModelForCausalLM"},
            {"hook_name", "model.layers.9"}});
  const PlainSae plain = read_saelens(copy.path());
  EXPECT_EQ(plain.source.at("hook_name"), "blocks.9.hook_resid_post") << "in our words";
  EXPECT_EQ(metadata_by_way_of(copy.path(), {"sae"}).at("hook_name"), "model.layers.9");
  EXPECT_EQ(metadata_by_way_of(copy.path(), {"sparsify"}).at("hook_name"), "model.layers.9");
}

TEST(Saelens, LetsNothingThatOnlyInformsStopIt) {
  const Json odd[] = {"none",
                      {1, 2},
                      {{"sae_lens_version", 6.2}, {"hook_name", 3}, {"model_name", {"a"}}},
                      {{"sae_lens_version", "6.0"}, {"training_architecture", 4}},
                      {{"sae_lens_version", "6.0"}, {"context_size", "many"}, {"prepend_bos", 7}},
                      {{"sae_lens_version", "6.0"}, {"sae_cpp", {1}}},
                      {{"sae_lens_version", "6.0"}, {"sae_cpp", {{"source", {{"layer", "x"}}}}}}};
  for (const Json& metadata : odd) {
    const SpoiltCopy copy("saelens_jumprelu");
    copy.set("cfg.json", "metadata", metadata);
    expect_golden(read_saelens(copy.path()), ConvertGolden("saelens_jumprelu"), metadata.dump());
    for (const std::string format : {"sae", "saelens", "dictionary_learning", "gemma_scope"}) {
      EXPECT_NO_THROW(metadata_by_way_of(copy.path(), {format})) << metadata << " to " << format;
    }
  }
  const SpoiltCopy copy("saelens_standard");
  const std::pair<const char*, const char*> files[] = {{"runner_cfg.json", "{\"lr\": "},
                                                       {"config.json", "\xff\xfe"},
                                                       {"sparsity.safetensors", "cut off"},
                                                       {"activation_scaler.json", "[NaN]"}};
  for (const auto& [file, text] : files) copy.write(file, text);
  const PlainSae plain = read_saelens(copy.path());
  expect_golden(plain, ConvertGolden("saelens_standard"), "beside");
  ASSERT_EQ(plain.notes.size(), 1U);
  EXPECT_NE(plain.notes[0].find("runner_cfg.json:1: not valid JSON; left out"), std::string::npos)
      << plain.notes[0];
}

TEST(Saelens, ReadsNumbersThatOnlyPythonKnows) {
  const SpoiltCopy copy("saelens_topk");
  std::string text = read_file(copy.path() / "cfg.json");
  const std::string key = "\"neuronpedia_id\": ";
  text.insert(text.find(key), "\"clip\": Infinity, \"low\": [-Infinity, NaN], ");
  copy.write("cfg.json", text);
  expect_golden(read_saelens(copy.path()), ConvertGolden("saelens_topk"), "with Infinity");
  const TemporaryFolder folder;
  own_format().write(folder.path() / "ours", read_saelens(copy.path()));
  saelens_format().write(folder.path() / "back", own_format().read(folder.path() / "ours"));
  const std::string back = read_file(folder.path() / "back" / "cfg.json");
  EXPECT_NE(back.find("\"clip\": Infinity,"), std::string::npos) << back;
}

TEST(Saelens, CountsTheLastOfTwoKeysOnlyWhereItInforms) {
  const SpoiltCopy copy("saelens_topk");
  const std::string text = read_file(copy.path() / "cfg.json");
  const auto with = [&](const std::string& before, const std::string& more) {
    std::string changed = text;
    changed.insert(changed.find(before), more);
    copy.write("cfg.json", changed);
    return [&] { return read_saelens(copy.path()); };
  };
  const PlainSae plain = with("\"model_name\"", "\"model_name\": \"a\", ")();
  EXPECT_EQ(plain.source.at("model"), "gpt2-small");
  ASSERT_EQ(plain.notes.size(), 1U);
  EXPECT_NE(plain.notes[0].find("key metadata.model_name appears twice; the last counts"),
            std::string::npos);
  expect_refused<DataError>(with("\"k\":", "\"k\": 2, "), {"cfg.json: key 'k' appears twice"});
}

TEST(Saelens, SaysWhatItNeedsToRunTheModel) {
  const TemporaryFolder folder;
  PlainSae plain = read_saelens(ConvertGolden("saelens_standard").folder);
  plain.origin = nullptr;
  const auto notes = [&](const char* name, const Json& source) {
    plain.source = source;
    const Notes written = saelens_format().write(folder.path() / name, plain);
    return written.empty() ? "" : written[0];
  };
  EXPECT_EQ(notes("a", {{"model", "m"}, {"hook_name", "blocks.1.hook_resid_pre"}}), "");
  EXPECT_EQ(notes("b", {{"kind", "synthetic"}}), "");
  EXPECT_NE(notes("c", {{"model", "m"}}).find("not known which hook this is for"),
            std::string::npos);
  EXPECT_NE(notes("d", Json::object()).find("say it with --model and --hook"), std::string::npos);
  EXPECT_NE(notes("e", {{"model", "gpt2"}, {"hook_name", "h.3.mlp.c_fc"}})
                .find("written as transformer.h.3.mlp.c_fc of model_class_name AutoModelForCausal"),
            std::string::npos);
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
      {{"architecture", "temporal"}, {"cfg.json: architecture is 'temporal'", "expected standard"}},
      {{"architecture", "jumprelu_transcoder"}, {"it predicts other activations"}},
      {{"architecture", 3}, {"cfg.json: architecture is 3, expected a string"}},
      {{"normalize_activations", "layer_norm"},
       {"normalize_activations is 'layer_norm'", "a number of its own, which no fixed weights do"}},
      {{"normalize_activations", "constant_norm_rescale"}, {"which no fixed weights do"}},
      {{"normalize_activations", "expected_average_only_in"}, {"no activation_scaler.json"}},
      {{"k", nullptr}, {"no key 'k', expected an integer from 1 to 16"}},
      {{"k", 17}, {"k is 17, expected an integer from 1 to 16"}},
      {{"k", 2.5}, {"k is 2.5"}},
      {{"d_in", nullptr}, {"no key 'd_in'"}},
      {{"d_in", 7}, {"tensor W_enc is [6, 16], expected [7, 16]"}},
      {{"d_sae", -1}, {"d_sae is -1"}},
      {{"d_sae", 1e300}, {"d_sae is 1e+300"}},
      {{"apply_b_dec_to_input", 1}, {"apply_b_dec_to_input is 1, expected true or false"}},
  };
  for (const auto& [change, parts] : cases) {
    const SpoiltCopy copy("saelens_topk");
    copy.set("cfg.json", change.first, change.second);
    expect_refused<DataError>([&] { read_saelens(copy.path()); }, parts);
  }
}

TEST(Saelens, ReadsAGateAsTheThresholdThatItIs) {
  // One latent of one input: r_mag = ln 2, b_mag = 3, b_gate = -0.5: h = 2 a + 3 above 3 + 2 * 0.5.
  const SpoiltCopy copy("saelens_gated");
  copy.set("cfg.json", "d_in", 1);
  copy.set("cfg.json", "d_sae", 1);
  copy.change_tensors("sae_weights.safetensors", [](auto& tensors) {
    tensors = {{"W_enc", at::ones({1, 1})},      {"W_dec", at::ones({1, 1})},
               {"b_dec", at::zeros({1})},        {"r_mag", at::full({1}, std::log(2.0F))},
               {"b_gate", at::full({1}, -0.5F)}, {"b_mag", at::full({1}, 3.0F)}};
  });
  const PlainSae plain = read_saelens(copy.path());
  EXPECT_FLOAT_EQ(plain.W_enc.item<float>(), 2);
  EXPECT_FLOAT_EQ(plain.b_enc.item<float>(), 3);
  EXPECT_FLOAT_EQ(plain.threshold.item<float>(), 4);
  // Open at a = 0.75: 4.5. Shut at a = 0.25, where the magnitude alone is 3.5.
  const at::Tensor x = at::tensor({0.75F, 0.25F}).reshape({2, 1});
  EXPECT_TRUE(at::allclose(encode(plain, x), at::tensor({4.5F, 0.0F}).reshape({2, 1})));
  copy.change_tensors("sae_weights.safetensors",
                      [](auto& tensors) { tensors["r_mag"] = at::full({1}, 90.0F); });
  expect_refused<DataError>([&] { read_saelens(copy.path()); },
                            {"tensor r_mag is so large that e^x of it is infinite"});
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

/// A copy of the golden's run whose hook point is called `name`.
fs::path sparsify_run(const TemporaryFolder& folder, const std::string& name) {
  const fs::path run = folder.path() / "run";
  fs::create_directories((run / name).parent_path());
  const fs::path golden = ConvertGolden("sparsify_run/layers.3").folder;
  fs::copy(golden, run / name);
  fs::copy(golden.parent_path() / "config.json", run / "config.json");
  return run / name;
}

TEST(Sparsify, KnowsWhereItBelongsByItsFoldersName) {
  const std::pair<const char*, const char*> cases[] = {
      {"layers.11.mlp", "blocks.11.hook_mlp_out"},
      {"layers.4.attention", "blocks.4.hook_attn_out"},
      {"h.2", "blocks.2.hook_resid_post"},
      {"layers.6/seed3", "blocks.6.hook_resid_post"},
      {"embed_in", "hook_embed"},
  };
  for (const auto& [name, hook] : cases) {
    const TemporaryFolder folder;
    const fs::path hook_point = sparsify_run(folder, name);
    const Json metadata = metadata_by_way_of(hook_point, {});
    EXPECT_EQ(metadata.at("hook_name"), hook) << name;
    EXPECT_EQ(metadata.at("model_name"), "EleutherAI/pythia-14m");
    EXPECT_EQ(metadata.at("context_size"), 2048);
    EXPECT_EQ(metadata_by_way_of(hook_point, {"sparsify", "sae"}).at("hook_name"), hook);
  }
  const TemporaryFolder folder;
  EXPECT_FALSE(sparsify_format().read(sparsify_run(folder, "best")).source.contains("hook_name"))
      << "a folder of any name";
}

TEST(Sparsify, AsksForAFolderThatIsCalledAsTheHookPoint) {
  const TemporaryFolder folder;
  const PlainSae plain = sparsify_format().read(sparsify_run(folder, "layers.3.mlp"));
  const Notes notes = sparsify_format().write(folder.path() / "out", plain);
  ASSERT_EQ(notes.size(), 2U);
  EXPECT_NE(notes[0].find("by the name of its folder: call it layers.3.mlp"), std::string::npos);
  EXPECT_NE(notes[1].find("no place for model \"EleutherAI/pythia-14m\"; kept in cfg.json"),
            std::string::npos)
      << notes[1];
  EXPECT_EQ(sparsify_format().write(folder.path() / "layers.3.mlp", plain).size(), 1U);
}

TEST(Sparsify, IsNotStoppedByWhatLiesAboveOrBeside) {
  const std::string texts[] = {"# YAML: 1", "{\"sae\": 3, \"hookpoints\": NaN}", "\xff\xfe\x01",
                               "{\"format\": \"sae\", \"version\": 1}", ""};
  for (const std::string& text : texts) {
    const TemporaryFolder folder;
    const fs::path hook_point = sparsify_run(folder, "layers.3");
    write_text(hook_point.parent_path() / "config.json", text);
    write_text(hook_point / "config.json", text);
    EXPECT_EQ(detect_format(hook_point).name, "sparsify") << text;
    const PlainSae plain = detect_format(hook_point).read(hook_point);
    expect_golden(plain, ConvertGolden("sparsify_run/layers.3"), text);
    EXPECT_FALSE(plain.source.contains("model")) << text;
  }
}

TEST(Sparsify, LooksIntoNothingThatIsNoConfiguration) {
  const TemporaryFolder folder;
  const fs::path hook_point = sparsify_run(folder, "layers.3");
  const fs::path above = hook_point.parent_path() / "config.json";
  const auto note = [&] {
    const PlainSae plain = sparsify_format().read(hook_point);
    return plain.notes.empty() ? "" : plain.notes[0];
  };
  fs::resize_file(above, std::uintmax_t{1} << 33);  // a hole: no bytes on the disk
  EXPECT_NE(note().find("config.json: is larger than any configuration"), std::string::npos);
  fs::remove(above);
  fs::create_directory(above);
  EXPECT_NE(note().find("config.json: is no regular file"), std::string::npos);
  fs::remove(above);
  ASSERT_EQ(mkfifo(above.c_str(), 0600), 0);
  EXPECT_NE(note().find("config.json: is no regular file"), std::string::npos);
  fs::remove(above);
  fs::create_symlink("nowhere", above);
  EXPECT_EQ(note(), "");
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

// Gemma Scope 2, Qwen Scope and Llama Scope: what others release and ours only reads.
#include "formats/torch_file.h"
#include "support/convert_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr const char* kGemma =
    "gemma_scope_2/gemma-scope-2-1b-pt/resid_post/layer_7_width_16_l0_small";
constexpr const char* kQwen = "qwen_scope/SAE-Res-Qwen3-1.7B-Base-W32K-L0_3";
constexpr const char* kLlama = "llama_scope/Llama3_1-8B-Base-L5R-8x";
constexpr const char* kGemmaWeights = "params.safetensors";
constexpr const char* kLlamaWeights = "checkpoints/final.safetensors";

PlainSae read(const fs::path& path) { return detect_format(path).read(path); }

/// A copy of a golden's folder in folders called so, which is where it is.
fs::path released(const TemporaryFolder& folder, const std::string& golden,
                  const std::string& names) {
  fs::create_directories((folder.path() / names).parent_path());
  fs::copy(ConvertGolden(golden).folder, folder.path() / names, fs::copy_options::recursive);
  return folder.path() / names;
}

TEST(Scopes, AreReadAndComputeWhatTheirOwnLoadersDo) {
  struct Case {
    const char* golden;
    const char* format;
    const char* function;
  };
  const Case cases[] = {{kGemma, "gemma_scope_2", "jumprelu"},
                        {kQwen, "qwen_scope", "topk with k 3"},
                        {kLlama, "llama_scope", "jumprelu"},
                        {"llama_scope_free", "llama_scope", "jumprelu"},
                        {"llama_scope_topk", "llama_scope", "topk with k 3"},
                        {"llama_scope_library", "llama_scope", "jumprelu"}};
  for (const Case& one : cases) {
    const ConvertGolden golden(one.golden);
    EXPECT_EQ(detect_format(golden.folder).name, one.format) << one.golden;
    const PlainSae plain = read(golden.folder);
    EXPECT_EQ(describe(plain), one.function) << one.golden;
    EXPECT_TRUE(plain.notes.empty()) << one.golden << plain.notes[0];
    expect_golden(plain, golden, one.golden);
  }
}

TEST(Scopes, AreFoundByTheirFilesToo) {
  for (const auto& [golden, file] :
       {std::pair{kGemma, kGemmaWeights}, {kQwen, "layer5.sae.pt"}, {kLlama, kLlamaWeights}}) {
    const ConvertGolden expected(golden);
    expect_golden(read(expected.folder / file), expected, file);
  }
}

TEST(Scopes, AreReadOnly) {
  for (const char* name : {"gemma_scope_2", "qwen_scope", "llama_scope"}) {
    EXPECT_EQ(sae_format(name).name, name);
    expect_refused<ConfigError>([&] { written_format(name); },
                                {"expected one of sae, saelens, dictionary_learning, "
                                 "gemma_scope, sparsify"});
  }
}

TEST(Scopes, SayWhereInTheModelTheyBelong) {
  const auto expect_source = [](const PlainSae& plain, const Json& expected) {
    for (const auto& [key, value] : expected.items()) {
      EXPECT_EQ(plain.source.value(key, Json()), value) << key;
    }
  };
  expect_source(read(ConvertGolden(kGemma).folder), {{"model", "gemma-3-1b-pt"},
                                                     {"hook_name", "blocks.7.hook_resid_post"},
                                                     {"hf_hook_name", "model.layers.7.output"},
                                                     {"layer", 7},
                                                     {"prepend_bos", true}});
  expect_source(read(ConvertGolden(kQwen).folder), {{"model", "Qwen/Qwen3-1.7B-Base"},
                                                    {"hook_name", "blocks.5.hook_resid_post"},
                                                    {"hf_hook_name", "model.layers.5"}});
  expect_source(read(ConvertGolden(kLlama).folder),
                {{"model", "meta-llama/Llama-3.1-8B"}, {"hook_name", "blocks.5.hook_resid_post"}});
  expect_source(read(ConvertGolden("llama_scope_free").folder), {{"model", nullptr}});
}

TEST(Scopes, ReachOtherToolsWithTheirPlace) {
  const TemporaryFolder folder;
  saelens_format().write(folder.path() / "out", read(ConvertGolden(kGemma).folder));
  const Json config = Json::parse(read_file(folder.path() / "out" / "cfg.json"));
  EXPECT_EQ(config["apply_b_dec_to_input"], false);
  EXPECT_EQ(config["metadata"]["model_name"], "gemma-3-1b-pt");
  EXPECT_EQ(config["metadata"]["hook_name"], "blocks.7.hook_resid_post");
  EXPECT_EQ(config["metadata"]["hf_hook_name"], "model.layers.7.output");
  expect_golden(saelens_format().read(folder.path() / "out"), ConvertGolden(kGemma), "by SAELens");
}

TEST(GemmaScope2, KnowsItsPlaceByTheNamesOfFoldersWithoutAConfiguration) {
  struct Release {
    const char* names;
    const char* model;
    const char* hook;
  };
  const Release cases[] = {
      {"gemma-scope-2-4b-it/resid_post_all/layer_9_width_16k_l0_big", "gemma-3-4b-it",
       "blocks.9.hook_resid_post"},
      {"gemma-scope-2-270m-pt/mlp_out/layer_3_width_16k_l0_small", "gemma-3-270m",
       "blocks.3.hook_mlp_out"},
      {"models--google--gemma-scope-2-12b-pt/snapshots/1a/attn_out_all/layer_0_width_16k_l0_small",
       "gemma-3-12b-pt", "blocks.0.attn.hook_z"}};
  for (const Release& one : cases) {
    const TemporaryFolder folder;
    const fs::path place = released(folder, kGemma, one.names);
    fs::remove(place / "config.json");
    const PlainSae plain = read(place);
    EXPECT_EQ(plain.source.at("model"), one.model) << one.names;
    EXPECT_EQ(plain.source.at("hook_name"), one.hook) << one.names;
    EXPECT_EQ(plain.guess, "") << one.names;
    expect_golden(plain, ConvertGolden(kGemma), one.names);
  }
  const TemporaryFolder folder;
  const fs::path place = released(folder, kGemma, "downloads/layer_2_width_16k_l0_big");
  fs::remove(place / "config.json");
  EXPECT_NE(read(place).guess.find("model.layers.2.output is a guess"), std::string::npos);
}

TEST(GemmaScope2, RefusesWhatPredictsOtherActivations) {
  const std::pair<std::pair<const char*, Json>, std::vector<std::string>> cases[] = {
      {{"architecture", "topk"}, {"config.json: architecture is 'topk', expected jump_relu"}},
      {{"architecture", 1}, {"architecture is 1, expected a string"}},
      {{"type", "transcoder"}, {"type is 'transcoder'", "expected an autoencoder"}},
      {{"hf_hook_point_out", "model.layers.8.output"},
       {"from 'model.layers.7.output' to 'model.layers.8.output', expected an autoencoder"}},
      {{"affine_connection", true}, {"affine_connection is true"}}};
  for (const auto& [change, parts] : cases) {
    const SpoiltCopy copy(kGemma);
    copy.set("config.json", change.first, change.second);
    expect_refused<DataError>([&] { read(copy.path()); }, parts);
  }
  const SpoiltCopy copy(kGemma);
  copy.write("config.json", "{");
  expect_refused<DataError>([&] { read(copy.path()); }, {"config.json:1: not valid JSON"});
  for (const char* kind : {"transcoder_all", "crosscoder", "clt"}) {
    const TemporaryFolder folder;
    const fs::path place = released(folder, kGemma, kind + std::string("/layer_1_width_16k"));
    EXPECT_NO_THROW(read(place)) << "its configuration says that it is an autoencoder";
    fs::remove(place / "config.json");
    expect_refused<DataError>([&] { read(place); },
                              {"params.safetensors: is of " + std::string(kind)});
  }
}

TEST(GemmaScope2, RefusesDamagedFiles) {
  const auto refused = [](auto&& change, const std::vector<std::string>& parts) {
    const SpoiltCopy copy(kGemma);
    copy.change_tensors(kGemmaWeights, change);
    expect_refused<DataError>([&] { read(copy.path()); }, parts);
  };
  refused([](auto& t) { t.erase("threshold"); }, {"no tensor threshold; found"});
  refused([](auto& t) { t["w_enc"] = t["w_enc"].t(); }, {"w_enc is [16, 6], expected [6, 16]"});
  refused([](auto& t) { t["w_dec"] = t["w_dec"].unsqueeze(1); },
          {"w_dec is [16, 1, 6], expected 2 dimensions"});
  refused([](auto& t) { t["b_dec"][0] = NAN; }, {"b_dec holds NaN or Inf"});
  refused([](auto& t) { t["more"] = at::ones({1}); }, {"unexpected tensor more"});
  refused([](auto& t) { t["affine_skip_connection"] = at::ones({6, 6}); }, {"a transcoder"});
  const SpoiltCopy copy(kGemma);
  const std::string whole = read_file(copy.path() / kGemmaWeights);
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    copy.write(kGemmaWeights, whole.substr(0, size));
    expect_refused<DataError>([&] { read(copy.path()); }, {kGemmaWeights});
  }
}

TEST(QwenScope, TakesKFromTheNameOfTheRelease) {
  const TemporaryFolder folder;
  const fs::path cached =
      released(folder, kQwen, "models--Qwen--SAE-Res-Qwen3.5-27B-W80K-L0_16/snapshots/13d4");
  const PlainSae plain = read(cached);
  EXPECT_EQ(plain.k, 16);
  EXPECT_EQ(plain.source.at("model"), "Qwen/Qwen3.5-27B");
  const fs::path unnamed = released(folder, kQwen, "downloads");
  expect_refused<DataError>([&] { read(unnamed); },
                            {"layer5.sae.pt: no folder is called as a release", "says k"});
  const fs::path many = released(folder, kQwen, "SAE-Res-Qwen3-8B-Base-W64K-L0_50");
  expect_refused<DataError>([&] { read(many); }, {"says L0_50, expected from 1 to 16"});
}

TEST(QwenScope, ReadsTheOnlyLayerOfAFolder) {
  const TemporaryFolder folder;
  const fs::path place = released(folder, kQwen, "SAE-Res-Qwen3-1.7B-Base-W32K-L0_3");
  fs::copy_file(place / "layer5.sae.pt", place / "layer6.sae.pt");
  EXPECT_EQ(read(place / "layer6.sae.pt").source.at("layer"), 6);
  expect_refused<DataError>([&] { read(place); },
                            {"found a folder with", "layerN.sae.pt or a folder with one"});
}

TEST(QwenScope, RefusesDamagedFiles) {
  const auto refused = [](auto&& change, const std::vector<std::string>& parts) {
    const TemporaryFolder folder;
    const fs::path file =
        released(folder, kQwen, "SAE-Res-Qwen3-1.7B-Base-W32K-L0_3") / "layer5.sae.pt";
    const NamedTensors old = read_torch_tensors(file);
    std::map<std::string, at::Tensor> tensors(old.begin(), old.end());
    change(tensors);
    write_torch_file(file, {tensors.begin(), tensors.end()});
    expect_refused<DataError>([&] { read(file); }, parts);
  };
  refused([](auto& t) { t.erase("b_enc"); }, {"layer5.sae.pt: no tensor b_enc; found"});
  refused([](auto& t) { t["W_dec"] = t["W_dec"].t(); }, {"W_dec is [16, 6], expected [6, 16]"});
  refused([](auto& t) { t["W_enc"][0][0] = INFINITY; }, {"W_enc holds NaN or Inf"});
  refused([](auto& t) { t["threshold"] = at::ones({16}); }, {"unexpected tensor threshold"});
  const TemporaryFolder folder;
  const fs::path file =
      released(folder, kQwen, "SAE-Res-Qwen3-1.7B-Base-W32K-L0_3") / "layer5.sae.pt";
  const std::string whole = read_file(file);
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    std::ofstream(file, std::ios::binary) << whole.substr(0, size);
    expect_refused<DataError>([&] { read(file); }, {"layer5.sae.pt: "});
  }
}

TEST(LlamaScope, LeavesThresholdsAsTheyAreWhereNormsDoNotCount) {
  const SpoiltCopy copy("llama_scope_free");
  const PlainSae weighed = read(copy.path());
  copy.set("hyperparams.json", "sparsity_include_decoder_norm", false);
  const PlainSae plain = read(copy.path());
  // s t = sqrt(6) / 3.5 * 0.4, and with norms of the rows of W_dec / s divided by them.
  const double scale = std::sqrt(6.0) / 3.5;
  EXPECT_NEAR(plain.threshold.max().item<double>(), scale * 0.4, 1e-6);
  EXPECT_NEAR(plain.threshold.min().item<double>(), scale * 0.4, 1e-6);
  const at::Tensor norms = scale * plain.W_dec.norm(2, 1);
  expect_close(weighed.threshold * norms, plain.threshold, "norms", 1e-6);
}

TEST(LlamaScope, ReadsBothSpellingsOfTheLibrarysWeights) {
  const SpoiltCopy copy("llama_scope_library");
  copy.change_tensors("sae_weights.safetensors", [](auto& t) {
    t["encoder.weight"] = t["W_E"].t();
    t["decoder.weight"] = t["W_D"].t();
    t["encoder.bias"] = t["b_E"];
    t["decoder.bias"] = t["b_D"];
    t["log_jumprelu_threshold"] = t["activation_function.log_jumprelu_threshold"];
    for (const char* name :
         {"W_E", "W_D", "b_E", "b_D", "activation_function.log_jumprelu_threshold"}) {
      t.erase(name);
    }
  });
  expect_golden(read(copy.path()), ConvertGolden("llama_scope_library"), "as nn.Linear");
}

TEST(LlamaScope, ReadsWeightsWhoseScaleIsFoldedInAlready) {
  const SpoiltCopy copy("llama_scope_library");
  const PlainSae before = read(copy.path());
  copy.set("config.json", "norm_activation", "inference");
  const PlainSae plain = read(copy.path());
  const double scale = std::sqrt(6.0) / 3.5;
  expect_close(plain.W_enc * scale, before.W_enc, "W_enc", 1e-6);
  expect_close(plain.b_dec / scale, before.b_dec, "b_dec", 1e-6);
  expect_close(plain.threshold, before.threshold, "threshold", 1e-6);
}

TEST(LlamaScope, SubtractsTheDecodersBiasInTheUnitsOfTheInput) {
  const SpoiltCopy copy(kLlama);
  copy.set("hyperparams.json", "apply_decoder_bias_to_pre_encoder", true);
  const PlainSae plain = read(copy.path());
  EXPECT_TRUE(plain.subtracts_b_dec);
  copy.set("hyperparams.json", "use_decoder_bias", false);
  copy.change_tensors(kLlamaWeights, [](auto& t) { t.erase("decoder.bias"); });
  const PlainSae without = read(copy.path());
  EXPECT_FALSE(without.subtracts_b_dec);
  EXPECT_EQ(without.b_dec.abs().max().item<float>(), 0);
}

TEST(LlamaScope, RefusesWhatItsConfigurationMeansAndOursCannot) {
  const std::pair<std::pair<const char*, Json>, std::vector<std::string>> cases[] = {
      {{"hook_point_out", "blocks.5.hook_mlp_out"},
       {"hyperparams.json: hook_point_out is 'blocks.5.hook_mlp_out'", "a transcoder"}},
      {{"hook_point_in", nullptr}, {"no key 'hook_point_in', expected a string"}},
      {{"sae_type", "lorsa"}, {"sae_type is 'lorsa', expected sae"}},
      {{"use_glu_encoder", true}, {"use_glu_encoder is true"}},
      {{"act_fn", "gelu"}, {"act_fn is 'gelu', expected relu, jumprelu or topk"}},
      {{"act_fn", "batchtopk"}, {"it picks over a batch; save it as jumprelu first"}},
      {{"act_fn", nullptr}, {"no key 'act_fn'"}},
      {{"norm_activation", "token-wise"}, {"norm_activation is 'token-wise'", "no fixed weights"}},
      {{"dataset_average_activation_norm", nullptr}, {"no key 'in', expected a number"}},
      {{"dataset_average_activation_norm", {{"in", 0}}}, {"norm is not a positive number"}},
      {{"jump_relu_threshold", nullptr}, {"no key 'jump_relu_threshold', expected a number"}},
      {{"jump_relu_threshold", -0.5}, {"jump_relu_threshold is negative"}},
      {{"d_sae", 17}, {"d_sae is 17, expected an integer from 16 to 16"}},
      {{"d_model", 7}, {"encoder.weight is [16, 6], expected [16, 7]"}}};
  for (const auto& [change, parts] : cases) {
    const SpoiltCopy copy(kLlama);
    copy.set("hyperparams.json", change.first, change.second);
    expect_refused<DataError>([&] { read(copy.path()); }, parts);
  }
  const SpoiltCopy copy("llama_scope_topk");
  copy.set("hyperparams.json", "top_k", 0);
  expect_refused<DataError>([&] { read(copy.path()); }, {"top_k is 0, expected an integer"});
}

TEST(LlamaScope, RefusesDamagedFiles) {
  const auto refused = [](auto&& change, const std::vector<std::string>& parts) {
    const SpoiltCopy copy(kLlama);
    copy.change_tensors(kLlamaWeights, change);
    expect_refused<DataError>([&] { read(copy.path()); }, parts);
  };
  refused([](auto& t) { t.erase("encoder.weight"); }, {"no tensor encoder.weight; found"});
  refused([](auto& t) { t["decoder.weight"] = t["decoder.weight"].t(); },
          {"decoder.weight is [16, 6], expected [6, 16]"});
  refused([](auto& t) { t["encoder.bias"][2] = NAN; }, {"encoder.bias holds NaN or Inf"});
  refused([](auto& t) { t["encoder_glu.weight"] = at::ones({1}); },
          {"unexpected tensor encoder_glu.weight"});
  const SpoiltCopy copy(kLlama);
  const std::string whole = read_file(copy.path() / kLlamaWeights);
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    copy.write(kLlamaWeights, whole.substr(0, size));
    expect_refused<DataError>([&] { read(copy.path()); }, {"final.safetensors"});
  }
  copy.write("hyperparams.json", "[]");
  expect_refused<DataError>([&] { read(copy.path()); }, {"is array, expected an object"});
}

TEST(TensorNames, LoseWhatWrappersPutIntoThem) {
  EXPECT_EQ(unwrapped("W_enc"), "W_enc");
  EXPECT_EQ(unwrapped("_orig_mod.encoder.weight"), "encoder.weight");
  EXPECT_EQ(unwrapped("module._orig_mod.encoder.weight"), "encoder.weight");
  EXPECT_EQ(unwrapped("encoder.module.weight"), "encoder.weight");
  EXPECT_EQ(unwrapped("_fsdp_wrapped_module.b_dec"), "b_dec");
  EXPECT_EQ(unwrapped("modules.module"), "modules.module") << "a tensor of that name";
}

TEST(TensorNames, AreReadWithWrappersInEveryFormat) {
  const auto wrap = [](auto& tensors) {
    std::map<std::string, at::Tensor> wrapped;
    for (const auto& [name, tensor] : tensors) wrapped["_orig_mod.module." + name] = tensor;
    tensors = wrapped;
  };
  const std::pair<const char*, const char*> files[] = {
      {"saelens_jumprelu", "sae_weights.safetensors"},
      {"saelens_gated", "sae_weights.safetensors"},
      {"sparsify_run/layers.3", "sae.safetensors"},
      {"llama_scope_library", "sae_weights.safetensors"},
      {"llama_scope_free", kLlamaWeights},
      {kGemma, kGemmaWeights}};
  for (const auto& [golden, file] : files) {
    const SpoiltCopy copy(golden);
    copy.change_tensors(file, wrap);
    expect_golden(read(copy.path()), ConvertGolden(golden), golden);
  }
  const SpoiltCopy copy("dictionary_learning_topk");
  NamedTensors tensors = read_torch_tensors(copy.path() / "ae.pt");
  for (auto& [name, tensor] : tensors) name = "module." + name;
  write_torch_file(copy.path() / "ae.pt", tensors);
  expect_golden(read(copy.path()), ConvertGolden("dictionary_learning_topk"), "ae.pt");
  const SpoiltCopy twice("saelens_standard");
  twice.change_tensors("sae_weights.safetensors",
                       [](auto& t) { t["_orig_mod.b_dec"] = t["b_dec"]; });
  expect_refused<DataError>([&] { read(twice.path()); }, {"tensor b_dec is there twice"});
}

}  // namespace
}  // namespace sae

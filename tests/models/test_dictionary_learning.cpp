#include "formats/torch_file.h"
#include "support/convert_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

struct Case {
  std::string name;
  Activation activation;
  std::string dict_class;  // that ours is written as
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"autoencoder", Activation::kRelu, "AutoEncoder"},
      {"autoencoder_free", Activation::kRelu, "AutoEncoder"},
      {"autoencoder_new", Activation::kRelu, "AutoEncoder"},
      {"topk", Activation::kTopK, "AutoEncoderTopK"},
      {"batchtopk", Activation::kBatchTopK, "BatchTopKSAE"},
      {"matryoshka", Activation::kBatchTopK, "MatryoshkaBatchTopKSAE"},
      {"jumprelu", Activation::kJumpRelu, "JumpReluAutoEncoder"},
      {"gated", Activation::kJumpRelu, "JumpReluAutoEncoder"},
  };
  return all;
}

ConvertGolden golden(const std::string& name) {
  return ConvertGolden("dictionary_learning_" + name);
}

PlainSae read(const fs::path& folder) { return dictionary_learning_format().read(folder); }

void write(const fs::path& folder, const PlainSae& plain) {
  dictionary_learning_format().write(folder, plain);
}

Json config_of(const fs::path& folder) { return Json::parse(read_file(folder / "config.json")); }

/// Rewrites ae.pt after `change(tensors by name)`.
template <class Change>
void change_weights(const SpoiltCopy& copy, Change&& change) {
  const NamedTensors old = read_torch_tensors(copy.path() / "ae.pt");
  std::map<std::string, at::Tensor> tensors(old.begin(), old.end());
  change(tensors);
  write_torch_file(copy.path() / "ae.pt", {tensors.begin(), tensors.end()});
}

TEST(DictionaryLearning, ReadsWhatItsTrainersSaveAndComputesWhatItComputes) {
  for (const Case& one : cases()) {
    EXPECT_EQ(detect_format(golden(one.name).folder).name, "dictionary_learning") << one.name;
    const PlainSae plain = read(golden(one.name).folder);
    EXPECT_EQ(plain.activation, one.activation) << one.name;
    expect_golden(plain, golden(one.name), one.name);
  }
}

TEST(DictionaryLearning, WritesWhatItReadsBackAsTheSameFunction) {
  const TemporaryFolder folder;
  for (const Case& one : cases()) {
    write(folder.path() / one.name, read(golden(one.name).folder));
    const PlainSae again = read(folder.path() / one.name);
    EXPECT_EQ(again.activation, one.activation) << one.name;
    expect_golden(again, golden(one.name), one.name);
    EXPECT_EQ(config_of(folder.path() / one.name)["trainer"]["dict_class"], one.dict_class);
  }
}

TEST(DictionaryLearning, WritesTheTensorsThatItsClassesHave) {
  const TemporaryFolder folder;
  for (const Case& one : cases()) {
    if (one.name == "autoencoder_new" || one.name == "gated") continue;  // written as another class
    write(folder.path() / one.name, read(golden(one.name).folder));
    const NamedTensors theirs = read_torch_tensors(golden(one.name).folder / "ae.pt");
    const NamedTensors written = read_torch_tensors(folder.path() / one.name / "ae.pt");
    std::map<std::string, at::Tensor> ours(written.begin(), written.end());
    EXPECT_EQ(ours.size(), theirs.size()) << one.name;
    for (const auto& [name, tensor] : theirs) {
      ASSERT_TRUE(ours.contains(name)) << one.name << " " << name;
      EXPECT_EQ(ours[name].scalar_type(), tensor.scalar_type()) << one.name << " " << name;
      EXPECT_EQ(ours[name].sizes(), tensor.sizes()) << one.name << " " << name;
      // A negative threshold means the same as 0.
      if (name == "threshold") continue;
      EXPECT_TRUE(at::equal(ours[name], tensor)) << one.name << " " << name;
    }
  }
}

TEST(DictionaryLearning, SaysWhichTrainerMadeIt) {
  const TemporaryFolder folder;
  const auto trainer = [&](const std::string& name) -> std::string {
    write(folder.path() / name, read(golden(name).folder));
    return config_of(folder.path() / name)["trainer"]["trainer_class"];
  };
  EXPECT_EQ(trainer("autoencoder"), "StandardTrainer");
  EXPECT_EQ(trainer("autoencoder_free"), "StandardTrainerAprilUpdate") << "rows of any norm";
  EXPECT_EQ(trainer("topk"), "TopKTrainer");
  EXPECT_EQ(trainer("batchtopk"), "BatchTopKTrainer");
  EXPECT_EQ(trainer("matryoshka"), "MatryoshkaBatchTopKTrainer");
  EXPECT_EQ(trainer("jumprelu"), "JumpReluTrainer");
}

TEST(DictionaryLearning, KnowsThePrefixesOfAMatryoshka) {
  const OwnSae own = own_from(read(golden("matryoshka").folder));
  EXPECT_EQ(own.model.at("architecture"), "matryoshka");
  EXPECT_EQ(own.model.at("widths"), Json({4, 8, 16}));
  EXPECT_EQ(own.model.at("k"), 3);
}

TEST(DictionaryLearning, CarriesWhereTheActivationsCameFrom) {
  const TemporaryFolder folder;
  const PlainSae plain = read(golden("topk").folder);
  EXPECT_EQ(plain.source.at("model"), "EleutherAI/pythia-14m");
  EXPECT_EQ(plain.source.at("layer"), 3);
  EXPECT_EQ(plain.source.at("hook_name"), "blocks.3.hook_resid_post");
  EXPECT_EQ(plain.source.at("context"), 128);
  write(folder.path() / "a", plain);
  const Json config = config_of(folder.path() / "a");
  EXPECT_EQ(config["trainer"]["lm_name"], "EleutherAI/pythia-14m");
  EXPECT_EQ(config["trainer"]["submodule_name"], "resid_post_layer_3");
  EXPECT_EQ(config["trainer"]["steps"], 10000) << "theirs is kept";
  EXPECT_EQ(config["buffer"]["ctx_len"], 128);
  EXPECT_EQ(read(folder.path() / "a").source, plain.source);
}

TEST(DictionaryLearning, KeepsAFractionOfK) {
  const TemporaryFolder folder;
  PlainSae plain = read(golden("batchtopk").folder);
  plain.mean_k = 2.6;
  write(folder.path() / "a", plain);
  EXPECT_EQ(config_of(folder.path() / "a")["trainer"]["k"], 3) << "their loader wants an integer";
  EXPECT_EQ(read(folder.path() / "a").mean_k, 2.6);
}

TEST(DictionaryLearning, WritesABatchTopKOfUnknownKAsAJumpRelu) {
  const TemporaryFolder folder;
  PlainSae plain = read(golden("batchtopk").folder);
  plain.mean_k = 0;
  write(folder.path() / "a", plain);
  EXPECT_EQ(config_of(folder.path() / "a")["trainer"]["dict_class"], "JumpReluAutoEncoder");
  EXPECT_FALSE(config_of(folder.path() / "a")["trainer"].contains("k"));
  expect_golden(read(folder.path() / "a"), golden("batchtopk"), "as a jumprelu");
}

TEST(DictionaryLearning, WritesTheSameBytesTwice) {
  const TemporaryFolder folder;
  for (const char* name : {"a", "b"}) write(folder.path() / name, read(golden("topk").folder));
  for (const char* file : {"ae.pt", "config.json"}) {
    EXPECT_EQ(read_file(folder.path() / "a" / file), read_file(folder.path() / "b" / file));
  }
}

TEST(DictionaryLearning, RefusesWeightsThatDoNotFitTheirClass) {
  const auto refused = [](const std::string& name, auto&& change,
                          const std::vector<std::string>& parts) {
    const SpoiltCopy copy("dictionary_learning_" + name);
    change_weights(copy, change);
    expect_refused<DataError>([&] { read(copy.path()); }, parts);
  };
  refused("topk", [](auto& t) { t.erase("b_dec"); }, {"ae.pt: no tensor b_dec; found"});
  refused("topk", [](auto& t) { t["decoder.weight"] = t["decoder.weight"].t(); },
          {"ae.pt: tensor decoder.weight is [16, 6], expected [6, 16]"});
  refused("topk", [](auto& t) { t["extra"] = at::ones({1}); }, {"ae.pt: unexpected tensor extra"});
  refused("topk", [](auto& t) { t["k"].fill_(0); }, {"ae.pt: k is not an integer from 1 to 16"});
  refused("topk", [](auto& t) { t["k"].fill_(4); }, {"config.json: trainer: k is 3, expected"});
  refused("batchtopk", [](auto& t) { t["threshold"].fill_(NAN); },
          {"ae.pt: tensor threshold is NaN"});
  refused("jumprelu", [](auto& t) { t["W_enc"][0][0] = NAN; }, {"W_enc holds NaN or Inf"});
  refused("gated", [](auto& t) { t.erase("r_mag"); }, {"ae.pt: no tensor r_mag; found"});
  const std::string sizes = "ae.pt: group_sizes ";
  refused("matryoshka", [](auto& t) { t["group_sizes"][2] = 7; },
          {sizes + "add up to 15, expected 16"});
  refused("matryoshka", [](auto& t) { t["group_sizes"][0] = 0; }, {sizes + "has 0 after 0 of 16"});
  refused("matryoshka", [](auto& t) { t["group_sizes"][1] = -4; },
          {sizes + "has -4 after 4 of 16"});
  refused("matryoshka", [](auto& t) { t["group_sizes"][2] = 9; }, {sizes + "has 9 after 8 of 16"});
}

TEST(DictionaryLearning, RefusesFoldersThatAreNone) {
  const SpoiltCopy copy("dictionary_learning_topk");
  const auto refused = [&](const std::vector<std::string>& parts) {
    expect_refused<DataError>([&] { read(copy.path()); }, parts);
  };
  copy.write("config.json", R"({"trainer": {"dict_class": "CrossCoder"}})");
  refused({"config.json: trainer: dict_class is 'CrossCoder', expected AutoEncoder, "});
  copy.write("config.json", "{}");
  refused({"config.json: trainer: no key 'dict_class', expected a string"});
  copy.write("config.json", R"({"trainer": {"dict_class": "AutoEncoderTopK", "k": 30}})");
  refused({"config.json: trainer: k is 30, expected an integer from 3 to 3"});
  fs::remove(copy.path() / "config.json");
  refused({"ae.pt without config.json, expected both"});
}

TEST(DictionaryLearning, RefusesPicklesThatRunCodeAndCutFiles) {
  const SpoiltCopy copy("dictionary_learning_topk");
  const std::string whole = read_file(copy.path() / "ae.pt");
  const std::string archives = std::string(SAE_SOURCE_DIR) + "/tests/golden/archives/";
  copy.write("ae.pt", read_file(archives + "torch_module.pt"));
  expect_refused<DataError>([&] { read(copy.path()); },
                            {"ae.pt: pickle wants to run torch.nn.modules.linear.Linear"});
  for (std::size_t size = 0; size < whole.size(); size += 29) {
    copy.write("ae.pt", whole.substr(0, size));
    expect_refused<DataError>([&] { read(copy.path()); }, {"ae.pt: "});
  }
}

TEST(DictionaryLearning, KnowsItsPlaceBySubmoduleAndLayer) {
  const std::pair<Json, const char*> cases[] = {
      {{{"submodule_name", "mlp_out_layer_3"}, {"layer", 3}}, "blocks.3.hook_mlp_out"},
      {{{"submodule_name", "attention_out_layer_9"}, {"layer", 9}}, "blocks.9.hook_attn_out"},
      {{{"submodule_name", "gpt_neox.layers.5.mlp"}, {"layer", 5}}, "blocks.5.hook_mlp_out"},
      {{{"layer", 7}}, "blocks.7.hook_resid_post"},
      {{{"submodule_name", 3}, {"layer", 7}}, "blocks.7.hook_resid_post"},
      {{{"layer", "last"}}, ""},
  };
  for (const auto& [place, hook] : cases) {
    const SpoiltCopy copy("dictionary_learning_topk");
    Json trainer = Json::parse(read_file(copy.path() / "config.json")).at("trainer");
    trainer.erase("submodule_name");
    trainer.erase("layer");
    trainer.update(place);
    copy.set("config.json", "trainer", trainer);
    const PlainSae plain = dictionary_learning_format().read(copy.path());
    EXPECT_EQ(plain.source.value("hook_name", ""), hook) << place;
    EXPECT_EQ(plain.guess.empty(), trainer.value("layer", Json()) != 7) << place;
  }
}

TEST(DictionaryLearning, LetsNothingThatOnlyInformsStopIt) {
  const Json odd[] = {"text", {1}, {{"ctx_len", {3}}}};
  for (const Json& buffer : odd) {
    const SpoiltCopy copy("dictionary_learning_topk");
    copy.set("config.json", "buffer", buffer);
    copy.set("config.json", "sae_cpp", "mine");
    const PlainSae plain = dictionary_learning_format().read(copy.path());
    expect_golden(plain, ConvertGolden("dictionary_learning_topk"), buffer.dump());
    const TemporaryFolder folder;
    EXPECT_NO_THROW(dictionary_learning_format().write(folder.path() / "again", plain)) << buffer;
  }
}

}  // namespace
}  // namespace sae

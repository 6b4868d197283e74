#include <limits>

#include "sae/data/store.h"
#include "sae/models/sae_folder.h"
#include "sae/tools/convert.h"
#include "support/convert_testing.h"
#include "support/run_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kIn = 7;

ConvertArguments from_to(const fs::path& input, const fs::path& output, const std::string& to,
                         const std::string& verify = "") {
  ConvertArguments arguments;
  arguments.input = input;
  arguments.output = output;
  arguments.to = to;
  arguments.verify = verify;
  return arguments;
}

Json resolved(const Json& model) {
  Json all = {{"d_in", kIn}};
  all.update(model);
  return resolve_model(config_from_json(all, "test"));
}

/// An autoencoder with random weights, thresholds and statistics.
std::shared_ptr<Autoencoder> filled(const Json& model) {
  const at::NoGradGuard no_grad;
  auto sae = make_autoencoder(config_from_json(model, "test"));
  std::uint64_t index = 0;
  for (auto& [name, tensor] : state_of(*sae)) {
    if (!tensor.is_floating_point()) continue;
    const at::Tensor values = 0.5 * normal(tensor.sizes(), ++index);
    tensor.copy_(name.starts_with("mask.") || name == "threshold" ? values.abs() : values);
  }
  if (sae->unit_norm_decoder()) sae->W_dec.div_(sae->W_dec.norm(2, 1, true));
  if (sae->mask()) buffer(*sae, "mask.updates").fill_(7);
  return sae;
}

at::Tensor inputs() { return (2 * normal({50, kIn}, 900)).to(at::kFloat); }

void expect_same_as(const Autoencoder& sae, const PlainSae& plain, const std::string& what) {
  const Codes codes = sae.encode(inputs());
  const at::Tensor f = codes.to_dense();
  EXPECT_GT((f > 0).sum().item<std::int64_t>(), 20) << what << ": too few latents to compare";
  expect_computes(plain, inputs(), f, sae.decode(codes), what);
}

Json masked(const Json& model, const char* inference) {
  Json changed = model;
  changed["mask"] = {{"inference", inference}, {"importance", "mean"}, {"threshold", 0.0}};
  return resolved(changed);
}

TEST(PlainSae, ComputesWhatEveryArchitectureDoes) {
  for (const Architecture& row : architectures()) {
    Json options{{"architecture", row.name}, {"d_sae", 24}};
    if (row.name.find("top") != std::string::npos || row.name == "matryoshka") options["k"] = 3;
    for (const char* norm : {"unit", "free"}) {
      options["decoder_norm"] = norm;
      const Json model = resolved(options);
      const auto sae = filled(model);
      expect_same_as(*sae, plain_from(*sae, model), row.name + " " + norm);
    }
  }
}

TEST(PlainSae, FoldsAMaskIntoTheEncoder) {
  for (const auto& [name, options] : stateful_models()) {
    if (name == "topk") continue;
    for (const char* inference : {"none", "expected", "hard"}) {
      const Json model = masked(options, inference);
      const auto sae = filled(model);
      const at::Tensor factor = sae->mask()->inference_factor();
      EXPECT_EQ(factor.defined(), std::string(inference) != "none");
      if (factor.defined()) {
        EXPECT_LT(factor.min().item<double>(), 1) << "masks nothing";
      }
      expect_same_as(*sae, plain_from(*sae, model), name + ", mask " + inference);
    }
  }
}

TEST(PlainSae, RefusesAMaskAfterTheChoiceOfTopK) {
  const Json model = masked(stateful_models()[1].second, "hard");
  const auto sae = filled(model);
  expect_refused<ConfigError>([&] { plain_from(*sae, model); }, {"mask at inference on topk"});
  const Json harmless = masked(stateful_models()[1].second, "none");
  expect_same_as(*filled(harmless), plain_from(*filled(harmless), harmless), "mask none");
}

TEST(PlainSae, MovesTheBiasIntoTheEncoderAndBack) {
  const Json model = resolved(stateful_models()[4].second);
  const PlainSae plain = plain_from(*filled(model), model);
  const PlainSae without = with_subtraction(plain, false);
  EXPECT_FALSE(at::equal(without.b_enc, plain.b_enc));
  // W_enc b_dec = (1, 2) . (3, 4) is what the pre-activation loses.
  PlainSae small;
  small.W_enc = at::tensor({1.0F, 2.0F}).reshape({1, 2});
  small.b_enc = at::tensor({0.5F});
  small.W_dec = small.W_enc;
  small.b_dec = at::tensor({3.0F, 4.0F});
  EXPECT_EQ(with_subtraction(small, false).b_enc.item<float>(), 0.5F - 11);
  expect_same_function(without, plain, inputs(), "without");
  expect_same_function(with_subtraction(without, true), plain, inputs(), "and back");
}

TEST(PlainSae, ScalesLatentsByTheDecodersNorms) {
  Json free = stateful_models()[4].second;
  free["decoder_norm"] = "free";
  const Json model = resolved(free);
  const PlainSae plain = plain_from(*filled(model), model);
  const PlainSae unit = with_unit_decoder(plain);
  EXPECT_FALSE(has_unit_decoder(plain));
  EXPECT_TRUE(has_unit_decoder(unit));
  const at::Tensor f = encode(plain, inputs());
  expect_computes(unit, inputs(), f * plain.W_dec.norm(2, 1), decode(plain, f), "unit");
}

class Convert : public ::testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  /// A folder of ours, with provenance.
  Json save(const std::string& name, const Json& options) const {
    const Json model = resolved(options);
    save_sae(path(name), *filled(model), model, 1,
             {{"source", {{"kind", "store"}, {"store", source_}}},
              {"training", {{"seed", 5}, {"model", model}}}});
    return model;
  }

  std::string store() const {
    StoreWriter writer(path("store"), kIn, at::kFloat, nlohmann::json::object());
    writer.append(inputs());
    writer.finish();
    return path("store");
  }

  const Json source_ = {{"model", "m"}, {"layer", 2}, {"hook_name", "blocks.2.hook_resid_post"}};
  TemporaryFolder folder_;
};

TEST_F(Convert, KeepsEveryArchitectureInEveryFormatThatCanExpressIt) {
  const std::string acts = store();
  for (const auto& [name, options] : stateful_models()) {
    const Json model = save(name, options);
    for (const std::string& format : convert_formats()) {
      const ConvertArguments arguments =
          from_to(path(name), path(name + " as " + format), format, acts);
      try {
        const ConvertReport report = convert(arguments);
        EXPECT_EQ(report.from, "sae");
        EXPECT_EQ(report.to, format);
        const Verification& verified = report.verification.value();
        EXPECT_EQ(verified.tokens, 50);
        EXPECT_LT(verified.latents.relative, 1e-6) << arguments.output;
        EXPECT_LT(verified.reconstruction.relative, 1e-6) << arguments.output;
        EXPECT_EQ(verified.active_on_one_side, 0) << arguments.output;
        EXPECT_GT(verified.l0_in, 0.1) << arguments.output;
        EXPECT_DOUBLE_EQ(verified.l0_in, verified.l0_out);
        EXPECT_NEAR(verified.explained_variance_in, verified.explained_variance_out, 1e-5);
      } catch (const ConfigError& error) {
        // Of all pairs only these cannot be.
        const bool top_k = model.at("architecture") == "topk";
        EXPECT_TRUE((format == "sparsify" && !top_k) || (format == "gemma_scope" && top_k))
            << name << " as " << format << ": " << error.what();
        EXPECT_FALSE(fs::exists(arguments.output));
        continue;
      }
      const ConvertReport back =
          convert(from_to(arguments.output, path(name + " from " + format), "sae", acts));
      EXPECT_LT(back.verification->latents.relative, 1e-6) << arguments.output;
    }
  }
}

TEST_F(Convert, BringsOursBackWithSourceAndTraining) {
  save("ours", stateful_models()[3].second);
  convert(from_to(path("ours"), path("theirs"), "saelens"));
  convert(from_to(path("theirs"), path("again"), "sae"));
  const SaeFolder before = load_sae(path("ours"));
  const SaeFolder after = load_sae(path("again"));
  EXPECT_EQ(after.config->at("source"), before.config->at("source"));
  EXPECT_EQ(after.config->at("training"), before.config->at("training"));
  EXPECT_EQ(after.config->at("model").at("widths"), before.config->at("model").at("widths"));
  EXPECT_FALSE(after.config->contains("converted_from"));
  Tensors weights = snapshot(*before.sae);
  expect_same(snapshot(*after.sae), weights, "converted twice");
}

TEST_F(Convert, TellsOthersWhichModelAndHook) {
  save("ours", stateful_models()[0].second);
  convert(from_to(path("ours"), path("theirs"), "saelens"));
  const Json metadata = parsed(path("theirs") / "cfg.json").at("metadata");
  EXPECT_EQ(metadata.at("model_name"), "m");
  EXPECT_EQ(metadata.at("hook_name"), "blocks.2.hook_resid_post");
}

TEST_F(Convert, LeavesOutProvenanceThatIsNotWhatWeWrite) {
  const SpoiltCopy copy("saelens_standard");
  copy.set("cfg.json", "metadata",
           {{"sae_lens_version", "6.0.0"}, {"sae_cpp", {{"source", {{"hook_name", 3}}}}}});
  const ConvertReport report = convert(from_to(copy.path(), path("out"), "saelens"));
  ASSERT_FALSE(report.warnings.empty());
  EXPECT_EQ(report.warnings[0], "source: hook_name is 3, which is not what it can be; left out");
  EXPECT_EQ(to_json(report).at("warnings").at(0), report.warnings[0]);
}

TEST_F(Convert, PutsInWhatTheArgumentsSayOfTheModel) {
  ConvertArguments arguments =
      from_to(ConvertGolden("dictionary_learning_topk").folder, path("a"), "saelens");
  arguments.model = "gpt2-medium";
  arguments.hook = "transformer.h.11.mlp";
  const ConvertReport report = convert(arguments);
  const Json metadata = parsed(path("a") / "cfg.json").at("metadata");
  EXPECT_EQ(metadata.at("model_name"), "gpt2-medium");
  EXPECT_EQ(metadata.at("hook_name"), "blocks.11.hook_mlp_out");
  ASSERT_EQ(report.warnings.size(), 2U);
  EXPECT_NE(report.warnings[0].find("model is EleutherAI/pythia-14m in "), std::string::npos);
  EXPECT_NE(report.warnings[0].find(", replaced by gpt2-medium"), std::string::npos);
  EXPECT_NE(report.warnings[1].find(", replaced by blocks.11.hook_mlp_out"), std::string::npos);

  convert(from_to(path("a"), path("b"), "dictionary_learning"));
  const Json trainer = parsed(path("b") / "config.json").at("trainer");
  EXPECT_EQ(trainer.at("lm_name"), "gpt2-medium");
  EXPECT_EQ(trainer.at("layer"), 11);
  EXPECT_EQ(trainer.at("submodule_name"), "mlp_out_layer_11");
}

TEST_F(Convert, ForgetsOfAReplacedHookWhatWasAboutTheOldOne) {
  const SpoiltCopy copy("saelens_before_6");
  copy.set("cfg.json", "hook_head_index", 2);
  copy.set("cfg.json", "hf_hook_name", "transformer.h.7.output");
  ConvertArguments arguments = from_to(copy.path(), path("a"), "saelens");
  arguments.hook = "blocks.8.hook_resid_pre";  // the one that the files say
  EXPECT_TRUE(convert(arguments).warnings.empty());
  EXPECT_EQ(parsed(path("a") / "cfg.json").at("metadata").at("hook_head_index"), 2);
  arguments.output = path("b");
  arguments.hook = "blocks.9.hook_mlp_out";
  EXPECT_EQ(convert(arguments).warnings.size(), 1U);
  const Json metadata = parsed(path("b") / "cfg.json").at("metadata");
  EXPECT_FALSE(metadata.contains("hook_head_index"));
  EXPECT_FALSE(metadata.contains("hf_hook_name"));
}

TEST_F(Convert, GuessesNoPlaceThatIsSaid) {
  const fs::path input = ConvertGolden("gemma_scope/layer_12/width_16/average_l0_5").folder;
  EXPECT_EQ(convert(from_to(input, path("a"), "sae")).warnings.size(), 1U);
  ConvertArguments arguments = from_to(input, path("b"), "sae");
  arguments.hook = "blocks.12.hook_mlp_out";
  EXPECT_TRUE(convert(arguments).warnings.empty());
  arguments.output = path("c");
  arguments.hook = "two words";
  expect_refused<ConfigError>([&] { convert(arguments); }, {"--hook: got 'two words', expected"});
}

TEST_F(Convert, TakesUnfinishedRunsAndCheckpoints) {
  Json config = tiny_config({{"architecture", "jumprelu"}, {"d_sae", 24}}, 40);
  RunHooks hooks;
  int steps = 0;
  hooks.should_stop = [&] { return ++steps == 30; };
  train(tiny_run(config), path("run"), false, hooks);
  const ConvertReport report = convert(from_to(path("run"), path("a"), "saelens"));
  EXPECT_EQ(report.from, "sae");
  ASSERT_FALSE(report.warnings.empty());
  EXPECT_NE(report.warnings[0].find("is not finished"), std::string::npos);
  convert(from_to(path("run") / "checkpoints" / "step-00000030", path("b"), "saelens"));
  expect_same_file(path("a") / "sae_weights.safetensors", path("b") / "sae_weights.safetensors");
}

TEST_F(Convert, SaysInOursWhatItWasConvertedFrom) {
  const ConvertGolden golden("saelens_batchtopk_checkpoint");
  convert(from_to(golden.folder, path("ours"), "sae"));
  const SaeFolder folder = load_sae(path("ours"));
  EXPECT_EQ(folder.config->at("converted_from").at("format"), "saelens");
  EXPECT_EQ(folder.config->at("converted_from").at("config").at("architecture"), "batchtopk");
  EXPECT_EQ(folder.config->at("model").at("architecture"), "batch_topk");
  expect_close(folder.sae->encode(golden.x).to_dense(), golden.latents, "latents", 2e-6);
}

TEST_F(Convert, TakesTheFolderOfARun) {
  save("run/sae", stateful_models()[0].second);
  ConvertArguments arguments = from_to(path("run"), path("out"), "saelens", store());
  EXPECT_EQ(convert(arguments).verification->active_on_one_side, 0);
}

TEST_F(Convert, FindsADifferenceIfThereIsOne) {
  const Json model = save("ours", stateful_models()[0].second);
  ConvertArguments arguments = from_to(path("ours"), path("a"), "sae", store());
  arguments.verify_tokens = 20;
  const Json report = to_json(convert(arguments));
  EXPECT_EQ(report.at("verification").at("tokens"), 20);
  EXPECT_EQ(report.at("function"), "relu");
  EXPECT_EQ(report.at("verification").at("latents").at("absolute"), 0);
  // Float16 weights, which SAELens knows too, are another function within their precision.
  convert(from_to(path("ours"), path("b"), "saelens"));
  const SafetensorsFile file(path("b") / "sae_weights.safetensors");
  NamedTensors halves;
  for (const std::string& name : file.names()) {
    halves.emplace_back(name, file.tensor(name).to(at::kHalf));
  }
  write_safetensors(path("b") / "sae_weights.safetensors", halves);
  const PlainSae rounded = saelens_format().read(path("b"));
  const PlainSae exact = plain_from(*filled(model), model);
  const double difference =
      (encode(rounded, inputs()) - encode(exact, inputs())).abs().max().item<double>();
  EXPECT_GT(difference, 1e-5);
  EXPECT_LT(difference, 1e-2);
}

TEST_F(Convert, ActivationsThatCannotBeComparedOnAreFoundBeforeAnythingIsWritten) {
  save("ours", stateful_models()[0].second);
  at::Tensor x = inputs();
  write_safetensors(path("wide.safetensors"), {{"x", at::cat({x, x}, 1)}});
  x[40][1] = std::numeric_limits<float>::quiet_NaN();
  write_safetensors(path("bad.safetensors"), {{"x", x}});
  for (const auto& [name, part] : std::vector<std::pair<std::string, std::string>>{
           {"absent", "absent"},
           {"wide.safetensors", "have d_in 14, the autoencoder 7"},
           {"bad.safetensors", "row 40 has a NaN or infinity"}}) {
    expect_refused<DataError>(
        [&] { convert(from_to(path("ours"), path("out"), "saelens", path(name).string())); },
        {part});
    EXPECT_FALSE(fs::exists(path("out"))) << name;
  }
}

TEST_F(Convert, RefusesWhatItCannotObey) {
  save("ours", stateful_models()[0].second);
  const fs::path out = path("out");
  const auto refuses = [&](ConvertArguments arguments, std::vector<std::string> parts) {
    expect_refused<ConfigError>([&] { convert(arguments); }, parts);
  };
  refuses(from_to(path("ours"), out, "saelenz"),
          {"format: got \"saelenz\", expected one of sae, ", "; did you mean 'saelens'?"});
  ConvertArguments zip = from_to(path("ours"), out, "saelens");
  zip.from = "zip";
  refuses(zip, {"format: got \"zip\", expected one of sae, "});
  EXPECT_FALSE(fs::exists(out));
  convert(from_to(path("ours"), out, "saelens"));
  refuses(from_to(path("ours"), out, "saelens"), {"out: exists already; name a folder"});
}

TEST_F(Convert, SaysWhatItFoundAndWhatItExpected) {
  save("ours", stateful_models()[0].second);
  const auto refuses = [&](const fs::path& input, const std::string& from,
                           std::vector<std::string> parts) {
    ConvertArguments arguments = from_to(input, path("out"), "sae");
    arguments.from = from;
    expect_refused<DataError>([&] { convert(arguments); }, parts);
    EXPECT_FALSE(fs::exists(path("out")));
  };
  refuses(path("nowhere"), "auto", {"nowhere: no such file or folder"});
  refuses(ConvertGolden("sparsify_run/layers.3").folder, "saelens",
          {"found a folder with cfg.json and sae.safetensors (sparsify)",
           "expected a folder with cfg.json and sae_weights.safetensors (saelens)"});
  fs::create_directory(path("empty"));
  refuses(path("empty"), "auto", {"found a folder with nothing, expected a folder with"});
  write_text(path("empty") / "cfg.json", "{}");
  refuses(path("empty"), "auto",
          {"found a folder with cfg.json, expected a folder with config.json "
           "and sae.safetensors (sae), or"});
  write_text(path("file.txt"), "x");
  refuses(path("file.txt"), "auto", {"found a file, expected"});
}

TEST_F(Convert, RefusesAStoreOfAnotherWidth) {
  ConvertArguments arguments =
      from_to(ConvertGolden("saelens_topk").folder, path("out"), "sae", store());
  expect_refused<DataError>([&] { convert(arguments); },
                            {"store: activations have d_in 7, the autoencoder 6"});
}

}  // namespace
}  // namespace sae

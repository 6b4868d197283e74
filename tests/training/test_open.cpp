#include "sae/base/error.h"
#include "sae/data/store.h"
#include "sae/tools/synth.h"
#include "sae/training/open.h"
#include "support/convert_testing.h"
#include "support/run_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class OpenSae : public ::testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  /// A run on a store, stopped after 45 of 60 steps; its newest checkpoint is that of the stop.
  fs::path stopped(const std::string& name, const std::string& centre = "none") const {
    if (!fs::exists(path("store"))) {
      StoreWriter writer(path("store"), 20, at::kFloat,
                         {{"model", "gpt2"}, {"hook_name", "blocks.3.hook_resid_post"}});
      writer.append((50 * normal({600, 20}, 8) + 30).to(at::kFloat));
      writer.finish();
    }
    Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 30}, {"k", 4}});
    config["data"] = {{"kind", "store"}, {"path", path("store").string()}};
    config["train"]["input_norm"] = "sqrt_d";
    config["train"]["input_centre"] = centre;
    RunHooks hooks;
    int steps = 0;
    hooks.should_stop = [&] { return ++steps == 45; };
    EXPECT_FALSE(train(tiny_run(config), path(name), false, hooks).finished);
    return path(name);
  }

  TemporaryFolder folder_;
};

std::string refusal(const fs::path& path) {
  try {
    open_sae(path);
  } catch (const DataError& error) {
    return error.what();
  }
  return "none";
}

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(OpenSae, FoldsTheInputScaleOfAnUnfinishedRunAndSaysSo) {
  const fs::path run = stopped("run");
  EXPECT_EQ(what_is_at(run), PathKind::kUnfinishedRun);
  const OpenedSae opened = open_sae(run);
  EXPECT_EQ(opened.format, "sae");
  ASSERT_EQ(opened.notes.size(), 1U);
  EXPECT_TRUE(says(opened.notes[0], "run: is not finished; ")) << opened.notes[0];
  EXPECT_TRUE(says(opened.notes[0], "step-00000045: of step 45")) << opened.notes[0];
  EXPECT_TRUE(says(opened.notes[0], "is folded into the weights")) << opened.notes[0];

  const fs::path checkpoint = run / "checkpoints" / "step-00000045";
  const double scale = read_checkpoint_state(checkpoint).input.scale;
  EXPECT_LT(scale, 0.1) << "there is nothing to fold";
  const SafetensorsFile raw(checkpoint / "sae.safetensors");
  const at::Tensor x = (50 * normal({40, 20}, 9)).to(at::kFloat);
  const at::Tensor b_dec = raw.tensor("b_dec");
  const at::Tensor h = (scale * x - b_dec).mm(raw.tensor("W_enc").t()) + raw.tensor("b_enc");
  const auto [values, places] = h.topk(4, 1);
  const at::Tensor f = at::zeros_like(h).scatter_(1, places, values.relu());
  const at::Tensor x_hat = (f.mm(raw.tensor("W_dec")) + b_dec) / scale;
  const Codes codes = opened.folder.sae->encode(x);
  expect_close(opened.folder.sae->decode(codes), x_hat, "reconstruction", 1e-5);
  EXPECT_TRUE(at::equal(codes.to_dense() > 0, f > 0));
}

TEST_F(OpenSae, FoldsTheMeanOfAnUnfinishedRun) {
  const fs::path run = stopped("run", "mean");
  const OpenedSae opened = open_sae(run);
  EXPECT_TRUE(says(opened.notes[0], " and mean are folded into the weights")) << opened.notes[0];
  const InputMap input = read_checkpoint_state(run / "checkpoints" / "step-00000045").input;
  ASSERT_TRUE(input.mean.defined());
  EXPECT_GT(input.mean.min().item<double>(), 10);
  const SafetensorsFile raw(run / "checkpoints" / "step-00000045" / "sae.safetensors");
  expect_close(opened.folder.sae->b_dec, input.undo(raw.tensor("b_dec")), "b_dec", 1e-5);
  const at::Tensor x = (50 * normal({40, 20}, 9) + 30).to(at::kFloat);
  const at::Tensor h =
      (input.apply(x) - raw.tensor("b_dec")).mm(raw.tensor("W_enc").t()) + raw.tensor("b_enc");
  const auto [values, places] = h.topk(4, 1);
  const at::Tensor f = at::zeros_like(h).scatter_(1, places, values.relu());
  EXPECT_TRUE(at::equal(opened.folder.sae->encode(x).to_dense() > 0, f > 0));
}

TEST_F(OpenSae, KnowsOfACheckpointWhatTheResultOfItsRunWouldSay) {
  const fs::path run = stopped("run");
  const fs::path checkpoint = run / "checkpoints" / "step-00000040";
  EXPECT_EQ(what_is_at(checkpoint), PathKind::kCheckpoint);
  const Json config = *open_sae(checkpoint).folder.config;
  EXPECT_EQ(config.at("model"), parsed(run / "config.json").at("model"));
  EXPECT_EQ(config.at("training"), parsed(run / "config.json"));
  EXPECT_EQ(config.at("source").at("store").at("hook_name"), "blocks.3.hook_resid_post");
  EXPECT_EQ(*open_sae(checkpoint / "").folder.config, config) << "with a slash behind it";

  fs::remove_all(path("store"));
  const OpenedSae later = open_sae(checkpoint);
  EXPECT_FALSE(later.folder.config->contains("source"));
  ASSERT_EQ(later.notes.size(), 2U);
  EXPECT_TRUE(says(later.notes[1], "the data of the run cannot be opened"));
}

TEST_F(OpenSae, TakesTheNewestCheckpointThatIsWhole) {
  const fs::path run = stopped("run");
  const fs::path newest = run / "checkpoints" / "step-00000045";
  fs::resize_file(newest / "sae.safetensors", 100);
  EXPECT_TRUE(says(open_sae(run).notes.front(), "step-00000040: of step 40"));
  EXPECT_TRUE(says(refusal(newest), "step-00000045: is damaged: its files are not those"));
  fs::remove_all(run / "checkpoints");
  EXPECT_TRUE(says(refusal(run), "has not been finished and has no intact checkpoint; train it"));
}

TEST_F(OpenSae, RefusesACheckpointWithoutItsRun) {
  fs::copy(stopped("run") / "checkpoints", path("moved"), fs::copy_options::recursive);
  EXPECT_TRUE(says(refusal(path("moved") / "step-00000045"), "is a checkpoint, and "));
}

TEST_F(OpenSae, OpensWhatOtherToolsWrote) {
  const std::pair<const char*, const char*> cases[] = {
      {"saelens_batchtopk_finished", "saelens"},
      {"sparsify_run/layers.3", "sparsify"},
      {"dictionary_learning_gated", "dictionary_learning"},
      {"gemma_scope_2/gemma-scope-2-1b-pt/resid_post/layer_7_width_16_l0_small", "gemma_scope_2"},
      {"qwen_scope/SAE-Res-Qwen3-1.7B-Base-W32K-L0_3", "qwen_scope"},
      {"llama_scope_free", "llama_scope"},
      {"gemma_scope/layer_12/width_16/average_l0_5", "gemma_scope"}};
  for (const auto& [name, format] : cases) {
    const ConvertGolden golden(name);
    EXPECT_EQ(what_is_at(golden.folder), PathKind::kForeign) << name;
    const OpenedSae opened = open_sae(golden.folder);
    EXPECT_EQ(opened.format, format);
    expect_close(opened.folder.sae->encode(golden.x).to_dense(), golden.latents, name, 2e-6);
    EXPECT_TRUE(opened.folder.config->at("model").contains("architecture")) << name;
  }
  EXPECT_EQ(
      what_is_at(ConvertGolden("gemma_scope/layer_12/width_16/average_l0_5").folder / "params.npz"),
      PathKind::kForeign);
}

TEST_F(OpenSae, SaysWhatIsThereInstead) {
  EXPECT_EQ(what_is_at(path("none")), PathKind::kNothing);
  EXPECT_TRUE(says(refusal(path("none")), "none: no such file or folder"));
  write_text(path("file"), "x");
  EXPECT_EQ(what_is_at(path("file")), PathKind::kFile);
  EXPECT_TRUE(says(refusal(path("file")), "found a file, expected a folder with config.json"));
  fs::create_directory(path("empty"));
  EXPECT_EQ(what_is_at(path("empty")), PathKind::kUnknown);
  EXPECT_TRUE(says(refusal(path("empty")), "found a folder with nothing, expected"));
  write_world(read_synth("tiny", 30, {}), path("world"));
  EXPECT_EQ(what_is_at(path("world")), PathKind::kStore);
  EXPECT_TRUE(says(refusal(path("world")), "got an activation store, expected an autoencoder"));
  write_text(path("empty") / "comparison.json", "{}");
  EXPECT_EQ(what_is_at(path("empty")), PathKind::kComparison);
  EXPECT_TRUE(says(refusal(path("empty")), "got a comparison, expected one autoencoder"));
}

TEST_F(OpenSae, IsNotMisledByWhatLiesBeside) {
  for (const char* name : {"saelens_topk", "sparsify_run/layers.3", "dictionary_learning_topk",
                           "llama_scope_free", "gemma_scope/layer_12/width_16/average_l0_5"}) {
    const ConvertGolden golden(name);
    const fs::path copy = path("copy");
    fs::copy(golden.folder, copy, fs::copy_options::recursive);
    for (const char* other : {"config.json", "cfg.json", "manifest.json", "MANIFEST.json",
                              "comparison.json", "metrics.jsonl"}) {
      if (!fs::exists(copy / other)) write_text(copy / other, "// not JSON\n");
    }
    EXPECT_EQ(what_is_at(copy), PathKind::kForeign) << name;
    expect_close(open_sae(copy).folder.sae->encode(golden.x).to_dense(), golden.latents, name,
                 2e-6);
    fs::remove_all(copy);
  }
}

}  // namespace
}  // namespace sae

#include <gtest/gtest.h>

#include <string>

#include "models/interchange/hooks.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

Json placed(const std::string& hook, const std::string& model = "") {
  Json source{{"model", model}};
  set_hook(source, hook);
  source.erase("model");
  return source;
}

TEST(Hooks, OfTransformerLensStayAsTheyAre) {
  EXPECT_EQ(
      placed("blocks.12.hook_resid_pre"),
      Json({{"hook_name", "blocks.12.hook_resid_pre"}, {"layer", 12}, {"site", "resid_pre"}}));
  EXPECT_EQ(placed("blocks.0.attn.hook_z"),
            Json({{"hook_name", "blocks.0.attn.hook_z"}, {"layer", 0}}));
  EXPECT_EQ(placed("hook_embed"), Json({{"hook_name", "hook_embed"}}));
}

TEST(Hooks, OfModulesBecomeThoseOfTransformerLens) {
  const std::pair<const char*, const char*> cases[] = {
      {"layers.20", "blocks.20.hook_resid_post"},
      {"layers.20.mlp", "blocks.20.hook_mlp_out"},
      {"model.layers.7.self_attn", "blocks.7.hook_attn_out"},
      {"model.layers.7.output", "blocks.7.hook_resid_post"},
      {"model.layers.7.input", "blocks.7.hook_resid_pre"},
      {"model.layers.7.self_attn.o_proj.input", "blocks.7.attn.hook_z"},
      {"gpt_neox.layers.3.attention", "blocks.3.hook_attn_out"},
      {"transformer.h.11.mlp.output", "blocks.11.hook_mlp_out"},
      {"h.5.attn", "blocks.5.hook_attn_out"},
      {"encoder.layer.2.output.dense", "blocks.2.hook_mlp_out"},
      {"model.embed_tokens", "hook_embed"},
      {"wte", "hook_embed"},
  };
  for (const auto& [module, hook] : cases) {
    EXPECT_EQ(placed(module).at("hook_name"), hook) << module;
    EXPECT_EQ(placed(module).at("module"), module);
  }
}

TEST(Hooks, KnowTheModelsThatNormTheirBranches) {
  const char* const gemma = "google/gemma-2-2b";
  EXPECT_EQ(placed("layers.4.post_feedforward_layernorm", gemma).at("hook_name"),
            "blocks.4.hook_mlp_out");
  EXPECT_EQ(placed("layers.4.post_attention_layernorm", gemma).at("hook_name"),
            "blocks.4.hook_attn_out");
  EXPECT_EQ(placed("layers.4.mlp", gemma).at("hook_name"), "layers.4.mlp")
      << "TransformerLens has hook_mlp_out behind the norm";
  // In Llama the norm of this name comes before the MLP.
  EXPECT_EQ(placed("layers.4.post_attention_layernorm", "meta-llama/Llama-3.2-1B").at("hook_name"),
            "layers.4.post_attention_layernorm");
}

TEST(Hooks, WithoutANameInTransformerLensKeepTheirOwnAndTheirLayer) {
  EXPECT_EQ(placed("layers.7.mlp.up_proj"), Json({{"hook_name", "layers.7.mlp.up_proj"},
                                                  {"layer", 7},
                                                  {"module", "layers.7.mlp.up_proj"}}));
  EXPECT_EQ(placed("some folder"), Json({{"hook_name", "some folder"}}));
  EXPECT_FALSE(placed(std::string(100000, 'a')).contains("layer"));
}

TEST(Hooks, AreHookPointsInsideTheBaseModel) {
  const auto hook_point = [](const std::string& hook, const std::string& model) {
    Json source{{"model", model}};
    set_hook(source, hook);
    return hook_point_of(source);
  };
  EXPECT_EQ(hook_point("blocks.3.hook_resid_post", "EleutherAI/pythia-70m"), "layers.3");
  EXPECT_EQ(hook_point("blocks.3.hook_attn_out", "EleutherAI/pythia-70m"), "layers.3.attention");
  EXPECT_EQ(hook_point("blocks.3.hook_attn_out", "Qwen/Qwen2.5-0.5B"), "layers.3.self_attn");
  EXPECT_EQ(hook_point("blocks.3.hook_attn_out", "gpt2"), "h.3.attn");
  EXPECT_EQ(hook_point("blocks.3.hook_mlp_out", "gemma-2-2b"),
            "layers.3.post_feedforward_layernorm");
  EXPECT_EQ(hook_point("blocks.3.hook_resid_pre", ""), "layers.2") << "the same activations";
  EXPECT_EQ(hook_point("blocks.0.hook_resid_pre", ""), "");
  EXPECT_EQ(hook_point("blocks.3.attn.hook_q", ""), "");
  EXPECT_EQ(hook_point("model.layers.9.mlp.up_proj", ""), "layers.9.mlp.up_proj");
  EXPECT_EQ(hook_point("encoder.layer.2", ""), "encoder.layer.2") << "as the model calls it";
}

TEST(Hooks, OfSubmodulesNameASite) {
  EXPECT_EQ(site_of_submodule("resid_post_layer_8"), "resid_post");
  EXPECT_EQ(site_of_submodule("attention_out_layer_3"), "attn_out");
  EXPECT_EQ(site_of_submodule("mlp_out_layer11"), "mlp_out");
  EXPECT_EQ(site_of_submodule("resid_8"), "resid_post");
  EXPECT_EQ(site_of_submodule("gpt_neox.layers.3.mlp"), "");
}

TEST(Hooks, NameModelsAsTheHubDoes) {
  EXPECT_EQ(hub_name("gemma-2-2b"), "google/gemma-2-2b");
  EXPECT_EQ(hub_name("pythia-70m-deduped"), "EleutherAI/pythia-70m-deduped");
  EXPECT_EQ(hub_name("gpt2-small"), "gpt2");
  EXPECT_EQ(hub_name("google/gemma-2-2b"), "google/gemma-2-2b");
  EXPECT_EQ(causal_model_module("layers.3.mlp", "EleutherAI/pythia-70m"), "gpt_neox.layers.3.mlp");
  EXPECT_EQ(causal_model_module("h.3", "gpt2"), "transformer.h.3");
  EXPECT_EQ(causal_model_module("layers.3", "Qwen/Qwen3-4B"), "model.layers.3");
  EXPECT_EQ(causal_model_module("model.layers.3", "any"), "model.layers.3");
}

}  // namespace
}  // namespace sae

#include "models/interchange/hooks.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <regex>
#include <utility>

#include "models/interchange/provenance.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kLongest = 200;  // std::regex recurses once a character

bool contains_any(std::string text, std::initializer_list<const char*> parts) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::any_of(parts.begin(), parts.end(),
                     [&](const char* part) { return text.find(part) != std::string::npos; });
}

/// Whether the model norms what its branches add to the residual stream.
bool norms_branches(const std::string& model) {
  return contains_any(model,
                      {"gemma-2", "gemma2", "gemma-3", "gemma3", "olmo-2", "olmo2", "glm-4"});
}

/// What a module of a block gives, in TransformerLens' words after "blocks.12."; nothing if it has
/// no word for it.
std::optional<std::string> hook_of_module(const std::string& module, const std::string& model) {
  if (module.empty() || module == "output") return "hook_resid_post";
  if (module == "input") return "hook_resid_pre";
  if (module == "self_attn.o_proj.input" || module == "attention.dense.input") {
    return "attn.hook_z";
  }
  const auto is = [&](std::initializer_list<const char*> names) {
    return std::find(names.begin(), names.end(), module) != names.end();
  };
  if (is({"post_feedforward_layernorm", "post_mlp_layernorm"})) return "hook_mlp_out";
  if (is({"post_self_attn_layernorm"})) return "hook_attn_out";
  if (norms_branches(model)) {
    // Elsewhere the norm of this name comes before the MLP.
    return is({"post_attention_layernorm"}) ? std::optional<std::string>("hook_attn_out")
                                            : std::nullopt;
  }
  if (is({"mlp", "feed_forward", "block_sparse_moe", "fc2", "output.dense"})) {
    return "hook_mlp_out";
  }
  if (is({"self_attn", "attn", "attention", "self_attention", "attention.output.dense"})) {
    return "hook_attn_out";
  }
  return {};
}

const std::regex& transformer_lens_block() {
  static const std::regex block(R"(blocks\.(\d{1,6})\.(?:hook_(\w+)|\w+\.hook_\w+))");
  return block;
}

/// Of "blocks.12.hook_mlp_out": 12 and mlp_out.
void set_layer_and_site(Json& source, const std::string& hook) {
  std::smatch match;
  if (!std::regex_match(hook, match, transformer_lens_block())) return;
  source["layer"] = std::stoi(match[1]);
  if (match[2].matched) source["site"] = match[2].str();
}

constexpr const char* kBaseModels[] = {"model.language_model.", "model.", "transformer.",
                                       "gpt_neox."};

std::string inside_base_model(const std::string& module) {
  for (const std::string prefix : kBaseModels) {
    if (module.starts_with(prefix)) return module.substr(prefix.size());
  }
  return module;
}

/// Whether the model calls its blocks transformer.h, as GPT-2 does.
bool is_like_gpt2(const std::string& model) {
  return contains_any(model, {"gpt2", "gpt-j", "gpt-neo-", "bloom", "falcon"});
}

bool is_like_neox(const std::string& model) { return contains_any(model, {"pythia", "gpt-neox"}); }

/// Organisations whose models TransformerLens calls without them, and the beginning of their names.
constexpr std::array<std::pair<const char*, const char*>, 4> kOrganisations = {
    {{"google/", "gemma-"},
     {"EleutherAI/", "pythia-"},
     {"EleutherAI/", "gpt-neo-"},
     {"EleutherAI/", "gpt-j-"}}};

}  // namespace

void set_hook(Json& source, const std::string& hook) {
  static const std::regex kModule(
      R"((?:\w+\.)*?(?:layers|layer|h|blocks)[._](\d{1,6})(?:\.([\w.]+?))?(?:\.output)?)");
  static const std::regex kEmbedding(R"((?:\w+\.)*(?:embed_tokens|wte|embed_in|word_embeddings))");
  for (const char* key : {"layer", "site", "module"}) source.erase(key);
  source["hook_name"] = hook;
  if (hook.size() > kLongest) return;
  std::smatch match;
  if (is_transformer_lens_hook(hook)) return set_layer_and_site(source, hook);
  if (std::regex_match(hook, kEmbedding)) {
    source.update({{"hook_name", "hook_embed"}, {"module", hook}});
    return;
  }
  if (!std::regex_match(hook, match, kModule)) return;
  const std::string layer = std::to_string(std::stoi(match[1]));
  source["layer"] = std::stoi(match[1]);
  source["module"] = hook;
  const auto name = hook_of_module(match[2], text_of(source, "model"));
  if (!name) return;
  source["hook_name"] = "blocks." + layer + "." + *name;
  set_layer_and_site(source, source["hook_name"]);
}

bool is_transformer_lens_hook(const std::string& hook) {
  return hook == "hook_embed" ||
         (hook.size() <= kLongest && std::regex_match(hook, transformer_lens_block()));
}

void set_site(Json& source, const std::string& site, std::int64_t layer) {
  set_hook(source, "blocks." + std::to_string(layer) + ".hook_" + site);
}

std::string site_of_submodule(const std::string& name) {
  static const std::regex kSubmodule(
      R"((resid_pre|resid_mid|resid_post|resid_out|resid|mlp_out|mlp|attn_out|attention_out|attn)(?:_?layer)?_?\d{0,6})");
  std::smatch match;
  if (name.size() > kLongest || !std::regex_match(name, match, kSubmodule)) return "";
  const std::string word = match[1];
  if (word == "resid" || word == "resid_out") return "resid_post";
  if (word == "mlp") return "mlp_out";
  return word.starts_with("att") ? "attn_out" : word;
}

std::string hook_point_of(const Json& source) {
  const std::string hook = text_of(source, "hook_name");
  const std::string module = text_of(source, "module");
  if (!module.empty() && module != "input") {
    Json translated{{"model", text_of(source, "model")}};
    set_hook(translated, module);
    if (text_of(translated, "hook_name") == hook) return inside_base_model(module);
  }
  const std::string model = text_of(source, "model");
  const bool gpt = is_like_gpt2(model);
  std::smatch match;
  if (hook.size() > kLongest || !std::regex_match(hook, match, transformer_lens_block())) return "";
  const int layer = std::stoi(match[1]);
  const auto block = [&](int number) { return (gpt ? "h." : "layers.") + std::to_string(number); };
  const std::string site = match[2];
  if (site == "resid_post") return block(layer);
  if (site == "resid_pre" && layer > 0) return block(layer - 1);  // the same activations
  if (site == "mlp_out") {
    return block(layer) + (norms_branches(model) ? ".post_feedforward_layernorm" : ".mlp");
  }
  if (site != "attn_out") return "";
  if (norms_branches(model)) return block(layer) + ".post_attention_layernorm";
  return block(layer) + (gpt ? ".attn" : is_like_neox(model) ? ".attention" : ".self_attn");
}

std::string causal_model_module(const std::string& module, const std::string& model) {
  if (inside_base_model(module) != module) return module;
  return (is_like_gpt2(model)   ? "transformer."
          : is_like_neox(model) ? "gpt_neox."
                                : "model.") +
         module;
}

std::string hub_name(const std::string& model) {
  if (model == "gpt2-small") return "gpt2";
  for (const auto& [organisation, family] : kOrganisations) {
    if (model.starts_with(family)) return organisation + model;
  }
  return model;
}

}  // namespace sae

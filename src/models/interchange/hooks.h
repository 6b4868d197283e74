// Where in a language model an SAE belongs, in the words of each tool.
//
//     ours, TransformerLens   blocks.12.hook_resid_post   blocks.12.hook_mlp_out
//     Hugging Face, nnsight   model.layers.12             model.layers.12.mlp
//     sparsify                layers.12                   layers.12.mlp: inside the base model
//     dictionary_learning     resid_post_layer_12         mlp_out_layer_12
//
// Gemma 2 and 3 and their like norm what attention and MLP add to the residual stream. There
// hook_mlp_out and hook_attn_out are the outputs of these norms, and `layers.12.mlp` has no name in
// TransformerLens.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace sae {

/// Sets hook_name, and as far as they can be told layer, site and module, of a source whose model
/// is set. `hook` is in any of the languages above; a name in none of them is taken as it is.
void set_hook(nlohmann::ordered_json& source, const std::string& hook);

bool is_transformer_lens_hook(const std::string& hook);

/// set_hook from a site's name and a layer: "resid_post", 12.
void set_site(nlohmann::ordered_json& source, const std::string& site, std::int64_t layer);

/// "resid_post" of "resid_post_layer_8", "resid_out_layer8", "resid_8"; empty for other names.
std::string site_of_submodule(const std::string& name);

/// The module's path inside the base model, sparsify's name of a source's hook; empty if there is
/// none.
std::string hook_point_of(const nlohmann::ordered_json& source);

/// The same inside a model with its head, AutoModelForCausalLM, which has the base model in
/// `model`, `transformer` or `gpt_neox`.
std::string causal_model_module(const std::string& module, const std::string& model);

/// A model's name on the Hugging Face Hub, for tools that know no other, where TransformerLens has
/// a shorter one: google/gemma-2-2b of gemma-2-2b. Other names stay as they are.
std::string hub_name(const std::string& model);

}  // namespace sae

#include "models/interchange/saelens_card.h"

#include <algorithm>
#include <cctype>
#include <string_view>

#include "models/interchange/hooks.h"
#include "models/interchange/provenance.h"
#include "sae/base/text.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

/// `text` as code within a line or a table.
std::string code(const std::string& text) {
  std::string shown = printable(text);
  std::replace(shown.begin(), shown.end(), '`', '\'');
  std::replace(shown.begin(), shown.end(), '|', '/');
  return "`" + shown + "`";
}

/// The name that the hub has for a model, "org/model"; empty if that is not known.
std::string name_on_the_hub(const std::string& model) {
  const std::string name = hub_name(model);
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) ||
           std::string_view("-_./").find(static_cast<char>(c)) != std::string_view::npos;
  });
  return plain && std::count(name.begin(), name.end(), '/') == 1 && name.front() != '/' &&
                 name.back() != '/'
             ? name
             : "";
}

std::string front_matter(const std::string& model) {
  const std::string base = name_on_the_hub(model);
  return "---\nlibrary_name: saelens\ntags:\n- saelens\n- sparse-autoencoder\n"
         "- mechanistic-interpretability\n" +
         (base.empty() ? "" : "base_model: " + base + "\n") + "---\n";
}

std::string title(const std::string& model, const std::string& hook) {
  return "# Sparse autoencoder" + (hook.empty() ? "" : " of " + code(hook)) +
         (model.empty() ? "" : (hook.empty() ? " for " : " in ") + code(model)) + "\n";
}

/// A row for each thing that is known of where the activations are from.
std::string table(const PlainSae& plain, const Json& metadata) {
  std::string rows = "| | |\n|---|---|\n";
  const auto row = [&](const char* what, const std::string& value) {
    if (!value.empty()) rows += std::string("| ") + what + " | " + value + " |\n";
  };
  const auto name = [&](const char* key) {
    const std::string text = text_of(metadata, key);
    return text.empty() ? text : code(text);
  };
  const auto flag = [&](const char* key) -> std::string {
    const Json value = metadata.value(key, Json());
    return value.is_boolean() ? (value.get<bool>() ? "yes" : "no") : "";
  };
  row("inputs", std::to_string(plain.d_in()));
  row("latents", std::to_string(plain.d_sae()));
  row("activation", describe(plain));
  row("model", name("model_name"));
  row("hook", name("hook_name"));
  if (plain.source.contains("kind")) row("activations", code(text_of(plain.source, "kind")));
  row("data", name("dataset_path"));
  const Json context = metadata.value("context_size", Json());
  if (context.is_number_integer()) row("tokens of context", context.dump());
  row("begins with BOS", flag("prepend_bos"));
  row("without special tokens", flag("exclude_special_tokens"));
  return rows;
}

std::string usage(const PlainSae& plain) {
  const std::string inputs = std::to_string(plain.d_in());
  const std::string latents = std::to_string(plain.d_sae());
  return "## Use\n\nFrom a repository of the hub, in which it is a folder, or from this folder:\n\n"
         "```python\nfrom sae_lens import SAE\n\n"
         "sae = SAE.from_pretrained(\"USER/REPOSITORY\", \"FOLDER\")\n"
         "sae = SAE.load_from_disk(\"path/to/this/folder\")\n\n"
         "latents = sae.encode(activations)  # [tokens, " +
         inputs + "] to [tokens, " + latents + "]\nreconstruction = sae.decode(latents)\n```\n";
}

/// Our training configuration, but for where on whose machine its data lay.
std::string training(const PlainSae& plain) {
  if (!plain.training.is_object()) return "";
  Json shown = plain.training;
  const auto data = shown.find("data");
  if (data != shown.end() && text_of(*data, "kind") != "synthetic") shown.erase(data);
  return "\n## Training\n\nTrained with sae.cpp:\n\n```json\n" +
         shown.dump(2, ' ', true, Json::error_handler_t::replace) + "\n```\n";
}

std::string origin(const PlainSae& plain) {
  const std::string format = text_of(plain.origin, "format");
  return format.empty() ? "" : "\nConverted from the format of " + code(format) + " by sae.cpp.\n";
}

}  // namespace

std::string saelens_card(const PlainSae& plain, const Json& metadata) {
  const std::string model = text_of(metadata, "model_name");
  return front_matter(model) + "\n" + title(model, text_of(metadata, "hook_name")) + "\n" +
         table(plain, metadata) + "\n" + usage(plain) + training(plain) + origin(plain);
}

}  // namespace sae

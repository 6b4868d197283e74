#include "sae/models/sae_folder.h"

#include <torch/types.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/version.h"
#include "sae/models/architectures.h"

namespace sae {
namespace {

constexpr const char* kFormat = "sae";
constexpr int kFormatVersion = 1;

}  // namespace

NamedTensors state_of(const Autoencoder& sae) {
  NamedTensors state;
  for (const auto& item : sae.named_parameters())
    state.emplace_back(item.key(), item.value().detach());
  for (const auto& item : sae.named_buffers()) state.emplace_back(item.key(), item.value());
  return state;
}

void load_state(Autoencoder& sae, const SafetensorsFile& file) {
  const at::NoGradGuard no_grad;
  const NamedTensors state = state_of(sae);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state) names.push_back(name);
  file.expect_names(names);
  for (const auto& [name, tensor] : state) file.check(name, tensor.sizes(), tensor.scalar_type());
  for (const auto& [name, tensor] : state) tensor.copy_(file.tensor(name));
}

void save_sae(const std::filesystem::path& folder, const Autoencoder& sae,
              const nlohmann::ordered_json& model, const InputMap& input,
              const nlohmann::ordered_json& provenance) {
  const at::NoGradGuard no_grad;
  const auto folded = make_autoencoder(config_from_json(model, "model"));
  const NamedTensors from = state_of(sae);
  const NamedTensors to = state_of(*folded);
  for (std::size_t i = 0; i < from.size(); ++i) to[i].second.copy_(from[i].second);
  fold_input(*folded, input);

  nlohmann::ordered_json config{
      {"format", kFormat}, {"version", kFormatVersion}, {"sae", kVersion}, {"model", model}};
  config.update(provenance);
  StagedDirectory staged(folder);
  write_safetensors(staged.path() / "sae.safetensors", to,
                    {{"format", kFormat}, {"version", std::to_string(kFormatVersion)}});
  write_file_atomically(staged.path() / "config.json", config.dump(2) + "\n");
  staged.commit();
}

SaeFolder load_sae(const std::filesystem::path& folder) {
  const std::filesystem::path config_path = folder / "config.json";
  if (!std::filesystem::exists(config_path)) {
    throw DataError(folder.string() + ": no config.json, expected the folder of an autoencoder");
  }
  try {
    const ConfigNode config = read_config(config_path.string());
    const std::string format = config.string_at("format");
    const nlohmann::ordered_json version = config.at("version").json();
    if (format != kFormat || version != kFormatVersion) {
      throw DataError(config_path.string() + ": got format '" + format + "' version " +
                      version.dump() + ", expected '" + kFormat + "' version " +
                      std::to_string(kFormatVersion));
    }
    SaeFolder loaded{make_autoencoder(config.at("model")),
                     std::make_shared<nlohmann::ordered_json>(config.json())};
    load_state(*loaded.sae, SafetensorsFile(folder / "sae.safetensors"));
    return loaded;
  } catch (const ConfigError& error) {
    // A folder written by us is data: what is wrong with it is not the user's configuration.
    throw DataError(error.what());
  }
}

}  // namespace sae

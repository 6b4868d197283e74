#include <memory>
#include <string>
#include <utility>

#include "models/interchange/formats.h"
#include "models/interchange/provenance.h"
#include "sae/base/error.h"
#include "sae/models/sae_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// sparsify's weights have the same name, and any config.json may lie beside them.
bool detect(const fs::path& path) {
  if (!is_file(path / "config.json") || !is_file(path / "sae.safetensors")) return false;
  if (!is_file(path / "cfg.json")) return true;
  Notes unread;
  const auto config = ToolConfig::informing(path / "config.json", unread);
  return config && config->text("format") == "sae" && config->has("model");
}

// Training says {"kind": "store", "store": <the manifest's source>}; a PlainSae has the latter
// alone.
void unwrap_source(Json& source) {
  if (!source.contains("kind") || source["kind"] != "store") return;
  const Json store = source.contains("store") ? source["store"] : Json();
  source = store.is_object() ? store : Json::object();
}

Json wrapped_source(const Json& source) {
  return source.contains("kind") ? source : Json{{"kind", "store"}, {"store", source}};
}

Json carried_by(const PlainSae& plain) {
  Json carried = provenance(plain);
  if (carried.contains("source")) carried["source"] = wrapped_source(plain.source);
  return carried;
}

PlainSae read(const fs::path& path) { return plain_of(load_sae(path)); }

Notes write(const fs::path& folder, const PlainSae& plain) {
  const OwnSae own = own_from(plain);
  save_sae(folder, *own.sae, own.model, /*input=*/{}, carried_by(plain));
  return {};
}

}  // namespace

PlainSae plain_of(const SaeFolder& folder) {
  PlainSae plain = plain_from(*folder.sae, folder.config->at("model"));
  take_provenance(plain, *folder.config);
  unwrap_source(plain.source);
  tidy_source(plain);
  return plain;
}

SaeFolder folder_of(const PlainSae& plain) {
  OwnSae own = own_from(plain);
  Json config{{"model", std::move(own.model)}};
  config.update(carried_by(plain));
  return {std::move(own.sae), std::make_shared<const Json>(std::move(config))};
}

SaeFormat own_format() {
  return {"sae", "a folder with config.json and sae.safetensors", detect, read, write};
}

}  // namespace sae

#include <string>

#include "sae/base/error.h"
#include "sae/models/sae_folder.h"
#include "tools/convert/formats.h"
#include "tools/convert/tool_config.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The autoencoder's own folder, where a run's folder is given.
fs::path sae_folder(const fs::path& path) {
  return fs::exists(path / "sae" / "config.json") ? path / "sae" : path;
}

bool detect(const fs::path& path) {
  return fs::exists(sae_folder(path) / "config.json") &&
         fs::exists(sae_folder(path) / "sae.safetensors");
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

PlainSae read(const fs::path& path) {
  const SaeFolder folder = load_sae(sae_folder(path));
  PlainSae plain = plain_from(*folder.sae, folder.config->at("model"));
  take_provenance(plain, *folder.config);
  unwrap_source(plain.source);
  return plain;
}

void write(const fs::path& folder, const PlainSae& plain) {
  const OwnSae own = own_from(plain);
  Json carried = provenance(plain);
  if (carried.contains("source")) carried["source"] = wrapped_source(plain.source);
  save_sae(folder, *own.sae, own.model, /*input_scale=*/1, carried);
}

}  // namespace

SaeFormat own_format() {
  return {"sae", "a folder with config.json and sae.safetensors", detect, read, write};
}

}  // namespace sae

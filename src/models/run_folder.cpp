#include <string>

#include "sae/base/error.h"
#include "sae/models/sae_folder.h"

namespace sae {

namespace fs = std::filesystem;

fs::path sae_folder(const fs::path& path) {
  if (fs::exists(path / "sae" / "config.json")) return path / "sae";
  if (fs::exists(path / "metrics.jsonl")) {
    throw DataError(path.string() + ": is a run that has not been finished; finish it with " +
                    "sae train CONFIG --out " + path.string() + " --resume");
  }
  return path;
}

}  // namespace sae

#include "training/run_over_ranks.h"

#include <ATen/Version.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>

#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/base/machine.h"
#include "sae/models/architectures.h"
#include "sae/models/sae_folder.h"
#include "sae/training/checkpoint.h"
#include "training/run_record.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

/// A configuration as facts, one an option: {"train.batch", "4096"}.
Facts facts_of(const Json& config) {
  Facts facts;
  const Json flat = config.flatten();
  for (const auto& [path, value] : flat.items()) {
    std::string name = path.substr(path.empty() ? 0 : 1);
    std::replace(name.begin(), name.end(), '/', '.');
    facts.emplace_back(std::move(name), value.dump());
  }
  return facts;
}

/// Without where files lie, which may differ between machines.
Json without_paths(Json config) {
  for (const char* key : {"path", "held_out_path"}) config["data"].erase(key);
  std::string& from = config["train"]["from"].get_ref<std::string&>();
  if (!from.empty()) from = "given";  // which one it is, its files say
  return config;
}

}  // namespace

void require_sharable(const RunOptions& options, const Mesh& mesh) {
  if (is_read_once(options.data)) {
    throw ConfigError("data.kind: got stream with " + std::to_string(mesh.world.size()) +
                      " ranks, each of which would make its own; expected one process, or a store");
  }
  const TrainOptions& train = options.train.train;
  if (train.batch / mesh.data.size() >= train.accumulate) return;
  throw ConfigError("train.batch: got " + std::to_string(train.batch) + " for " +
                    std::to_string(mesh.data.size()) +
                    " ranks (distributed.data), expected at least train.accumulate = " +
                    std::to_string(train.accumulate) + " tokens for each");
}

Facts facts_of_run(const Json& config, const std::optional<DataFingerprint>& data, bool resume) {
  Facts facts = facts_of(without_paths(run_identity(config)));
  if (data) {
    facts.emplace_back("data", data->train.digest);
    facts.emplace_back("held-out data", data->held_out.digest);
  }
  facts.emplace_back("kind of CPU", at::get_cpu_capability());
  facts.emplace_back("--resume", resume ? "given" : "not given");
  return facts;
}

std::shared_ptr<Autoencoder> whole_autoencoder(const std::shared_ptr<Autoencoder>& part,
                                               const Json& model) {
  const Spread& spread = part->spread();
  if (!spread.splits_latents()) return part;
  const at::NoGradGuard no_grad;
  const bool leads = spread.mesh().world.rank() == 0;
  const auto whole = leads ? make_autoencoder(config_from_json(model, "model")) : part;
  const NamedTensors from = state_of(*part), to = state_of(*whole);
  constexpr std::int64_t kAtATime = 16 << 20;  // numbers, of all latents together
  for (std::size_t i = 0; i < from.size(); ++i) {
    const at::Tensor& own = from[i].second;
    if (!Autoencoder::is_by_latent(from[i].first, own)) {
      if (leads) to[i].second.copy_(own);
      continue;
    }
    const at::Tensor columns = own.view({own.size(0), -1});
    const std::int64_t width = std::max<std::int64_t>(1, kAtATime / spread.d_sae());
    for (std::int64_t begin = 0; begin < columns.size(1); begin += width) {
      const at::Tensor block = spread.all_latents(
          columns.slice(1, begin, std::min(begin + width, columns.size(1))).contiguous());
      if (!leads) continue;
      to[i].second.view({spread.d_sae(), -1}).slice(1, begin, begin + block.size(1)).copy_(block);
    }
  }
  return whole;
}

std::shared_ptr<Autoencoder> saved_part(const std::filesystem::path& folder, const Json& model,
                                        const Mesh& mesh) {
  if (mesh.world.is_one()) return load_sae(folder).sae;
  const auto part = make_autoencoder(config_from_json(model, "model"), mesh);
  load_autoencoder(folder, *part);
  return part;
}

RunOptions on_rank(RunOptions options, const Membership& member) {
  if (member.size == 1) return options;
  if (options.basics.device == "auto" && parse_device("auto").is_cuda()) {
    options.basics.device = "cuda:" + std::to_string(member.local_rank);
  }
  if (options.basics.threads == 0 && std::getenv("OMP_NUM_THREADS") == nullptr) {
    options.basics.threads = std::max(1, usable_cores() / std::max(1, member.local_size));
  }
  return options;
}

}  // namespace sae

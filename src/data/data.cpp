#include "sae/data/data.h"

#include <torch/types.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "config/fields_json.h"
#include "data/store/manifest.h"
#include "sae/base/error.h"
#include "sae/data/store.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;
using SyntheticFields = Joined<StreamOptions, WorldOptions>;
using StoreFields = Joined<StreamOptions, StoreOptions>;

enum class DataKind { kSynthetic, kStore };
constexpr auto names_of(DataKind) { return std::array{"synthetic", "store"}; }

std::uint64_t stream_seed(const StreamOptions& options, std::uint64_t run_seed) {
  return options.stream_seed ? static_cast<std::uint64_t>(*options.stream_seed) : run_seed;
}

Data open_world(const SyntheticFields& fields, std::uint64_t run_seed) {
  auto world = std::make_shared<const World>(fields.get<WorldOptions>());
  const std::uint64_t seed = stream_seed(fields.get<StreamOptions>(), run_seed);
  Data data;
  data.d_in = world->d_in();
  data.world = world;
  data.train = [world, seed] { return std::make_unique<WorldSource>(world, seed); };
  // Every run is judged on the same held-out samples, whatever its own seed.
  data.held_out = [world] {
    return std::make_unique<WorldSource>(world, /*data_seed=*/0, SampleSet::kHeldOut);
  };
  data.source = std::make_shared<Json>(
      Json{{"kind", "synthetic"}, {"world", write_fields(world->options())}});
  return data;
}

Data open_store(const StoreFields& fields, std::uint64_t run_seed) {
  StoreOptions options = fields.get<StoreOptions>();
  auto store = std::make_shared<const ActivationStore>(options.path, options.verify);
  auto held_out = store;
  Split held_out_split = Split::kHeldOut;
  if (options.held_out_path) {
    if (*options.held_out_path != options.path) {
      held_out = std::make_shared<const ActivationStore>(*options.held_out_path, options.verify);
    }
    if (held_out->d_in() != store->d_in()) {
      throw DataError(*options.held_out_path + ": activations have width " +
                      std::to_string(held_out->d_in()) + ", those of " + options.path + " have " +
                      std::to_string(store->d_in()));
    }
    options.held_out = 0;  // all of each
    held_out_split = Split::kTrain;
  }
  const std::uint64_t seed = stream_seed(fields.get<StreamOptions>(), run_seed);
  Data data;
  data.d_in = store->d_in();
  data.train = [store, options, seed] {
    return std::make_unique<StoreSource>(store, options, Split::kTrain, seed);
  };
  data.held_out = [held_out, held_out_split, options] {
    StoreOptions unhurried = options;
    unhurried.prefetch = 0;
    return std::make_unique<StoreSource>(held_out, unhurried, held_out_split, /*seed=*/0);
  };
  data.source = std::make_shared<Json>(Json{
      {"kind", "store"}, {"store", store->source().is_null() ? Json() : Json(store->source())}});
  return data;
}

/// From the manifest alone, where there is one.
DataSize size_of_store(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) {
    const ActivationStore store(path, /*verify_checksums=*/false);
    return {store.d_in(), store.size()};
  }
  const StoreManifest manifest = read_store_manifest(path / "manifest.json");
  std::int64_t tokens = 0;
  for (const StoreManifest::File& file : manifest.files) tokens += file.tokens;
  return {manifest.d_in, tokens};
}

}  // namespace

Json resolve_data(const ConfigNode& data) {
  const auto kind = choice_at<DataKind>(data, "kind");
  const ConfigNode rest = data.without({"kind"});
  Json resolved{{"kind", name_of(kind)}};
  resolved.update(kind == DataKind::kSynthetic ? write_fields(read_fields<SyntheticFields>(rest))
                                               : write_fields(read_fields<StoreFields>(rest)));
  return resolved;
}

Findings check_data(const ConfigNode& data) {
  const ConfigNode rest = data.without({"kind"});
  return choice_at<DataKind>(data, "kind") == DataKind::kSynthetic
             ? findings_of(read_fields<SyntheticFields>(rest), rest)
             : findings_of(read_fields<StoreFields>(rest), rest);
}

std::optional<DataSize> data_size(const ConfigNode& data) try {
  const ConfigNode rest = data.without({"kind"});
  if (choice_at<DataKind>(data, "kind") == DataKind::kSynthetic) {
    const auto fields = read_fields<SyntheticFields>(rest);
    return DataSize{*resolve(fields.get<WorldOptions>()).d_in, {}};
  }
  const auto fields = read_fields<StoreFields>(rest);
  const auto& options = fields.get<StoreOptions>();
  if (!std::filesystem::exists(options.path)) return {};
  DataSize size = size_of_store(options.path);
  const double share = options.held_out_path ? 1 : 1 - options.held_out;
  size.tokens = std::llround(share * static_cast<double>(*size.tokens));
  return size;
} catch (const DataError&) {
  return {};
}

Data open_data(const ConfigNode& data, std::uint64_t seed) {
  const ConfigNode rest = data.without({"kind"});
  if (choice_at<DataKind>(data, "kind") == DataKind::kSynthetic) {
    return open_world(read_fields<SyntheticFields>(rest), seed);
  }
  return open_store(read_fields<StoreFields>(rest), seed);
}

std::vector<std::pair<std::string, std::vector<FieldDoc>>> data_kinds() {
  return {{name_of(DataKind::kSynthetic), describe_fields<SyntheticFields>()},
          {name_of(DataKind::kStore), describe_fields<StoreFields>()}};
}

}  // namespace sae

#include "sae/data/data.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "config/fields_json.h"
#include "data/store/manifest.h"
#include "data/store/truth.h"
#include "data/stream/stream.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/base/sha256.h"
#include "sae/base/text.h"
#include "sae/data/store.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;
using SyntheticFields = Joined<StreamOptions, WorldOptions>;
using StoreFields = Joined<StreamOptions, StoreOptions>;
using StreamFields = Joined<StreamOptions, StreamDataOptions>;

enum class DataKind { kSynthetic, kStore, kStream };
constexpr auto names_of(DataKind) { return std::array{"synthetic", "store", "stream"}; }

/// Calls `visit(fields)` with what the group has besides its kind, read as that kind's options.
template <class Visit>
auto with_fields(const ConfigNode& data, Visit&& visit) {
  const ConfigNode rest = data.without({"kind"});
  switch (choice_at<DataKind>(data, "kind")) {
    case DataKind::kSynthetic:
      return visit(read_fields<SyntheticFields>(rest));
    case DataKind::kStore:
      return visit(read_fields<StoreFields>(rest));
    case DataKind::kStream:
      break;
  }
  return visit(read_fields<StreamFields>(rest));
}

std::uint64_t stream_seed(const StreamOptions& options, std::uint64_t run_seed) {
  return options.stream_seed ? static_cast<std::uint64_t>(*options.stream_seed) : run_seed;
}

DataIdentity identity_of(const WorldOptions& resolved) {
  return {"synthetic world " + resolved.preset,
          std::to_string(*resolved.features) + " features in " + std::to_string(*resolved.d_in) +
              " dimensions, world seed " + std::to_string(resolved.seed),
          "sha256:" + sha256_hex(write_fields(resolved).dump())};
}

DataIdentity identity_of(const ActivationStore& store) {
  std::string contents =
      std::to_string(store.size()) + " tokens of width " + std::to_string(store.d_in());
  for (const char* key : {"model", "hook_name"}) {
    const auto& source = store.source();
    if (source.is_object() && source.contains(key) && source[key].is_string()) {
      contents += ", " + source[key].get<std::string>();
    }
  }
  return {store.path().string(), contents, store.digest()};
}

Data open_world(const SyntheticFields& fields, std::uint64_t run_seed) {
  auto world = std::make_shared<const World>(fields.get<WorldOptions>());
  const std::uint64_t seed = stream_seed(fields.get<StreamOptions>(), run_seed);
  Data data;
  data.d_in = world->d_in();
  data.world = world;
  data.train = [world, seed] { return std::make_unique<WorldSource>(world, seed); };
  // Every run is judged on the same held-out samples, whatever its own seed.
  data.held_out_with_truth = [world] {
    return std::make_unique<WorldSource>(world, /*data_seed=*/0, SampleSet::kHeldOut);
  };
  data.held_out = data.held_out_with_truth;
  data.source = std::make_shared<Json>(
      Json{{"kind", "synthetic"}, {"world", write_fields(world->options())}});
  const DataIdentity identity = identity_of(world->options());
  data.fingerprint = DataFingerprint{identity, identity};
  return data;
}

DataFingerprint fingerprint_of_fields(const SyntheticFields& fields) {
  const DataIdentity identity = identity_of(resolve(fields.get<WorldOptions>()));
  return {identity, identity};
}

/// By the command: what it makes is known once it has been made.
DataFingerprint fingerprint_of_fields(const StreamFields& fields) {
  const std::string& command = fields.get<StreamDataOptions>().command;
  const DataIdentity identity{"the stream of '" + command + "'", "what the command makes",
                              "command-sha256:" + sha256_hex(command)};
  return {identity, identity};
}

/// A store's rows for training and those for evaluation, which may be of another store.
struct OpenedStores {
  std::shared_ptr<const ActivationStore> train;
  std::shared_ptr<const ActivationStore> held_out;

  OpenedStores(const StoreOptions& options, bool verify) {
    train = held_out = std::make_shared<const ActivationStore>(options.path, verify);
    if (!options.held_out_path) return;
    if (*options.held_out_path != options.path) {
      held_out = std::make_shared<const ActivationStore>(*options.held_out_path, verify);
    }
    if (held_out->d_in() == train->d_in()) return;
    throw DataError(*options.held_out_path + ": activations have width " +
                    std::to_string(held_out->d_in()) + ", those of " + options.path + " have " +
                    std::to_string(train->d_in()));
  }

  DataFingerprint fingerprint() const {
    const DataIdentity identity = identity_of(*train);
    return {identity, held_out == train ? identity : identity_of(*held_out)};
  }
};

std::vector<Notice> about_split(const StoreOptions& options, const StoreSource& held_out) {
  if (held_out.moved_contexts() == 0) return {};
  return {{Notice::Kind::kNote,
           options.path + ": has few contexts: at held_out " + trimmed(options.held_out, 6) +
               " one was moved so that there is something to train and something to evaluate on; " +
               std::to_string(held_out.size()) + " tokens are held out"}};
}

Data open_store(const StoreFields& fields, std::uint64_t run_seed) {
  StoreOptions options = fields.get<StoreOptions>();
  const OpenedStores stores(options, options.verify);
  Split held_out_split = Split::kHeldOut;
  if (options.held_out_path) {
    options.held_out = 0;  // all of each
    held_out_split = Split::kTrain;
  }
  const std::uint64_t seed = stream_seed(fields.get<StreamOptions>(), run_seed);
  StoreOptions unhurried = options;
  unhurried.prefetch = 0;
  unhurried.shuffle = Shuffle::kGlobal;  // whatever the order of training, the same is evaluated
  const auto train =
      std::make_shared<const StoreSource>(stores.train, options, Split::kTrain, seed);
  const auto held_out =
      std::make_shared<const StoreSource>(stores.held_out, unhurried, held_out_split, /*seed=*/0);
  if (options.verify) {
    stores.train->require_finite();
    stores.held_out->require_finite();
  }
  Data data;
  data.d_in = stores.train->d_in();
  data.train = [train] { return train->another(); };
  data.held_out = [held_out] { return held_out->another(); };
  if (has_stored_truth(stores.held_out->path())) {
    const auto truth = std::make_shared<const StoredTruth>(stores.held_out);
    data.world = truth->world();
    data.held_out_with_truth = [held_out, truth] {
      return std::make_unique<StoredTruthSource>(held_out->another(), truth);
    };
  }
  data.held_out_store = stores.held_out;
  data.held_out_rows = [held_out] {
    std::vector<std::int64_t> rows = held_out->rows_at(0, held_out->size());
    std::sort(rows.begin(), rows.end());
    return rows;
  };
  data.train_tokens = train->size();
  data.held_out_tokens = held_out->size();
  data.fingerprint = stores.fingerprint();
  data.notices = about_split(options, *held_out);
  data.finite_held_out = std::make_shared<std::atomic<std::int64_t>>(0);
  const nlohmann::json& source = stores.train->source();
  data.source = std::make_shared<Json>(
      Json{{"kind", "store"}, {"store", source.is_null() ? Json() : Json(source)}});
  return data;
}

DataFingerprint fingerprint_of_fields(const StoreFields& fields) {
  return OpenedStores(fields.get<StoreOptions>(), /*verify=*/false).fingerprint();
}

Data open_stream(const StreamFields& fields, std::uint64_t run_seed) {
  const auto stream = std::make_shared<ActivationStream>(fields.get<StreamDataOptions>());
  const std::uint64_t seed = stream_seed(fields.get<StreamOptions>(), run_seed);
  Data data;
  data.d_in = stream->d_in();
  data.train = [stream, seed] { return std::make_unique<WindowSource>(stream, seed); };
  data.held_out = [stream] { return std::make_unique<HeldOutSource>(stream); };
  data.held_out_tokens = stream->held_out().size(0);
  data.source = std::make_shared<Json>(
      Json{{"kind", "stream"}, {"command", fields.get<StreamDataOptions>().command}});
  data.fingerprint = fingerprint_of_fields(fields);
  data.finite_held_out = std::make_shared<std::atomic<std::int64_t>>(stream->held_out().size(0));
  return data;
}

Data open_fields(const SyntheticFields& fields, std::uint64_t seed) {
  return open_world(fields, seed);
}
Data open_fields(const StoreFields& fields, std::uint64_t seed) { return open_store(fields, seed); }
Data open_fields(const StreamFields& fields, std::uint64_t seed) {
  return open_stream(fields, seed);
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
  Json resolved{{"kind", name_of(choice_at<DataKind>(data, "kind"))}};
  resolved.update(with_fields(data, [](const auto& fields) { return write_fields(fields); }));
  return resolved;
}

Findings check_data(const ConfigNode& data) {
  const ConfigNode rest = data.without({"kind"});
  return with_fields(data, [&](const auto& fields) { return findings_of(fields, rest); });
}

std::optional<DataSize> data_size(const ConfigNode& data) try {
  const ConfigNode rest = data.without({"kind"});
  const auto kind = choice_at<DataKind>(data, "kind");
  if (kind == DataKind::kStream) return {};
  if (kind == DataKind::kSynthetic) {
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

bool is_read_once(const ConfigNode& data) {
  return choice_at<DataKind>(data, "kind") == DataKind::kStream;
}

bool knows_truth(const ConfigNode& data) {
  const auto kind = choice_at<DataKind>(data, "kind");
  if (kind != DataKind::kStore) return kind == DataKind::kSynthetic;
  const auto options = read_fields<StoreFields>(data.without({"kind"})).get<StoreOptions>();
  return has_stored_truth(options.held_out_path.value_or(options.path));
}

Data open_data(const ConfigNode& data, std::uint64_t seed) {
  return with_fields(data, [&](const auto& fields) { return open_fields(fields, seed); });
}

DataFingerprint fingerprint_of(const ConfigNode& data) {
  return with_fields(data, [](const auto& fields) { return fingerprint_of_fields(fields); });
}

void require_finite_held_out(const Data& data, std::int64_t tokens, std::int64_t batch) {
  if (data.world && !data.held_out_tokens) return;  // sampled, not read
  tokens = data.held_out_at_most(tokens);
  if (data.finite_held_out && *data.finite_held_out >= tokens) return;
  const std::unique_ptr<TruthSource> with_truth = data.world ? data.held_out_with_truth() : nullptr;
  const std::unique_ptr<ActivationSource> alone = with_truth ? nullptr : data.held_out();
  ActivationSource& source = with_truth ? *with_truth : *alone;
  for (std::int64_t done = 0; done < tokens; done += batch) {
    check_interrupt();
    const std::int64_t count = std::min(batch, tokens - done);
    const at::Tensor x = with_truth ? with_truth->next_with_truth(count).x : source.next(count);
    if (!at::isfinite(x).all().item<bool>()) {
      throw DataError("held-out data: " + source.description() + ": one of the activations " +
                      std::to_string(done) + " to " + std::to_string(done + x.size(0) - 1) +
                      " has a NaN or infinity; leave it out");
    }
  }
  if (data.finite_held_out) *data.finite_held_out = tokens;
}

std::vector<std::pair<std::string, std::vector<FieldDoc>>> data_kinds() {
  return {{name_of(DataKind::kSynthetic), describe_fields<SyntheticFields>()},
          {name_of(DataKind::kStore), describe_fields<StoreFields>()},
          {name_of(DataKind::kStream), describe_fields<StreamFields>()}};
}

}  // namespace sae

#include <c10/util/Half.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "formats/safetensors_header.h"
#include "models/interchange/hooks.h"
#include "sae/base/files.h"
#include "tools/features/delphi_layout.h"
#include "tools/features/encoded.h"
#include "tools/features/exports.h"
#include "tools/features/origin.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr float kLeast = 1e-5F;                 // InMemoryCache.get_nonzeros
constexpr std::int64_t kSplits = 5;             // CacheConfig.n_splits
constexpr std::int64_t kMostFirings = 1 << 25;  // about, in a file: Delphi reads it at once
constexpr float kLargestHalf = 65504;
constexpr std::int64_t kShort = 1 << 16;  // numbers below fit into U16

/// Latents [first, end), and what a file holds of them.
struct LatentSplit {
  std::int64_t first = 0, end = 0, firings = 0;
};

/// What all files of an export have in common.
struct Cache {
  const CodesOnDisk& codes;
  const ActivationStore& store;
  const DelphiLayout& layout;
  std::int32_t pad = 0;
  bool half = true;   ///< activations are F16
  bool brief = true;  ///< locations are U16
};

/// Calls `take(place, latent, activation)` for each firing of a split's latents, in order of rows.
template <class Take>
void for_each_firing(const Cache& cache, const LatentSplit& split, const Take& take,
                     const std::function<void()>& after_batch) {
  DelphiPlaces places;
  for_each_batch(cache.codes, cache.store, 0, [&](const FeatureBatch& batch) {
    for (std::int64_t row = batch.begin; row < batch.end; ++row) {
      const std::int64_t place = places.next(batch, row);
      const auto begin = batch.codes.indices.begin() + batch.codes.begin(row);
      const auto end = batch.codes.indices.begin() + batch.codes.end(row);
      for (auto at = std::lower_bound(begin, end, split.first); at != end && *at < split.end;
           ++at) {
        take(place, *at,
             batch.codes.values[static_cast<std::size_t>(at - batch.codes.indices.begin())]);
      }
    }
    after_batch();
  });
}

void append_activations(AtomicFile& file, const Cache& cache, const LatentSplit& split) {
  std::string bytes;
  for_each_firing(
      cache, split,
      [&](std::int64_t, std::int64_t, float activation) {
        if (cache.half) {
          put_number(bytes, c10::Half(activation).x, 2);
        } else {
          put_number(bytes, std::bit_cast<std::uint32_t>(activation), 4);
        }
      },
      [&] {
        file.append(bytes);
        bytes.clear();
      });
}

void append_locations(AtomicFile& file, const Cache& cache, const LatentSplit& split) {
  const std::size_t size = cache.brief ? 2 : 4;
  const std::int64_t width = cache.layout.width();
  std::string bytes;
  for_each_firing(
      cache, split,
      [&](std::int64_t place, std::int64_t latent, float) {
        for (const std::int64_t number : {place / width, place % width, latent - split.first}) {
          put_number(bytes, static_cast<std::uint64_t>(number), size);
        }
      },
      [&] {
        file.append(bytes);
        bytes.clear();
      });
}

/// The rows' tokens, with the one for padding between contexts and at the end.
void append_tokens(AtomicFile& file, const Cache& cache) {
  DelphiPlaces places;
  std::int64_t written = 0;
  std::string bytes;
  const auto fill_to = [&](std::int64_t place) {
    for (; written < place; ++written) put_number(bytes, static_cast<std::uint64_t>(cache.pad), 4);
  };
  for_each_batch(cache.codes, cache.store, 0, [&](const FeatureBatch& batch) {
    for (std::int64_t row = batch.begin; row < batch.end; ++row) {
      fill_to(places.next(batch, row));
      const std::int32_t token = batch.tokens[static_cast<std::size_t>(row)];
      put_number(bytes, static_cast<std::uint32_t>(token), 4);
      ++written;
    }
    file.append(bytes);
    bytes.clear();
  });
  fill_to(cache.layout.rows() * cache.layout.width());
  file.append(bytes);
}

/// `end` is its size until its begin is known.
SafetensorsEntry entry(std::string name, std::string dtype, std::vector<std::int64_t> shape,
                       std::int64_t size) {
  return {std::move(name), std::move(dtype), std::move(shape), 0, static_cast<std::uint64_t>(size)};
}

void write_split(const Cache& cache, const LatentSplit& split, const fs::path& folder) {
  AtomicFile file(folder / (std::to_string(split.first) + "_" + std::to_string(split.end - 1) +
                            ".safetensors"));
  const std::int64_t tokens = cache.layout.rows() * cache.layout.width();
  std::vector<SafetensorsEntry> entries = {
      entry("tokens", "I32", {cache.layout.rows(), cache.layout.width()}, tokens * 4),
      entry("activations", cache.half ? "F16" : "F32", {split.firings},
            split.firings * (cache.half ? 2 : 4)),
      entry("locations", cache.brief ? "U16" : "U32", {split.firings, 3},
            split.firings * (cache.brief ? 6 : 12))};
  if (!cache.brief) std::swap(entries[1], entries[2]);  // larger numbers first are aligned
  for (std::size_t i = 0; i < entries.size(); ++i) {
    entries[i].begin = i == 0 ? 0 : entries[i - 1].end;
    entries[i].end += entries[i].begin;
  }
  file.append(safetensors_header_bytes(entries, {}));
  append_tokens(file, cache);
  if (cache.brief) append_activations(file, cache, split);
  append_locations(file, cache, split);
  if (!cache.brief) append_activations(file, cache, split);
  file.commit();
}

std::vector<LatentSplit> splits_of(const std::vector<LatentRange>& ranges) {
  const auto latents = static_cast<std::int64_t>(ranges.size());
  std::int64_t firings = 0;
  for (const LatentRange& range : ranges) firings += range.firings;
  const std::int64_t count = std::min(
      latents, std::max({kSplits, firings / kMostFirings + 1, (latents + kShort - 1) / kShort}));
  std::vector<LatentSplit> splits;
  for (std::int64_t i = 0; i < count; ++i) {
    LatentSplit& split = splits.emplace_back(
        LatentSplit{.first = i * latents / count, .end = (i + 1) * latents / count});
    for (std::int64_t latent = split.first; latent < split.end; ++latent) {
      split.firings += ranges[static_cast<std::size_t>(latent)].firings;
    }
  }
  return splits;
}

/// A token that stands in no context: the given one, or the first special one that was left out of
/// the store, or 0.
std::int32_t padding(const FeaturesInput& input) {
  if (input.arguments.pad_token) return static_cast<std::int32_t>(*input.arguments.pad_token);
  const nlohmann::json& source = input.store.source();
  if (!input.vocabulary || !source.is_object() || !source.contains("dropped") ||
      !source["dropped"].is_array()) {
    return 0;
  }
  for (const nlohmann::json& name : source["dropped"]) {
    for (std::size_t token = 0; name.is_string() && token < input.vocabulary->size(); ++token) {
      const auto id = static_cast<std::int32_t>(token);
      if (input.vocabulary->text(id) == name.get<std::string>()) return id;
    }
  }
  return 0;
}

/// What Delphi's CacheConfig records, and whose tokenizer reads the tokens.
nlohmann::ordered_json cache_config(const FeaturesInput& input, const Cache& cache,
                                    std::size_t splits) {
  const FeaturesOrigin origin = origin_of(input.store, *input.sae.config);
  const std::string& model = input.arguments.model;
  return {{"dataset_repo", origin.dataset},
          {"dataset_split", ""},
          {"dataset_name", ""},
          {"dataset_column", "text"},
          {"batch_size", 1},
          {"cache_ctx_len", cache.layout.width()},
          {"ctx_len", cache.layout.width()},
          {"n_tokens", cache.layout.rows() * cache.layout.width()},
          {"n_splits", splits},
          {"model_name", model.empty() ? hub_name(origin.model) : model},
          {"pad_token", cache.pad},
          {"padded_tokens", cache.layout.padded()}};
}

/// The module's name as that of a folder.
std::string module_folder(const FeaturesInput& input) {
  std::string name = origin_of(input.store, *input.sae.config).hook_point;
  std::replace(name.begin(), name.end(), '/', '.');
  return name.empty() || name.starts_with('.') ? "sae" : name;
}

}  // namespace

FeaturesOutcome write_delphi(const FeaturesInput& input, const fs::path& folder) {
  CodesOnDisk codes(folder / ".codes", input.latents(), kLeast);
  const std::int64_t rows =
      for_each_encoded(*input.sae.sae, input.store, 0, input.go_on,
                       [&](const EncodedBatch& batch) { codes.append(batch.rows); });
  codes.finish();
  FeaturesOutcome outcome = outcome_of(codes.ranges(), rows);
  outcome.finished = rows == input.store.size();
  if (!outcome.finished) return outcome;
  const DelphiLayout layout(input.store);
  const std::vector<LatentSplit> splits = splits_of(codes.ranges());
  Cache cache{.codes = codes, .store = input.store, .layout = layout, .pad = padding(input)};
  for (const LatentRange& range : codes.ranges()) cache.half &= range.most <= kLargestHalf;
  cache.brief = layout.rows() <= kShort;  // as rows are narrower, and splits too
  const fs::path module = folder / module_folder(input);
  fs::create_directory(module);
  for (const LatentSplit& split : splits) write_split(cache, split, module);
  write_file_atomically(module / "config.json",
                        cache_config(input, cache, splits.size()).dump(4) + "\n");
  return outcome;
}

}  // namespace sae

// The data of a run: where batches, held-out activations and ground truth come from.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sae/base/notice.h"
#include "sae/config/config_node.h"
#include "sae/config/field_docs.h"
#include "sae/config/fields.h"
#include "sae/config/findings.h"
#include "sae/data/activations.h"
#include "sae/data/fingerprint.h"
#include "sae/data/world.h"

namespace sae {

/// What every kind of data has.
struct StreamOptions {
  std::optional<std::int64_t> stream_seed;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("stream_seed", self.stream_seed, at_least(0),
          "seed of the order of the data; null: the run's seed");
  }
};

class ActivationStore;

/// Opened data. Sources are made on demand, each with its own position; the world or the files
/// behind them are shared.
struct Data {
  std::int64_t d_in = 0;
  std::function<std::unique_ptr<ActivationSource>()> train;
  std::function<std::unique_ptr<ActivationSource>()> held_out;
  /// Where the features behind the held-out activations are known, which is of synthetic data and
  /// of stores that `sae synth` wrote: their world, and the activations of `held_out`, in its
  /// order, with them. Else null and empty.
  std::shared_ptr<const World> world;
  std::function<std::unique_ptr<TruthSource>()> held_out_with_truth;
  std::shared_ptr<const nlohmann::ordered_json> source;

  /// Where the held-out activations are rows of a store: it, and which of its rows, ascending. Else
  /// null and empty.
  std::shared_ptr<const ActivationStore> held_out_store;
  std::function<std::vector<std::int64_t>()> held_out_rows;

  std::optional<std::int64_t> train_tokens;     ///< how many there are; none: they never end
  std::optional<std::int64_t> held_out_tokens;  ///< likewise; beyond them the same come again
  std::optional<DataFingerprint> fingerprint;   ///< none: a program's own source
  std::vector<Notice> notices;                  ///< how the data were divided, if it is remarkable

  /// How many of the held-out tokens are known to be finite, see require_finite_held_out.
  std::shared_ptr<std::atomic<std::int64_t>> finite_held_out;

  /// `wanted` held-out tokens, or all there are if they are fewer.
  std::int64_t held_out_at_most(std::int64_t wanted) const {
    return held_out_tokens ? std::min(wanted, *held_out_tokens) : wanted;
  }
};

/// The data group of a configuration: {"kind": "synthetic" | "store" | "stream", ...}.
nlohmann::ordered_json resolve_data(const ConfigNode& data);

/// What of it contradicts itself.
Findings check_data(const ConfigNode& data);

/// What is known of data before they are opened.
struct DataSize {
  std::int64_t d_in = 0;
  std::optional<std::int64_t> tokens;  ///< for training; none: they never end
};
/// None for a store that is not there or cannot be read, of which opening it says more.
std::optional<DataSize> data_size(const ConfigNode& data);

/// Whether it can only be read once, by one reader: a stream.
bool is_read_once(const ConfigNode& data);

/// Whether the features behind its held-out activations are known, as far as its configuration and
/// the names of a store's files tell; see Data::world.
bool knows_truth(const ConfigNode& data);

/// Opens it, divides it and, with `verify`, reads every value of a store that fits into memory.
/// `seed` is the run's. DataError for data that cannot be trained or evaluated on to the end.
Data open_data(const ConfigNode& data, std::uint64_t seed);

/// What it is known by. Of stores no more is read than that takes.
DataFingerprint fingerprint_of(const ConfigNode& data);

/// Reads the first `tokens` held-out activations, `batch` at a time, unless that was done before.
/// DataError if one is not finite or has other features than its file says: what is evaluated at
/// the end is looked at before the beginning.
void require_finite_held_out(const Data& data, std::int64_t tokens, std::int64_t batch);

/// The kinds and their options, for `sae config`.
std::vector<std::pair<std::string, std::vector<FieldDoc>>> data_kinds();

}  // namespace sae

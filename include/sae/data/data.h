// The data of a run: where batches, held-out activations and ground truth come from.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sae/config/config_node.h"
#include "sae/config/field_docs.h"
#include "sae/config/fields.h"
#include "sae/config/findings.h"
#include "sae/data/activations.h"
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

/// Opened data. Sources are made on demand, each with its own position; the world or the files
/// behind them are shared.
struct Data {
  std::int64_t d_in = 0;
  std::function<std::unique_ptr<ActivationSource>()> train;
  std::function<std::unique_ptr<ActivationSource>()> held_out;
  std::shared_ptr<const World> world;  ///< of synthetic data; else null
  std::shared_ptr<const nlohmann::ordered_json> source;
};

/// The data group of a configuration: {"kind": "synthetic" | "store", ...}.
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

/// Opens it. `seed` is the run's.
Data open_data(const ConfigNode& data, std::uint64_t seed);

/// The kinds and their options, for `sae config`.
std::vector<std::pair<std::string, std::vector<FieldDoc>>> data_kinds();

}  // namespace sae

// What each latent of an autoencoder does on a store, as a folder of pages to read in a browser, or
// in the files of other tools.
//
//     OUT/index.html     the list of latents, searchable and sortable, and the view of one
//     OUT/data/index.js  one line of numbers and a few tokens for each latent
//     OUT/data/00000.js  everything about latents 0 to 63, loaded when one of them is looked at
//
// The folder needs no server and no network. For other tools there is in its place
//
//     OUT/batch-0.json   latents 0 to 127 for Neuronpedia, as SAEDashboard's runner writes them
//     OUT/layers.12/     every activation for Delphi, in parts, by the name of the model's module
//
// The same arguments give the same bytes. Activations are f_j |W_dec_j|, those of the same
// autoencoder with decoder rows of norm 1: only so do latents compare.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "sae/data/store.h"
#include "sae/models/autoencoder.h"

namespace sae {

/// For whom: a browser, neuronpedia.org's uploads as SAEDashboard makes them, Delphi's explainers.
enum class FeaturesFormat { kHtml, kNeuronpedia, kDelphi };
constexpr auto names_of(FeaturesFormat) { return std::array{"html", "neuronpedia", "delphi"}; }

struct FeaturesOptions {
  std::int64_t contexts = 12;   ///< strongest contexts of a latent to show
  std::int64_t quantiles = 8;   ///< further contexts, one from each quantile of its activations
  std::int64_t window = 20;     ///< tokens to show before and after
  std::int64_t tokens = 12;     ///< tokens that it fires on most
  std::int64_t neighbours = 8;  ///< latents with the most similar decoder rows
  std::int64_t seed = 0;        ///< chooses among the contexts of a quantile
};

/// What a format shows if nothing else is asked for. Neuronpedia's: 20 strongest contexts, examples
/// from 5 equal intervals of [0, largest activation], prompts of 128 tokens whole.
FeaturesOptions defaults_of(FeaturesFormat format);

/// A stretch of text around a token that a latent fires on. It ends where its context ends.
struct FeatureExample {
  struct Mark {
    std::int32_t offset;  ///< from first_row
    float activation;
  };
  float activation = 0;
  std::int64_t row = 0;  ///< of the store
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::vector<Mark> marks;  ///< where else and how strongly it fires, this row included
};

struct FeatureToken {
  std::int32_t token = 0;
  std::int64_t firings = 0;  ///< at least this many, and exactly so if `exact`
  bool exact = true;
};

struct LatentFeature {
  std::int64_t firings = 0;  ///< tokens with f > 0
  double sum = 0;            ///< of its activations
  float max = 0;
  double bin_width = 0;
  std::vector<std::int64_t> histogram;  ///< bin i counts activations in [i, i + 1) bin_width
  std::vector<FeatureExample> top;      ///< strongest first, at most one from a context
  std::vector<FeatureExample> samples;  ///< weakest first, one from each quantile
  std::vector<FeatureToken> tokens;     ///< most frequent first
  std::vector<std::pair<std::int64_t, float>> neighbours;  ///< latent and cosine, closest first
  double decoder_norm = 0;
  double encoder_cosine = 0;  ///< of its encoder row with its decoder row
};

struct Features {
  std::int64_t rows = 0;               ///< of the store; fewer than it has if reading was stopped
  std::vector<LatentFeature> latents;  ///< [F]
  std::map<std::int32_t, std::int64_t> occurrences;  ///< of each token; empty without tokens
};

/// Encodes the store once, a batch at a time. Memory is bounded by the number of latents, about 10
/// kB each, whatever the size of the store: quantiles are those of a uniform sample of 4 firings
/// for each, and tokens are counted by Space-Saving (Metwally, Agrawal and El Abbadi 2005) with 256
/// counters. `go_on(done, total)` is asked before each batch; false stops.
///
/// DataError if the store's activations are not as wide as the autoencoder's.
Features collect_features(const Autoencoder& sae, const ActivationStore& store,
                          const FeaturesOptions& options = {},
                          const std::function<bool(std::int64_t, std::int64_t)>& go_on = {});

/// What a latent stands for according to an evaluation, as text and the latents it speaks of:
/// "a: absorbs it from ", 3, " in 2 of 40 words".
using LatentReading = std::vector<std::variant<std::string, std::int64_t>>;
using LatentReadings = std::map<std::int64_t, std::vector<LatentReading>>;

/// From what `sae eval --json` printed with the suites absorption, probing or interp: which classes
/// each latent is a main latent of, which it absorbs, which tasks it tells best, and how well a
/// judge tells what it stands for. DataError if it is
/// anything else, or of an autoencoder with another number of latents.
LatentReadings read_latent_readings(const std::filesystem::path& file, std::int64_t d_sae);

/// What does not apply to the format is a ConfigError: results are for html, an unembedding for
/// html and neuronpedia, all from `latents` on for the other two. Delphi has no use for `options`.
struct FeaturesArguments {
  std::string sae;                     ///< an autoencoder, run or checkpoint; see training/open.h
  std::string data;                    ///< a store
  std::string out;                     ///< folder to make
  std::optional<std::string> results;  ///< file for read_latent_readings
  std::string device;                  ///< empty: auto
  int threads = -1;                    ///< < 1: all cores
  FeaturesOptions options;
  FeaturesFormat format = FeaturesFormat::kHtml;
  std::optional<std::string> unembedding;  ///< file of scripts/unembed.py: shows logits
  std::optional<std::int64_t> latents;     ///< so many, the first ones
  std::string model;                       ///< its name in the tool's words; empty: the store's
  std::string source_set;                  ///< Neuronpedia's; empty: the architecture
  std::optional<std::int64_t> pad_token;   ///< Delphi's, where a row is not full; see exports.h
  std::function<void(const std::string&)> say;  ///< told how `sae` was opened, if that is news
};

struct FeaturesOutcome {
  bool finished = false;  ///< false: stopped, and nothing was written
  std::int64_t latents = 0, silent = 0, rows = 0;
  double l0 = 0;
  std::string missing;  ///< what the store lacks for the whole page; empty if nothing
};

/// `sae features`. Writes the folder, which must not exist, or throws and leaves none.
FeaturesOutcome write_features(const FeaturesArguments& arguments,
                               const std::function<bool(std::int64_t, std::int64_t)>& go_on = {});

nlohmann::ordered_json to_json(const FeaturesOutcome& outcome);

}  // namespace sae

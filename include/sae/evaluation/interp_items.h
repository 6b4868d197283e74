// What people and judges are asked about a latent: a sample of rows, which latents fire on it often
// enough, and the items of the intruder task, four rows of the latent and one that is not its own.
//
// The task is that of Chang et al. 2009, "Reading Tea Leaves: How Humans Interpret Topic Models"
// (NIPS), with windows of text for words. Ours: rows of an item come from five contexts, the four
// from one quantile group of the activations, so that the whole range is seen and not its top
// alone (arXiv 2410.13928, 2507.08473).
//
// Everything is a function of (seed, latent, item) and the activations. Nothing here needs a judge.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sae/data/store.h"
#include "sae/evaluation/interp_options.h"
#include "sae/models/autoencoder.h"

namespace sae {

/// Rows of a store with the token and the context of each. "Row" below is a row of the sample.
class InterpSample {
 public:
  /// `rows` of a store, ascending; all three [N]. std::invalid_argument for other lengths.
  InterpSample(std::vector<std::int64_t> rows, std::vector<std::int32_t> tokens,
               std::vector<std::int32_t> contexts);

  std::int64_t size() const { return static_cast<std::int64_t>(rows_.size()); }  ///< N
  const std::vector<std::int64_t>& rows() const { return rows_; }  ///< [N] rows of the store
  std::int32_t token(std::int64_t row) const { return tokens_[static_cast<std::size_t>(row)]; }
  std::int32_t context(std::int64_t row) const { return contexts_[static_cast<std::size_t>(row)]; }
  std::span<const std::int32_t> rows_of_token(std::int32_t token) const;  ///< ascending

 private:
  std::vector<std::int64_t> rows_;
  std::vector<std::int32_t> tokens_;
  std::vector<std::int32_t> contexts_;
  std::vector<std::int32_t> by_token_;                                      // [N]
  std::map<std::int32_t, std::pair<std::int64_t, std::int64_t>> of_token_;  // part of by_token_
};

/// DataError unless the store has a token and a context for each row.
void require_text(const ActivationStore& store);

/// `rows` of a store, ascending. DataError as require_text has it.
InterpSample sample_of(const ActivationStore& store, std::vector<std::int64_t> rows);

/// A sample of `options.rows` rows, at most `options.per_context` of a context, drawn among all
/// rows or among `candidates`. DataError as require_text has it.
InterpSample draw_sample(const ActivationStore& store, const InterpOptions& options,
                         std::span<const std::int64_t> candidates = {});

/// The side that a context is on, one bit of a keyed hash: `reference`, or else `query`.
bool is_reference(std::int32_t context, std::int64_t seed);

/// Where a latent fires: f > 0. An activation below 0, as those of some controls, counts as none.
struct Firings {
  std::vector<std::int32_t> rows;  ///< [n] ascending
  std::vector<float> values;       ///< [n] > 0

  std::int64_t size() const { return static_cast<std::int64_t>(rows.size()); }
  bool contain(std::int32_t row) const;
};

struct SampleFirings {
  std::vector<std::int64_t> counts;  ///< [F] rows of the sample that each latent fires on
  std::vector<Firings> latents;      ///< [F]; empty where it fires on more than `max_share` of them
};

/// The autoencoder's activations (inference form, of raw rows) at the sample's rows of the store.
/// DataError if the store's activations are not as wide as the autoencoder's.
SampleFirings collect_firings(const Autoencoder& sae, const ActivationStore& store,
                              const InterpSample& sample, const InterpOptions& options);

/// n rows, c contexts. silent: n = 0; dense: n > max_share N; rare: n < min_rows or
/// c < min_contexts.
enum class LatentStanding { kSilent, kRare, kDense, kEligible };
constexpr auto names_of(LatentStanding) {
  return std::array{"silent", "rare", "dense", "eligible"};
}

struct LatentSelection {
  std::vector<LatentStanding> standing;  ///< [F]
  std::vector<std::int64_t> eligible;    ///< latents, ascending
  std::array<std::int64_t, 4> counts{};  ///< of each standing
  double coverage = 0;                   ///< share of all firings that eligible latents make
};
LatentSelection select_latents(const InterpSample& sample, const SampleFirings& firings,
                               const InterpOptions& options);

/// Rows that a latent fires on by (activation, row), cut into groups of equal size, weakest first.
std::vector<std::vector<std::int32_t>> quantile_groups(const Firings& firings,
                                                       std::int64_t quantiles);

/// Where an intruder comes from: rows on which the latent does not fire, of another context than
/// the four; with `matched` those among them whose token is that of one of the four.
enum class Intruder { kUniform, kMatched };
constexpr auto names_of(Intruder) { return std::array{"uniform", "matched"}; }

struct IntruderItem {
  std::int64_t item = 0;               ///< number of the item, from 0
  std::int64_t group = 0;              ///< item mod quantiles
  std::array<std::int32_t, 5> rows{};  ///< of the sample, from five contexts; the last intrudes
};

/// Item `item` of a latent; none if its group has rows of fewer than four contexts, or there is no
/// such intruder. The four are the same for both kinds of intruders.
std::optional<IntruderItem> intruder_item(const InterpSample& sample, const Firings& firings,
                                          const std::vector<std::vector<std::int32_t>>& groups,
                                          std::int64_t latent, std::int64_t item, Intruder kind,
                                          std::int64_t seed);

/// The first `options.items` items of a latent, without those that there are not.
std::vector<IntruderItem> intruder_items(const InterpSample& sample, const Firings& firings,
                                         std::int64_t latent, Intruder kind,
                                         const InterpOptions& options);

}  // namespace sae

// Latents in the files of other tools, written into a folder that exists.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "sae/data/store.h"
#include "sae/data/vocabulary.h"
#include "sae/models/sae_folder.h"
#include "sae/tools/features.h"
#include "tools/features/codes_on_disk.h"
#include "tools/features/unembedding.h"

namespace sae {

/// What an export is made of; all must outlive it.
struct FeaturesInput {
  const SaeFolder& sae;
  const ActivationStore& store;
  const std::optional<Vocabulary>& vocabulary;
  const std::optional<Unembedding>& unembedding;
  const FeaturesArguments& arguments;
  const std::function<bool(std::int64_t, std::int64_t)>& go_on;

  /// How many latents are exported, the first ones.
  std::int64_t latents() const;
};

/// Of `rows` rows of exported latents; not finished, nothing missing.
FeaturesOutcome outcome_of(const std::vector<LatentRange>& ranges, std::int64_t rows);

/// batch-0.json, batch-1.json, ... of 128 latents, as SAEDashboard's runner for Neuronpedia writes
/// them (sae-dashboard 0.8.0, neuronpedia_dashboard.py, neuronpedia_converter.py). Of the outcome
/// all but `missing` is set; `finished` is false if `go_on` stopped it.
///
/// Ours, not SAEDashboard's: strongest activations are at most one from a context; examples of the
/// weakest interval are of tokens on which the latent fires; tokens that share a character are one,
/// with the largest of their activations; frac_nonzero and bin_contains are not rounded; a latent
/// that never fires has no activations and no correlations.
FeaturesOutcome write_neuronpedia(const FeaturesInput& input, const std::filesystem::path& folder);

/// MODULE/config.json and MODULE/START_END.safetensors, Delphi's cache of latents (eai-delphi
/// 0.1.3, latents/cache.py, latents/loader.py): every activation above 1e-5 of latents START to
/// END.
///
///     locations    [n, 3] U16 or U32   row and place of `tokens`, latent - START; rows ascending
///     activations  [n] F16, or F32 if one is beyond F16
///     tokens       [rows, width] I32   in each file, as Delphi wants it
///
/// Delphi cuts rows into examples of 32 tokens. Each context begins at a multiple of 32, and what
/// is left of its last 32 holds the token for padding, so that no example shows two contexts.
FeaturesOutcome write_delphi(const FeaturesInput& input, const std::filesystem::path& folder);

}  // namespace sae

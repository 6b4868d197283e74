// The data files of the page of latents: JavaScript that calls a function with JSON.
//
// A browser does not let a page read files beside it, but it does let it load scripts.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sae/data/store.h"
#include "sae/data/vocabulary.h"
#include "sae/tools/features.h"
#include "tools/features/unembedding.h"

namespace sae {

class FeaturesData {
 public:
  static constexpr std::int64_t kChunk = 64;  ///< latents in a file

  /// All must outlive this. `logits` are of each latent, or empty.
  FeaturesData(const Features& features, const ActivationStore& store,
               const std::optional<Vocabulary>& vocabulary, const LatentReadings& readings,
               const std::vector<LatentLogits>& logits)
      : features_(features),
        store_(store),
        vocabulary_(vocabulary),
        readings_(readings),
        logits_(logits) {}

  std::int64_t chunks() const;

  /// "saeIndex({...});": `about` and, in lists over all latents, what the list shows and is
  /// searched and sorted by.
  std::string index(const nlohmann::ordered_json& about) const;

  /// "saeChunk(3, [...]);"
  std::string chunk(std::int64_t number) const;

 private:
  nlohmann::ordered_json latent(std::int64_t number) const;
  nlohmann::ordered_json example(const FeatureExample& example) const;
  nlohmann::ordered_json logits(const LatentLogits& logits) const;

  const Features& features_;
  const ActivationStore& store_;
  const std::optional<Vocabulary>& vocabulary_;
  const LatentReadings& readings_;
  const std::vector<LatentLogits>& logits_;
};

}  // namespace sae

// What the suite `interp` measured of one autoencoder.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sae/evaluation/interp.h"
#include "sae/metrics/metric_values.h"

namespace sae {

/// Who judged, for people and for JSON.
struct JudgeFacts {
  std::string name = {};  ///< the model, or "token"
  std::string revision = {}, window = {}, file = {};
  bool of_store = false;  ///< it is the model that the store is from
  bool blind = false;     ///< it can hide tokens
};

struct InterpResult {
  JudgeFacts judge;
  std::string store;
  std::int64_t d_sae = 0, rows = 0, contexts = 0, token_rows = 0;
  LatentSelection selection;
  std::vector<LatentScores> latents;  ///< eligible ones
  /// Means of these, of the same activations on random rows, and by the judge `token`, where that
  /// is another one (judged metrics alone).
  InterpSummary own, shuffled, by_tokens;
  bool list_latents = true;

  MetricValues values() const;
  std::map<std::string, MetricValues> by_bin() const;
  std::string basis() const;
  std::string unranked() const;  ///< why it ranks nothing, or empty
  std::string remark() const;
  nlohmann::ordered_json json() const;
};

}  // namespace sae

// What a suite's numbers rest on: how many samples, how many of them differ, what was left out.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "sae/data/labelled.h"

namespace sae {

/// Samples that are equal count once in `distinct`: those of one word, where words are known, or of
/// the same activations.
struct SampleCount {
  std::int64_t samples = 0;
  std::int64_t distinct = 0;
};
SampleCount count_samples(const LabelledSplit& split);

/// Something that numbers could have rested on, and why they do not.
struct LeftOut {
  std::string name;
  std::string why;
};

/// {"name": "why", ...}
nlohmann::ordered_json to_json(const std::vector<LeftOut>& left_out);

/// "; left out: q (probe F1 0.41, expected above 0.6), x (...) and 3 more"; empty if nothing is.
std::string left_out_text(const std::vector<LeftOut>& left_out);

/// "30 test words, 28 of them distinct", or without the rest if all are.
std::string counted(const SampleCount& count, const std::string& what);

}  // namespace sae

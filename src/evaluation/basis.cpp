#include "sae/evaluation/basis.h"

#include <torch/types.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_set>

namespace sae {
namespace {

constexpr std::size_t kNamed = 5;

std::int64_t distinct_activations(const LabelledSplit& split) {
  const at::Tensor x = split.x.contiguous();
  const auto* bytes = static_cast<const char*>(x.const_data_ptr());
  const auto row = static_cast<std::int64_t>(x.element_size()) * x.size(1);
  const auto* offset =
      split.offsets.defined() ? split.offsets.const_data_ptr<std::int64_t>() : nullptr;
  std::unordered_set<std::size_t> seen;
  for (std::int64_t i = 0; i < split.samples(); ++i) {
    const std::int64_t begin = offset ? offset[i] : i;
    const std::int64_t end = offset ? offset[i + 1] : i + 1;
    const std::string_view own(bytes + begin * row, static_cast<std::size_t>((end - begin) * row));
    seen.insert(std::hash<std::string_view>{}(own));
  }
  return static_cast<std::int64_t>(seen.size());
}

}  // namespace

SampleCount count_samples(const LabelledSplit& split) {
  SampleCount count{split.samples(), distinct_activations(split)};
  if (split.words.empty()) return count;
  const std::unordered_set<std::string_view> words(split.words.begin(), split.words.end());
  count.distinct = std::min(count.distinct, static_cast<std::int64_t>(words.size()));
  return count;
}

nlohmann::ordered_json to_json(const std::vector<LeftOut>& left_out) {
  auto json = nlohmann::ordered_json::object();
  for (const LeftOut& one : left_out) json[one.name] = one.why;
  return json;
}

std::string left_out_text(const std::vector<LeftOut>& left_out) {
  std::string text;
  for (std::size_t i = 0; i < std::min(left_out.size(), kNamed); ++i) {
    text += (i == 0 ? "; left out: " : ", ") + left_out[i].name + " (" + left_out[i].why + ")";
  }
  if (left_out.size() <= kNamed) return text;
  return text + " and " + std::to_string(left_out.size() - kNamed) + " more";
}

std::string counted(const SampleCount& count, const std::string& what) {
  const std::string text = std::to_string(count.samples) + " " + what;
  if (count.distinct == count.samples) return text;
  return text + ", " + std::to_string(count.distinct) + " of them distinct";
}

}  // namespace sae

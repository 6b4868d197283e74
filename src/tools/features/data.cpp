#include "tools/features/data.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "tools/features/text.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kListedTokens = 4;

/// Four significant digits: more than a page shows, and files half as large.
Json rounded(double value) {
  if (!std::isfinite(value)) return nullptr;
  char buffer[32];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific, 3).ptr;
  double out = 0;
  std::from_chars(buffer, end, out);
  if (out == std::round(out) && std::abs(out) < 1e15) return static_cast<std::int64_t>(out);
  return out;
}

double mean_activation(const LatentFeature& latent) {
  return latent.firings > 0 ? latent.sum / static_cast<double>(latent.firings) : 0;
}

/// Text as strings, latents as numbers.
Json parts(const LatentReading& reading) {
  Json out = Json::array();
  for (const auto& part : reading) std::visit([&](const auto& one) { out.push_back(one); }, part);
  return out;
}

std::string call(const std::string& start, const Json& json) {
  return start + json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) +
         ");\n";
}

}  // namespace

std::int64_t FeaturesData::chunks() const {
  return (static_cast<std::int64_t>(features_.latents.size()) + kChunk - 1) / kChunk;
}

std::string FeaturesData::index(const Json& about) const {
  Json index{{"about", about}, {"rows", features_.rows}, {"chunk", kChunk}};
  for (const char* list : {"firings", "max", "mean", "nearest", "words"}) {
    index[list] = Json::array();
  }
  for (const LatentFeature& latent : features_.latents) {
    index["firings"].push_back(latent.firings);
    index["max"].push_back(rounded(latent.max));
    index["mean"].push_back(rounded(mean_activation(latent)));
    index["nearest"].push_back(
        rounded(latent.neighbours.empty() ? 0 : latent.neighbours.front().second));
    Json words = Json::array();
    for (const FeatureToken& token : latent.tokens) {
      if (words.size() < kListedTokens) words.push_back(text_of_token(vocabulary_, token.token));
    }
    index["words"].push_back(std::move(words));
  }
  index["reads"] = Json::object();
  for (const auto& [latent, readings] : readings_) {
    Json& list = index["reads"][std::to_string(latent)] = Json::array();
    for (const LatentReading& reading : readings) list.push_back(parts(reading));
  }
  return call("saeIndex(", index);
}

std::string FeaturesData::chunk(std::int64_t number) const {
  Json latents = Json::array();
  const auto count = static_cast<std::int64_t>(features_.latents.size());
  for (std::int64_t i = number * kChunk; i < std::min(count, (number + 1) * kChunk); ++i) {
    latents.push_back(latent(i));
  }
  return call("saeChunk(" + std::to_string(number) + ", ", latents);
}

Json FeaturesData::latent(std::int64_t number) const {
  const LatentFeature& from = features_.latents[static_cast<std::size_t>(number)];
  Json out{{"norm", rounded(from.decoder_norm)},
           {"cosine", rounded(from.encoder_cosine)},
           {"bin", from.bin_width},
           {"histogram", from.histogram}};
  for (const char* list : {"tokens", "near", "top", "samples"}) out[list] = Json::array();
  for (const FeatureToken& token : from.tokens) {
    out["tokens"].push_back({text_of_token(vocabulary_, token.token), token.firings,
                             features_.occurrences.at(token.token), token.exact ? 1 : 0});
  }
  for (const auto& [latent, cosine] : from.neighbours) {
    out["near"].push_back({latent, rounded(cosine)});
  }
  if (!logits_.empty()) out["logits"] = logits(logits_[static_cast<std::size_t>(number)]);
  for (const FeatureExample& one : from.top) out["top"].push_back(example(one));
  for (const FeatureExample& one : from.samples) out["samples"].push_back(example(one));
  return out;
}

/// [activation, row, text]: the text is a list of strings, where it is silent, and of [token,
/// activation], with a third entry for the token that the example is about. Tokens that share a
/// character are one, with the largest of their activations. null without tokens.
Json FeaturesData::example(const FeatureExample& example) const {
  Json out{rounded(example.activation), example.row, nullptr};
  if (!store_.has_tokens()) return out;
  Json parts = Json::array();
  auto mark = example.marks.begin();
  std::string silent;
  std::int64_t end = 0;
  for (const Vocabulary::Piece& piece :
       text_of_rows(store_, vocabulary_, example.first_row, example.rows)) {
    const std::int64_t begin = std::exchange(end, end + static_cast<std::int64_t>(piece.tokens));
    std::optional<float> largest;
    for (; mark != example.marks.end() && mark->offset < end; ++mark) {
      largest = std::max(largest.value_or(mark->activation), mark->activation);
    }
    if (!largest) {
      silent += piece.text;
      continue;
    }
    if (!silent.empty()) parts.push_back(std::exchange(silent, {}));
    parts.push_back({piece.text, rounded(*largest)});
    const std::int64_t offset = example.row - example.first_row;
    if (offset >= begin && offset < end) parts.back().push_back(1);
  }
  if (!silent.empty()) parts.push_back(silent);
  out[2] = std::move(parts);
  return out;
}

/// What it makes likelier and less likely, as [text, logit].
Json FeaturesData::logits(const LatentLogits& logits) const {
  const auto listed = [&](const auto& tokens) {
    Json list = Json::array();
    for (const auto& [token, value] : tokens) {
      list.push_back({text_of_token(vocabulary_, token), rounded(value)});
    }
    return list;
  };
  return {{"up", listed(logits.top)}, {"down", listed(logits.bottom)}};
}

}  // namespace sae

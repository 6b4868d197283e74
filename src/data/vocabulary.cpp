#include "sae/data/vocabulary.h"

#include <nlohmann/json.hpp>

#include "base/strict_json.h"
#include "sae/base/error.h"
#include "sae/base/files.h"

namespace sae {

namespace fs = std::filesystem;

Vocabulary::Vocabulary(const fs::path& file) {
  const std::string place = file.string();
  const nlohmann::json json = parse_strict_json(read_file(file), place);
  if (!json.is_object() || json.value("format", nlohmann::json()) != "sae-vocabulary") {
    throw DataError(place + ": not a vocabulary: no format sae-vocabulary");
  }
  if (json.value("version", nlohmann::json()) != 1) {
    throw DataError(place + ": version " + json.value("version", nlohmann::json()).dump() +
                    ", this program reads version 1");
  }
  check_keys(json, {"format", "version", "tokens"}, {}, place);
  if (!json["tokens"].is_array()) throw DataError(place + ": tokens is not a list");
  for (const auto& token : json["tokens"]) {
    if (!token.is_string()) {
      throw DataError(place + ": token " + std::to_string(tokens_.size()) + " is " + token.dump() +
                      ", expected a string");
    }
    tokens_.push_back(token.get<std::string>());
  }
}

std::string Vocabulary::text(std::int64_t token) const {
  if (token < 0 || token >= static_cast<std::int64_t>(tokens_.size())) {
    return "<" + std::to_string(token) + ">";
  }
  return tokens_[static_cast<std::size_t>(token)];
}

std::string Vocabulary::text(std::span<const std::int32_t> tokens) const {
  std::string all;
  for (const std::int32_t token : tokens) all += text(token);
  return all;
}

std::optional<Vocabulary> vocabulary_of(const fs::path& store) {
  const fs::path file = store / "vocabulary.json";
  if (!fs::exists(file)) return std::nullopt;
  return Vocabulary(file);
}

}  // namespace sae

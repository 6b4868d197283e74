#include "sae/data/vocabulary.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/strict_json.h"
#include "base/utf8.h"
#include "sae/base/error.h"
#include "sae/base/files.h"

namespace sae {

namespace fs = std::filesystem;

namespace {

/// A whole text as a number of that base, or nothing.
template <class Number>
std::optional<Number> number_of(std::string_view text, int base) {
  Number value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

/// `value` is of the token `name`.
std::string bytes_of(const nlohmann::json& value, const std::string& name,
                     const std::string& place) {
  const std::string digits = value.is_string() ? value.get<std::string>() : "none";
  bool good = digits.size() % 2 == 0;
  std::string bytes;
  for (std::size_t i = 0; good && i < digits.size(); i += 2) {
    const auto byte = number_of<unsigned char>(std::string_view(digits).substr(i, 2), 16);
    good = byte.has_value();
    bytes += static_cast<char>(byte.value_or(0));
  }
  if (good) return bytes;
  throw DataError(place + ": bytes of token " + name + " are " + value.dump() +
                  ", expected hexadecimal digits");
}

std::unordered_map<std::int64_t, std::string> bytes_of_tokens(const nlohmann::json& json,
                                                              std::size_t tokens,
                                                              const std::string& place) {
  if (!json.is_object()) throw DataError(place + ": bytes is not an object");
  std::unordered_map<std::int64_t, std::string> found;
  for (const auto& [name, value] : json.items()) {
    const auto token = number_of<std::uint32_t>(name, 10);
    if (!token || *token >= tokens) {
      throw DataError(place + ": bytes has " + nlohmann::json(name).dump() +
                      ", expected the number of one of " + std::to_string(tokens) + " tokens");
    }
    found[*token] = bytes_of(value, name, place);
  }
  return found;
}

/// Whether a character that has begun at the end of `bytes` goes on in `next`.
bool goes_on(std::string_view bytes, const std::string& next) {
  const std::string begun(unfinished(bytes));
  return !begun.empty() && (next.empty() || utf8_head(begun + next).bytes > begun.size());
}

}  // namespace

Vocabulary::Vocabulary(const fs::path& file) {
  const std::string place = file.string();
  const nlohmann::json json = parse_strict_json(read_file(file), place);
  if (!json.is_object() || json.value("format", nlohmann::json()) != "sae-vocabulary") {
    throw DataError(place + ": not a vocabulary: no format sae-vocabulary");
  }
  const nlohmann::json version = json.value("version", nlohmann::json());
  if (version == 1) {
    check_keys(json, {"format", "version", "tokens"}, {}, place);
  } else if (version == 2) {
    check_keys(json, {"format", "version", "tokens", "bytes"}, {}, place);
  } else {
    throw DataError(place + ": version " + version.dump() + ", this program reads 1 and 2");
  }
  if (!json["tokens"].is_array()) throw DataError(place + ": tokens is not a list");
  for (const auto& token : json["tokens"]) {
    if (!token.is_string()) {
      throw DataError(place + ": token " + std::to_string(tokens_.size()) + " is " + token.dump() +
                      ", expected a string");
    }
    tokens_.push_back(token.get<std::string>());
  }
  if (version == 2) bytes_ = bytes_of_tokens(json["bytes"], tokens_.size(), place);
}

std::string Vocabulary::text(std::int64_t token) const {
  if (token < 0 || token >= static_cast<std::int64_t>(tokens_.size())) {
    return "<" + std::to_string(token) + ">";
  }
  return tokens_[static_cast<std::size_t>(token)];
}

std::string Vocabulary::bytes_of(std::int64_t token) const {
  const auto found = bytes_.find(token);
  return found == bytes_.end() ? text(token) : found->second;
}

std::string Vocabulary::text(std::span<const std::int32_t> tokens) const {
  std::string bytes;
  for (const std::int32_t token : tokens) bytes += bytes_of(token);
  return spelt(bytes);
}

std::vector<Vocabulary::Piece> Vocabulary::pieces(std::span<const std::int32_t> tokens) const {
  std::vector<Piece> pieces;
  std::string bytes;  // of the last piece
  for (const std::int32_t token : tokens) {
    const std::string own = bytes_of(token);
    if (!goes_on(bytes, own)) {
      pieces.push_back({0, {}});
      bytes.clear();
    }
    bytes += own;
    ++pieces.back().tokens;
    pieces.back().text = spelt(bytes);
  }
  return pieces;
}

std::optional<Vocabulary> vocabulary_of(const fs::path& store) {
  const fs::path file = store / "vocabulary.json";
  if (!fs::exists(file)) return std::nullopt;
  return Vocabulary(file);
}

}  // namespace sae
